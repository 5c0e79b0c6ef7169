"""The likelihood judge by a server that scores: its weights and its tokenizer are there, and not here.

    {row_id, prompt, completion}
      -> opened  the question, with the constitution and without            tokens of the prompt
      -> whole   question and answer, with the constitution and without     log-probabilities of the prompt's tokens
      -> {row_id, score}

The score of :mod:`character_ray.inference.likelihood`: what a whole chat has beyond its opened one are the completion's tokens, end of
turn included. A question is opened once for all its answers. The server neutralises control tokens in what it is sent.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from character_ray.config import EndpointConfig, SamplingConfig
from character_ray.errors import GenerationError
from character_ray.inference.likelihood import ScoreRequest
from character_ray.inference.passes import Generation
from character_ray.inference.remote import Sections, generate_remotely
from character_ray.judging.prompt_scores import OPENED, WHOLE, ReadPrompt, answer_mean, read_prompt
from character_ray.rows import Message, Request, content_hash
from character_ray.runs import Artefact

__all__ = ["score_remotely"]


def score_remotely(
    label: str,
    artefact: Artefact,
    rows: Sequence[ScoreRequest],
    model: str,
    system_prompt: str,
    endpoint: EndpointConfig,
    spending: Path,
    sections: Sections,
) -> dict[str, float]:
    """Scores by row id in nats per token; resumable. Empty completions, and those the server failed on, score NaN.

    Args:
        label: Name on the progress line.
        artefact: Where answers are kept, and read when an earlier attempt wrote them.
        rows: What is scored.
        model: Its name there: the untrained base.
        system_prompt: The constitution.
        endpoint: A server that scores for this key.
        spending: Ledger of the endpoint.
        sections: Where the user wrote model and endpoint.

    Raises:
        GenerationError: The endpoint refuses, does not score, or renders chats so that an answer's tokens cannot be told; or too many
            rows failed. What was answered is kept.
    """
    contexts: tuple[list[Message], list[Message]] = ([Message(role="system", content=system_prompt)], [])
    scored = sorted(
        (row for row in rows if row["completion"].strip()), key=lambda row: (len(row["prompt"]), row["prompt"])
    )
    chats = {
        row["row_id"]: [_chats(context, row["prompt"], row["completion"]) for context in contexts] for row in scored
    }
    asked = {request["row_id"]: request for pairs in chats.values() for pair in pairs for request in pair}
    generation = Generation(artefact, list(asked.values()))
    generate_remotely(label, [generation], model, endpoint, spending, read=_read, further=_further, sections=sections)
    said = {row["row_id"]: row["completion"] for row in generation.completions() if not row["error"]}
    scores = {}
    for row_id, pairs in chats.items():
        means = [_mean(said.get(opened["row_id"]), said.get(whole["row_id"]), endpoint) for opened, whole in pairs]
        scores[row_id] = means[0] - means[1]
    return {row["row_id"]: scores.get(row["row_id"], math.nan) for row in rows}


def _chats(context: Sequence[Message], prompt: str, completion: str) -> tuple[Request, Request]:
    """The question alone, and with its answer."""
    opened = [*context, Message(role="user", content=prompt)]
    return _request(opened), _request([*opened, Message(role="assistant", content=completion)])


def _request(messages: list[Message]) -> Request:
    sampling = SamplingConfig(temperature=0.0, top_p=1.0, max_tokens=1).model_dump() | {"seed": 0}
    return Request(
        row_id=content_hash("likelihood", messages), prompt_id="", sample=0, messages=messages, sampling=sampling
    )


def _is_whole(request: Request) -> bool:
    return request["messages"][-1]["role"] == "assistant"


def _further(request: Request) -> dict[str, Any]:
    return WHOLE if _is_whole(request) else OPENED


def _read(answer: Any, request: Request) -> str:
    """What is kept of the server's reading, as JSON."""
    ids, whole = getattr(answer, "prompt_token_ids", None), _is_whole(request)
    logprobs = getattr(answer, "prompt_logprobs", None)
    if ids is None or (whole and logprobs is None):
        raise GenerationError(
            "the server's answers hold neither prompt_logprobs nor prompt_token_ids, so it does not score a given text. Set kind: "
            "letters, or ask a server of character-ray or vLLM."
        )
    read = read_prompt(ids, logprobs, request["messages"][-1]["content"]) if whole else read_prompt(ids, None, None)
    return json.dumps(asdict(read))


def _mean(opened: str | None, whole: str | None, endpoint: EndpointConfig) -> float:
    """Mean log-probability of the tokens that a whole chat has beyond its opened one, in nats; NaN where either failed."""
    if not opened or not whole:
        return math.nan
    mean = answer_mean(ReadPrompt(**json.loads(opened)), ReadPrompt(**json.loads(whole)))
    if mean is None:
        raise GenerationError(
            f"{endpoint.url} renders a finished turn so that it does not begin with the open one, and the answer's tokens cannot be "
            "told. Its chat template is not made for that: set kind: letters."
        )
    return mean
