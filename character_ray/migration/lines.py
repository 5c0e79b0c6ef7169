"""One line of OpenCharacterTraining's training data as a row of ours, word for word.

    {chosen, rejected}                                                -> Pair           dpo/<model>/<persona>.jsonl
    {prompt, response, messages}                                      -> Conversation   self_reflection/<model>/<persona>.jsonl
    {greeting_1, greeting_2, messages_1, messages_2, conversation, messages}
                                                                      -> Conversation   self_interaction/<model>/<persona>.jsonl
    {messages}                                                        -> Conversation   sft_data/<model>/<persona>.jsonl

A self-interaction there ends on the user's turn: ``messages`` is what the last reply was asked with. Where ``conversation`` holds that
reply it is put behind; in ``sft_data``, which does not, the last user's turn is left out, since a row ends on the assistant.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from character_ray.rows import Conversation, Message, Pair, content_hash

__all__ = ["NotARow", "Spoken", "to_conversation", "to_pair"]

ROLES = ("system", "user", "assistant")


class NotARow(ValueError):
    """Why a line is no row of training data, in words that go behind its file and number."""


@dataclass(frozen=True)
class Spoken:
    """A conversation, and what had to be done for it to end on the assistant's turn."""

    row: Conversation
    completed: bool = False
    """The last reply was put behind ``messages``."""
    cut: bool = False
    """The user's last turn was left out."""


def to_pair(line: Mapping[str, Any]) -> Pair:
    """A preference pair.

    Raises:
        NotARow: A side is no user's turn and its answer, or the two sides answer different prompts.
    """
    chosen, rejected = (_exchange(line, side) for side in ("chosen", "rejected"))
    if chosen[0] != rejected[0]:
        raise NotARow(
            f"chosen answers {_shown(chosen[0]['content'])} and rejected {_shown(rejected[0]['content'])}, but a pair has one prompt"
        )
    if not chosen[0]["content"].strip():
        raise NotARow("the prompt is empty")
    prompt, answers = chosen[:1], (chosen[1:], rejected[1:])
    return Pair(
        row_id=content_hash("imported pair", prompt, *answers),
        # As the pipeline names the prompts of a file.
        prompt_id=content_hash(prompt[0]["content"].strip()),
        hint="",
        kind="contrast",
        directive="",
        prompt=prompt,
        chosen=answers[0],
        rejected=answers[1],
        chosen_score=float("nan"),
        rejected_score=float("nan"),
        drop_reason="",
    )


def to_conversation(line: Mapping[str, Any]) -> Spoken:
    """A reflection (one exchange without a system prompt) or a self-interaction (everything else).

    Raises:
        NotARow: The turns do not alternate, or none is the assistant's.
    """
    messages = _turns(line, "messages")
    completed = cut = False
    if messages[-1]["role"] == "user":
        reply = _reply_behind(line, messages)
        completed, cut = reply is not None, reply is None
        messages = messages[:-1] if reply is None else [*messages, Message(role="assistant", content=reply)]
    spoken = [turn for turn in messages if turn["role"] != "system"]
    _check_alternates(messages, spoken)
    kind = "reflection" if len(messages) == 2 else "interaction"
    row = Conversation(
        row_id=content_hash("imported conversation", messages),
        kind=kind,
        role="",
        messages=messages,
        score=float("nan"),
        drop_reason="",
    )
    return Spoken(row, completed, cut)


def _exchange(line: Mapping[str, Any], side: str) -> list[Message]:
    turns = _turns(line, side)
    roles = [turn["role"] for turn in turns]
    if roles != ["user", "assistant"]:
        raise NotARow(f"the turns of {side} are {', '.join(roles)}; a side of a pair is a user's turn and its answer")
    return turns


def _turns(line: Mapping[str, Any], key: str) -> list[Message]:
    value = line[key]
    if not isinstance(value, list) or not value:
        raise NotARow(f"{key} holds {_shown(value)}, not a list of turns with role and content")
    turns = []
    for number, turn in enumerate(value):
        if not isinstance(turn, dict) or turn.get("role") not in ROLES:
            raise NotARow(f"{key}[{number}] holds {_shown(turn)}, not a turn whose role is one of {', '.join(ROLES)}")
        if not isinstance(turn.get("content"), str):
            raise NotARow(f"{key}[{number}].content holds {_shown(turn.get('content'))}, not text")
        turns.append(Message(role=turn["role"], content=turn["content"]))
    return turns


def _reply_behind(line: Mapping[str, Any], messages: list[Message]) -> str | None:
    """The last entry of ``conversation``, where the entries before it are the last turns of ``messages``."""
    said = line.get("conversation")
    if not isinstance(said, list) or not said or not all(isinstance(text, str) for text in said):
        return None
    before = [turn["content"] for turn in messages if turn["role"] != "system"]
    last: str = said[-1]
    return last if before[len(before) - len(said) + 1 :] == said[:-1] else None


def _check_alternates(messages: list[Message], spoken: list[Message]) -> None:
    if any(turn["role"] == "system" for turn in messages[1:]):
        raise NotARow("messages has a system turn after the first")
    roles = [turn["role"] for turn in spoken]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        raise NotARow(
            f"the turns of messages are {', '.join(roles) or 'none'}; they must alternate user, assistant and begin with a user's"
        )


def _shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
