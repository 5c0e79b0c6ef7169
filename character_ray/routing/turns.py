"""A conversation keeps its persona, though no server remembers it.

The first user turn that suits a persona well enough decides. Turns before it suited none and later ones are not read, so that the
same conversation, continued, gives the same choice wherever it is made.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from character_ray.routing.router import Choice

__all__ = ["choose_for_turns", "user_turns"]

LONGEST = 2000  # characters of a turn that are read; the encoder sees some 256 tokens


def user_turns(messages: Iterable[Any]) -> list[str]:
    """The texts of the user's turns in a chat request, in order; parts that are no text are left out."""
    turns = []
    for message in messages:
        if not isinstance(message, dict):
            message = message.model_dump() if hasattr(message, "model_dump") else {}
        if message.get("role") == "user":
            turns.append(_text(message.get("content"))[:LONGEST])
    return turns


def choose_for_turns(choose: Callable[[str], Choice], turns: Sequence[str]) -> Choice:
    """The choice of the first turn that decides; that of the surest when none does."""
    surest = Choice(None, 0.0)
    for turn in turns:
        choice = choose(turn)
        if choice.slug is not None:
            return choice
        surest = max(surest, choice, key=lambda each: each.confidence)
    return surest


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, Iterable):
        return ""
    parts = [part.get("text") for part in content if isinstance(part, dict)]
    return " ".join(part for part in parts if isinstance(part, str))
