"""Text from people and models must never become control tokens of the chat template."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from character_ray.errors import ModelError

__all__ = ["control_tokens", "neutralize", "neutralize_all"]

# Zero-width joiner: invisible, and enough to keep the tokenizer from reading the marker as one token.
_SEPARATOR = "\u200d"


def neutralize(text: str, special_tokens: Sequence[str]) -> str:
    """The text with every control token broken in two, so that it reads the same and commands nothing."""
    for token in special_tokens:
        broken = token[0] + _SEPARATOR + token[1:] if len(token) > 1 else _SEPARATOR
        # Again until none is left: breaking one occurrence may leave another that overlapped it.
        while token in text:
            text = text.replace(token, broken)
    return text


def neutralize_all(value: Any, special_tokens: Sequence[str]) -> Any:
    """A JSON-like value with the control tokens in every text of it broken, keys included."""
    if isinstance(value, str):
        return neutralize(value, special_tokens)
    if isinstance(value, BaseModel):
        return type(value).model_validate(neutralize_all(value.model_dump(), special_tokens))
    if isinstance(value, Mapping):
        pairs = (neutralize_all(pair, special_tokens) for pair in value.items())
        return dict(pairs)
    if isinstance(value, Iterable):
        return [neutralize_all(item, special_tokens) for item in value]
    return value


def control_tokens(model: Path) -> tuple[str, ...]:
    """Every special token of a model's tokenizer, read from its files.

    More than ``tokenizer.all_special_tokens``, which names only those with a role such as end of text: SmolLM2 has 17
    and names 3.

    Raises:
        ModelError: The folder's tokenizer files name no special token.
    """
    tokens = {
        str(entry["content"])
        for name, entries in (("tokenizer.json", _added_tokens), ("tokenizer_config.json", _decoder_tokens))
        if (model / name).is_file()
        for entry in entries(json.loads((model / name).read_text(encoding="utf-8")))
        if entry.get("special")
    }
    if not tokens:
        raise ModelError(
            f"{model}: neither tokenizer.json nor tokenizer_config.json names a special token, so text from users "
            "could not be kept from becoming control tokens. Save the tokenizer with transformers' save_pretrained."
        )
    return tuple(sorted(tokens, key=len, reverse=True))


def _added_tokens(tokenizer: dict[str, Any]) -> list[dict[str, Any]]:
    return list(tokenizer.get("added_tokens", []))


def _decoder_tokens(config: dict[str, Any]) -> list[dict[str, Any]]:
    return list(config.get("added_tokens_decoder", {}).values())
