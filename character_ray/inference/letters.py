"""A verdict from the token probabilities that an OpenAI-compatible endpoint returns."""

import math
from typing import Any

__all__ = ["TOP_LOGPROBS", "letter_probability"]

# The most that the published API returns.
TOP_LOGPROBS = 20
# How tokenizers write the space before a word.
SPACES = " \u0120\u2581"


def letter_probability(choice: Any) -> str:
    """p("A") / (p("A") + p("B")) of an answer's first token, written out; ``""`` where neither letter is among the likeliest."""
    mass = {"A": 0.0, "B": 0.0}
    content = choice.logprobs.content if choice.logprobs else None
    for token in content[0].top_logprobs if content else ():
        letter = token.token.strip(SPACES)
        if letter in mass:
            mass[letter] += math.exp(token.logprob)
    total = sum(mass.values())
    return repr(mass["A"] / total) if total > 0 else ""
