"""Text from people and models must never become control tokens of the chat template."""

from collections.abc import Sequence

__all__ = ["neutralize"]

# Zero-width joiner: invisible, and enough to keep the tokenizer from reading the marker as one token.
_SEPARATOR = "\u200d"


def neutralize(text: str, special_tokens: Sequence[str]) -> str:
    """The text with every control token broken in two, so that it reads the same and commands nothing."""
    for token in special_tokens:
        text = text.replace(token, token[:1] + _SEPARATOR + token[1:])
    return text
