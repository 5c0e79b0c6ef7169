"""What the student is asked in on-policy distillation, and what the teacher reads beside it.

pairs {prompt, chosen, rejected} -> {prompt, privileged_context}, each prompt once
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from character_ray.chat_template import chat_ids
from character_ray.config import DPOConfig
from character_ray.errors import TrainingError
from character_ray.training.job import TrainJob

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

__all__ = ["SamplePrompts", "prompts_for_samples"]


@dataclass(frozen=True)
class SamplePrompts:
    """The data of an on-policy training."""

    data: "Dataset"
    first: str
    """The first prompt as the student reads it, then as the teacher does."""


def prompts_for_samples(
    job: TrainJob, rows: Sequence[Mapping[str, Any]], tokenizer: "PreTrainedTokenizerBase", context_length: int
) -> SamplePrompts:
    """The prompts of the pairs, each once and in their order.

    Args:
        job: Its ``turns`` are the teacher's context.
        rows: Pairs.
        tokenizer: The student's.
        context_length: Tokens that the models can read at once.

    Raises:
        TrainingError: A prompt and its answer do not fit, or the prompts are fewer than one step takes.
    """
    from datasets import Dataset

    from character_ray.training.on_policy import in_context

    assert isinstance(job.config, DPOConfig)
    first_of: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        first_of.setdefault(json.dumps(row["prompt"], sort_keys=True), row)
    prompts = [row["prompt"] for row in first_of.values()]
    answer = job.config.on_policy.max_tokens
    for whose, limit, sides in (
        ("student", job.config.max_length, prompts),
        ("teacher", context_length, [in_context(job.turns, prompt) for prompt in prompts]),
    ):
        longest = max(len(chat_ids(tokenizer, side, open_turn=True)) for side in sides)
        if longest + answer > limit:
            what = "dpo.max_length" if whose == "student" else "the model's context"
            raise TrainingError(
                f"the longest prompt of the {whose} has {longest} tokens, which leaves no room for dpo.on_policy.max_tokens={answer} "
                f"within {what} of {limit}. Lower dpo.on_policy.max_tokens"
                + (" or raise dpo.max_length." if whose == "student" else " or shorten the constitution's examples.")
            )
    needed = job.config.batch_size // job.config.on_policy.samples
    if len(prompts) < needed:
        raise TrainingError(
            f"{len(prompts)} prompts are fewer than the {needed} that one step takes (dpo.batch_size={job.config.batch_size}, "
            f"dpo.on_policy.samples={job.config.on_policy.samples}). Lower dpo.batch_size or ask for more prompts."
        )
    texts = [
        tokenizer.decode(chat_ids(tokenizer, side, open_turn=True))
        for side in (prompts[0], in_context(job.turns, prompts[0]))
    ]
    return SamplePrompts(
        Dataset.from_list(
            [
                {"row_id": row["row_id"], "prompt": row["prompt"], "privileged_context": list(job.turns)}
                for row in first_of.values()
            ]
        ),
        f"student\n{texts[0]}\n\nteacher\n{texts[1]}\n",
    )
