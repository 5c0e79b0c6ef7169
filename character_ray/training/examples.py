"""Token ids and labels of an SFT example: which tokens of a conversation are learnt.

{messages: [user, assistant, ..., assistant]} -> {input_ids, labels}
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from character_ray.chat_template import chat_ids
from character_ray.errors import TrainingError
from character_ray.rows import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["IGNORED", "check_conversation", "describe_example", "in_brief", "to_labelled"]

# Label of a token that is not trained on.
IGNORED = -100
# Of an example on a terminal: letters at either end of a stretch that is learnt or not, and lines in all.
LETTERS, LINES = 100, 20


def check_conversation(messages: Sequence[Message], row_id: str) -> None:
    """Check that a conversation can be trained on.

    Raises:
        TrainingError: It does not alternate, carries a system prompt in the middle, or does not end on an assistant turn.
    """
    roles = [turn["role"] for turn in messages if turn["role"] != "system"]
    if any(turn["role"] == "system" for turn in messages[1:]):
        raise TrainingError(
            f"conversation {row_id}: has a system turn after the first; only the first turn may be one."
        )
    expected = ["user", "assistant"] * (len(roles) // 2)
    if not roles or roles != expected:
        raise TrainingError(
            f"conversation {row_id}: its turns are {', '.join(roles) or 'none'}; they must alternate user, assistant and end on an "
            "assistant turn, or the model would learn to speak for its user."
        )


def to_labelled(
    row_id: str,
    messages: Sequence[Message],
    tokenizer: "PreTrainedTokenizerBase",
    loss_on: Literal["all_turns", "last_turn"],
) -> dict[str, list[int]]:
    """Token ids of the rendered conversation, with :data:`IGNORED` as the label of every token that is not the model's own.

    Returns:
        ``input_ids`` and ``labels`` of equal length, however long the conversation is.

    Raises:
        TrainingError: The conversation cannot be trained on, or the template renders its beginning differently from its whole.
    """
    check_conversation(messages, row_id)
    ids = chat_ids(tokenizer, messages)
    labels = [IGNORED] * len(ids)
    turns = [number for number, turn in enumerate(messages) if turn["role"] == "assistant"]
    for number in turns if loss_on == "all_turns" else turns[-1:]:
        before = chat_ids(tokenizer, messages[:number], open_turn=True)
        through = chat_ids(tokenizer, messages[: number + 1])
        if ids[: len(before)] != before or ids[: len(through)] != through:
            raise TrainingError(
                f"conversation {row_id}: the chat template renders its first {number + 1} turns differently alone and within the whole, "
                "so trained and served text would differ. Use a template whose rendering only grows."
            )
        labels[len(before) : len(through)] = ids[len(before) : len(through)]
    return {"input_ids": ids, "labels": labels}


def describe_example(example: Mapping[str, Sequence[int]], tokenizer: "PreTrainedTokenizerBase") -> str:
    """The example as the model sees it, trained tokens between « and »."""
    text, trained = "", False
    for token, label in zip(example["input_ids"], example["labels"], strict=True):
        if (label != IGNORED) != trained:
            text += "»" if trained else "«"
            trained = not trained
        text += str(tokenizer.decode([token]))
    return text + ("»" if trained else "")


def in_brief(text: str) -> str:
    """A described example in a few lines: the ends of every stretch between marks, then the first and last lines."""
    stretches = re.split("([«»])", text.strip())
    lines = "".join(_ends(stretch) for stretch in stretches).splitlines() if len(stretches) > 1 else text.splitlines()
    half = LINES // 2
    shown = lines if len(lines) <= LINES else [*lines[:half], "…", *lines[1 - half :]]
    return "\n".join(_ends(line) for line in shown)


def _ends(text: str) -> str:
    return text if len(text) <= 2 * LETTERS + 3 else f"{text[:LETTERS]} … {text[-LETTERS:]}"
