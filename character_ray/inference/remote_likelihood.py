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
from pathlib import Path
from typing import Any

from character_ray.config import EndpointConfig, SamplingConfig
from character_ray.errors import GenerationError
from character_ray.inference.find_model import SCORED
from character_ray.inference.likelihood import ScoreRequest
from character_ray.inference.passes import Generation
from character_ray.inference.remote import Sections, generate_remotely
from character_ray.rows import Message, Request, content_hash
from character_ray.runs import Artefact

__all__ = ["score_remotely"]

# No byte-level tokenizer makes more tokens than there are bytes; the end of a turn is a few.
END_OF_TURN = 16
# Enough to notice a template that renders an open turn differently from a finished one.
COMPARED = 4


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
    if _is_whole(request):
        return SCORED | {"add_generation_prompt": False, "continue_final_message": False}
    return {"return_token_ids": True}


def _read(answer: Any, request: Request) -> str:
    """Number of the prompt's tokens and the last of them, in a whole chat at least the completion's, with their log-probabilities."""
    ids, whole = getattr(answer, "prompt_token_ids", None), _is_whole(request)
    scores = getattr(answer, "prompt_logprobs", None) if whole else []
    if ids is None or scores is None:
        raise GenerationError(
            "the server's answers hold neither prompt_logprobs nor prompt_token_ids, so it does not score a given text. Set kind: "
            "letters, or ask a server of character-ray or vLLM."
        )
    last = len(request["messages"][-1]["content"].encode()) + END_OF_TURN + COMPARED if whole else COMPARED
    kept = {"length": len(ids), "ids": ids[-last:]}
    if whole:
        pairs = zip(ids[-last:], scores[-last:], strict=True)
        kept["logprobs"] = [float(each[str(token)]["logprob"]) if each else None for token, each in pairs]
    return json.dumps(kept)


def _mean(opened: str | None, whole: str | None, endpoint: EndpointConfig) -> float:
    """Mean log-probability of the tokens that a whole chat has beyond its opened one, in nats; NaN where either failed."""
    if not opened or not whole:
        return math.nan
    start, end = json.loads(opened), json.loads(whole)
    number: int = end["length"] - start["length"]
    before = end["ids"][: len(end["ids"]) - number][-COMPARED:] if number > 0 else []
    # Where the whole chat is short, all of its tokens are there.
    if not before or before != start["ids"][-len(before) :]:
        raise GenerationError(
            f"{endpoint.url} renders a finished turn so that it does not begin with the open one, and the answer's tokens cannot be "
            "told. Its chat template is not made for that: set kind: letters."
        )
    return math.fsum(end["logprobs"][-number:]) / number
