"""What a side of a conversation hears, and what it says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from character_ray.rows import Message
from character_ray.spoken import trim_unfinished, without_thoughts
from character_ray.words import count_words

__all__ = ["Turn", "view_of", "whole_turn"]

# What the side that spoke first is told: chat templates want a user turn before the first assistant turn.
BEGIN = "(The conversation begins.)"


def view_of(speaker: int, system: str, turns: Sequence[str]) -> list[Message]:
    """The chat as one of the two sees it.

    Args:
        speaker: 0 for the side that opened the conversation, 1 for the other.
        system: System prompt of both.
        turns: What was said so far, alternating, the opening first.
    """
    messages = [Message(role="system", content=system)]
    if speaker == 0:
        messages.append(Message(role="user", content=BEGIN))
    for number, text in enumerate(turns):
        messages.append(Message(role="assistant" if number % 2 == speaker else "user", content=text))
    return messages


@dataclass(frozen=True)
class Turn:
    """What one side says in a conversation."""

    text: str
    num_tokens: int
    is_cut: bool
    """Whether it ends in mid-sentence, because it ran into ``max_tokens``."""


def whole_turn(output: Any) -> Turn:
    """A turn as the other side hears it, without thoughts: one that was cut off ends with its last whole sentence, if that leaves half.

    Args:
        output: vLLM's ``CompletionOutput``.
    """
    text, is_cut = without_thoughts(output.text), output.finish_reason == "length"
    if is_cut:
        whole = trim_unfinished(text, min_words=-(-count_words(text) // 2))
        text, is_cut = whole, whole == text
    return Turn(text, len(output.token_ids), is_cut)
