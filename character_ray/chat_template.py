"""A conversation as the token ids a model sees."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from character_ray.rows import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["chat_ids"]


def chat_ids(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], *, open_turn: bool = False
) -> list[int]:
    """Token ids of ``messages`` under the tokenizer's template; ``open_turn`` adds the header of an assistant turn."""
    encoded = tokenizer.apply_chat_template(
        [{"role": turn["role"], "content": turn["content"]} for turn in messages],
        tokenize=False,
        add_generation_prompt=open_turn,
    )
    # The template writes every special token itself.
    return [int(token) for token in tokenizer(str(encoded), add_special_tokens=False)["input_ids"]]
