"""A request for one completion: its id is the hash of everything that decides its text, and its seed comes from its id."""

from character_ray.config import SamplingConfig
from character_ray.rows import Message, Request, content_hash

__all__ = ["build_request"]


def build_request(
    kind: str, prompt_id: str, messages: list[Message], sampling: SamplingConfig, *, sample: int = 0, seed: int
) -> Request:
    """A request that asks the same wherever and whenever it is asked.

    Args:
        kind: What it is for, such as ``teacher``; equal texts asked for two purposes stay two rows.
        prompt_id: Prompt it answers.
        messages: The chat so far.
        sampling: How the completion is drawn.
        sample: Number of the repetition, from 0.
        seed: The recipe's seed.
    """
    # Every request names every parameter: Arrow would fill what one row lacks with NaN.
    parameters = sampling.model_dump()
    row_id = content_hash(kind, prompt_id, messages, parameters, sample, seed)
    # vLLM takes a signed 64-bit seed; 31 bits are safe everywhere.
    parameters["seed"] = int(row_id, 16) % 2**31
    return Request(row_id=row_id, prompt_id=prompt_id, sample=sample, messages=messages, sampling=parameters)
