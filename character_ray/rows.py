"""The rows that cross a stage boundary, with their Arrow schemas.

    Prompt -> Request -> Completion -> Pair / Conversation -> adapter
                                    -> Answer -> report
              Dialogue -> Talk      -> Conversation

Optional text is ``""``, never null: an all-null Arrow column loses its type. Ids are content hashes, so the same
row has the same id in every run and after every restart.
"""

import hashlib
import json
from typing import Any, Literal, TypedDict

import pyarrow as pa

__all__ = [
    "AMONG_SAMPLES",
    "ANSWER",
    "CHALLENGED",
    "COMPLETION",
    "CONVERSATION",
    "DECIDED",
    "PAIR",
    "PROMPT",
    "TALK",
    "Answer",
    "Challenged",
    "Completion",
    "Conversation",
    "Decided",
    "Dialogue",
    "Hint",
    "Message",
    "Pair",
    "PairKind",
    "Prompt",
    "Request",
    "Scripted",
    "Source",
    "Talk",
    "content_hash",
]

Source = Literal["grid", "everyday", "language", "own", "trait", "probe"]
PairKind = Literal["contrast", "violation", "refusal", "over_refusal", "boundary", "repetition", "relevance"]
# Both sides are the teacher's samples of one prompt, and ``chosen`` is the contrast's.
AMONG_SAMPLES: frozenset[PairKind] = frozenset({"repetition", "relevance"})
Hint = Literal["", "jailbreak", "context_switch", "persona_denial"]


class Message(TypedDict):
    """One chat turn."""

    role: Literal["system", "user", "assistant"]
    content: str


class Prompt(TypedDict):
    """One thing to ask, and where it comes from."""

    prompt_id: str
    prompt: str
    source: Source
    hint: Hint
    audience: str
    scenario: str
    objective: str
    constraint: str
    language: str
    """ISO 639-1 code; ``""`` where it is not plain."""
    directive: str
    """What it was written for; ``""`` for none."""


class Request(TypedDict):
    """One completion to generate. ``row_id`` is the hash of everything that decides its text."""

    row_id: str
    prompt_id: str
    sample: int
    messages: list[Message]
    sampling: dict[str, Any]


class Completion(TypedDict):
    """What an engine made of a request; ``error`` is ``""`` unless the row failed."""

    row_id: str
    prompt_id: str
    sample: int
    completion: str
    num_tokens: int
    finish_reason: str
    error: str


class Dialogue(TypedDict):
    """A conversation to hold: two instances of one model, each seeing itself as the assistant and the other as the user."""

    row_id: str
    system: str
    """System prompt of both sides."""
    opening: str
    """First message."""
    turns: int
    """Messages in all, the opening included."""
    sampling: dict[str, Any]


class Scripted(TypedDict):
    """A conversation whose user reads from a script, whatever the model says."""

    row_id: str
    context: list[Message]
    """What stands before the first line: an arm's system prompt and example turns."""
    lines: list[str]
    """The user's turns."""
    turns: int
    """One more than there are lines: as in a dialogue, completions are one fewer."""
    sampling: dict[str, Any]


class Talk(TypedDict):
    """A dialogue that was held, as its second speaker saw it, or a scripted one: the opening is the user's."""

    row_id: str
    messages: list[Message]
    num_tokens: int
    """Tokens that were generated, over all turns."""
    num_cut: int
    """Turns that end in mid-sentence, because they ran into ``max_tokens``."""
    drop_reason: str
    """Why it ended early though the engine did not fail: ``empty``, a turn of a dialogue without a word, or ``too_long_for_engine``,
    no room left in ``max_model_len``; ``""`` otherwise."""
    error: str


class Pair(TypedDict):
    """One preference pair in TRL's conversational form; trained on only if ``drop_reason`` is ``""``."""

    row_id: str
    prompt_id: str
    hint: Hint
    kind: PairKind
    """What it teaches: the voice (``contrast``), a lesson about one directive, not to loop (``repetition``), or to keep to the point
    (``relevance``)."""
    directive: str
    """The directive a lesson is about; ``""`` for a contrast."""
    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    chosen_score: float
    rejected_score: float
    drop_reason: str


class Conversation(TypedDict):
    """One introspection example; ``kind`` is ``reflection``, ``interaction`` or ``plain``."""

    row_id: str
    kind: str
    role: str
    messages: list[Message]
    score: float
    drop_reason: str


class Answer(TypedDict):
    """One completion of one arm on one evaluation prompt.

    ``score`` is the likelihood ratio in nats per token, NaN when the row failed.
    """

    row_id: str
    arm: str
    prompt_id: str
    source: Source
    hint: Hint
    sample: int
    prompt: str
    completion: str
    error: str
    score: float


class Challenged(TypedDict):
    """One completion of one arm on one challenge, or on one turn of an erosion conversation."""

    row_id: str
    arm: str
    group: str
    """Group of the challenge, or ``erosion``."""
    kind: str
    challenge_id: str
    """For erosion the script's."""
    wording: str
    turn: int
    """Turn of an erosion conversation from 1, else 0."""
    prompt: str
    system: str
    begun: str
    canary: str
    completion: str
    error: str
    score: float


class Decided(TypedDict):
    """What was decided about one arm's answers to one prompt, the mean of its samples."""

    arm: str
    metric: str
    prompt_id: str
    value: float


_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

PROMPT = pa.schema({name: pa.string() for name in Prompt.__annotations__})
COMPLETION = pa.schema(
    {
        "row_id": pa.string(),
        "prompt_id": pa.string(),
        "sample": pa.int32(),
        "completion": pa.string(),
        "num_tokens": pa.int32(),
        "finish_reason": pa.string(),
        "error": pa.string(),
    }
)
TALK = pa.schema(
    {
        "row_id": pa.string(),
        "messages": _MESSAGES,
        "num_tokens": pa.int32(),
        "num_cut": pa.int32(),
        "drop_reason": pa.string(),
        "error": pa.string(),
    }
)
PAIR = pa.schema(
    {
        "row_id": pa.string(),
        "prompt_id": pa.string(),
        "hint": pa.string(),
        "kind": pa.string(),
        "directive": pa.string(),
        "prompt": _MESSAGES,
        "chosen": _MESSAGES,
        "rejected": _MESSAGES,
        "chosen_score": pa.float64(),
        "rejected_score": pa.float64(),
        "drop_reason": pa.string(),
    }
)
CONVERSATION = pa.schema(
    {
        "row_id": pa.string(),
        "kind": pa.string(),
        "role": pa.string(),
        "messages": _MESSAGES,
        "score": pa.float64(),
        "drop_reason": pa.string(),
    }
)
ANSWER = pa.schema(
    {
        "row_id": pa.string(),
        "arm": pa.string(),
        "prompt_id": pa.string(),
        "source": pa.string(),
        "hint": pa.string(),
        "sample": pa.int32(),
        "prompt": pa.string(),
        "completion": pa.string(),
        "error": pa.string(),
        "score": pa.float64(),
    }
)

CHALLENGED = pa.schema(
    {name: {"turn": pa.int32(), "score": pa.float64()}.get(name, pa.string()) for name in Challenged.__annotations__}
)
DECIDED = pa.schema({"arm": pa.string(), "metric": pa.string(), "prompt_id": pa.string(), "value": pa.float64()})


def content_hash(*parts: Any) -> str:
    """Sixteen hex digits of the SHA-256 of the parts as canonical JSON: the id of a row, a stage or a prompt set."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
