"""The log-probability of an answer, from what a server says of two prompts: the chat up to the answer, and the chat with it.

opened  tokens of the chat, the assistant's turn begun
whole   tokens of the chat with the answer, the turn closed, and their log-probabilities
  -> mean over the tokens that the whole has beyond the opened, end of turn included, in nats
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["OPENED", "SCORED", "WHOLE", "ReadPrompt", "answer_mean", "read_prompt"]

SCORED: dict[str, Any] = {"prompt_logprobs": 0, "return_token_ids": True}
"""Fields of a request whose own text is scored: the log-probabilities of its tokens and no others, and the tokens."""
OPENED: dict[str, Any] = {"return_token_ids": True}
"""Fields of the request that ends before the answer."""
WHOLE: dict[str, Any] = SCORED | {"add_generation_prompt": False, "continue_final_message": False}
"""Fields of the request that ends with the answer."""

# No byte-level tokenizer makes more tokens than there are bytes; the end of a turn is a few.
END_OF_TURN = 16
# Enough to notice a template that renders an open turn differently from a finished one.
COMPARED = 4


@dataclass(frozen=True)
class ReadPrompt:
    """What is kept of a server's reading of a prompt."""

    length: int
    """Tokens of the prompt."""
    ids: Sequence[int]
    """The last of them."""
    logprobs: Sequence[float | None] = ()
    """Their log-probabilities in nats; of a whole chat alone."""


def read_prompt(
    ids: Sequence[int], logprobs: Sequence[Mapping[str, Any] | None] | None, answer: str | None
) -> ReadPrompt:
    """What to keep of a reading.

    Args:
        ids: ``prompt_token_ids`` of the server's answer.
        logprobs: Its ``prompt_logprobs``; ``None`` of an opened chat.
        answer: The text that a whole chat ends with.
    """
    last = COMPARED if answer is None else len(answer.encode()) + END_OF_TURN + COMPARED
    if logprobs is None:
        return ReadPrompt(len(ids), ids[-last:])
    pairs = zip(ids[-last:], logprobs[-last:], strict=True)
    return ReadPrompt(
        len(ids), ids[-last:], [float(each[str(token)]["logprob"]) if each else None for token, each in pairs]
    )


def answer_mean(opened: ReadPrompt, whole: ReadPrompt) -> float | None:
    """Mean log-probability of the answer's tokens in nats.

    ``None`` where the whole chat does not begin with the opened one, or the server told no log-probability of one of the tokens.
    """
    number = whole.length - opened.length
    before = list(whole.ids[: len(whole.ids) - number][-COMPARED:]) if number > 0 else []
    # Where the whole chat is short, all of its tokens are there.
    if not before or before != list(opened.ids[-len(before) :]):
        return None
    told = [each for each in whole.logprobs[-number:] if each is not None]
    return math.fsum(told) / number if len(told) == number else None
