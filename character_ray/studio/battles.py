"""Battles and their votes, kept over restarts.

battles   one per conversation: who sits in A and B, and the vote once it is cast
turns     what was asked, and what both answered
"""

import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Literal

from character_ray.errors import StudioError
from character_ray.rows import Message
from character_ray.studio.database import Database, Transaction

__all__ = ["Battle", "BattleStore", "Contestant", "Seat", "Turn", "Vote", "VotedBattle"]

Seat = Literal["A", "B"]
Vote = Literal["A", "B", "tie"]


@dataclass(frozen=True)
class Contestant:
    """Who answers: a model, and what stands before the conversation."""

    key: str
    """What is rated: the name with the hash of the weights and of the constitution, so that versions are told apart."""
    label: str
    """For people."""
    model: str
    """What the API is asked for; pinned to a version where the API knows one."""
    preamble: tuple[Message, ...] = ()
    """System prompt and example turns; a copy, so that a conversation does not change with its constitution."""


@dataclass(frozen=True)
class Turn:
    """One exchange."""

    prompt: str
    answer_a: str
    answer_b: str


@dataclass(frozen=True)
class Battle:
    """One conversation with two contestants."""

    id: str
    number: int
    blind: bool
    seed: int
    seat_a: Contestant
    seat_b: Contestant
    created_at: str
    vote: Vote | None = None
    turns: list[Turn] = field(default_factory=list)

    def seat(self, seat: Seat) -> Contestant:
        """Who sits there."""
        return self.seat_a if seat == "A" else self.seat_b

    def messages(self, seat: Seat, prompt: str) -> list[Message]:
        """The conversation as that seat knows it, up to a new prompt."""
        messages = list(self.seat(seat).preamble)
        for turn in self.turns:
            messages.append(Message(role="user", content=turn.prompt))
            messages.append(Message(role="assistant", content=turn.answer_a if seat == "A" else turn.answer_b))
        return [*messages, Message(role="user", content=prompt)]


@dataclass(frozen=True)
class VotedBattle:
    """As much of a battle as a rating needs."""

    key_a: str
    label_a: str
    key_b: str
    label_b: str
    vote: Vote
    blind: bool
    prompt: str
    """What was asked first; battles about the same are not independent."""
    voted_at: str


class BattleStore:
    """All battles in a database; its tables are made when they are missing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.transaction() as transaction:
            transaction.execute(
                f"CREATE TABLE IF NOT EXISTS battles (number {database.serial}, id TEXT UNIQUE NOT NULL, created_at TEXT NOT NULL, "
                "blind INTEGER NOT NULL, seed BIGINT NOT NULL, seat_a TEXT NOT NULL, seat_b TEXT NOT NULL, vote TEXT, voted_at TEXT)"
            )
            transaction.execute(
                "CREATE TABLE IF NOT EXISTS turns (battle BIGINT NOT NULL, position INTEGER NOT NULL, prompt TEXT NOT NULL, "
                "answer_a TEXT NOT NULL, answer_b TEXT NOT NULL, PRIMARY KEY (battle, position))"
            )

    def create(self, draw: Callable[[int], tuple[Contestant, Contestant]], *, blind: bool, seed: int) -> Battle:
        """A new battle.

        Args:
            draw: Who sits in A and in B, given the number of the battle.
            blind: Whether the names are hidden until the vote.
            seed: Seed of the draw, for the record.
        """
        identity, now = secrets.token_urlsafe(12), _now()
        with self._database.transaction() as transaction:
            (number,) = transaction.execute(
                "INSERT INTO battles (id, created_at, blind, seed, seat_a, seat_b) VALUES (?, ?, ?, ?, '', '') RETURNING number",
                (identity, now, int(blind), seed),
            ).fetchone()
            seat_a, seat_b = draw(number)
            transaction.execute(
                "UPDATE battles SET seat_a = ?, seat_b = ? WHERE number = ?",
                (json.dumps(asdict(seat_a)), json.dumps(asdict(seat_b)), number),
            )
        return Battle(identity, number, blind, seed, seat_a, seat_b, now)

    def load(self, identity: str) -> Battle:
        """A battle with its turns.

        Raises:
            StudioError: There is none of that id.
        """
        with self._database.transaction() as transaction:
            return _load(transaction, identity)

    def add_turn(self, identity: str, position: int, turn: Turn) -> None:
        """Keep an exchange.

        Args:
            identity: The battle.
            position: How many exchanges came before, as its writer knew it; 0 for the first.
            turn: The exchange.

        Raises:
            StudioError: The battle was voted on or went on meanwhile, in another window perhaps.
        """
        with self._database.transaction() as transaction:
            battle = _load(transaction, identity)
            if battle.vote is not None:
                raise StudioError(
                    "this battle was voted on while the answers came, so they are not kept. Start another."
                )
            if len(battle.turns) != position:
                raise StudioError("this conversation went on elsewhere while the answers came. Load the page again.")
            transaction.execute(
                "INSERT INTO turns (battle, position, prompt, answer_a, answer_b) VALUES (?, ?, ?, ?, ?)",
                (battle.number, position, turn.prompt, turn.answer_a, turn.answer_b),
            )

    def cast(self, identity: str, vote: Vote) -> Battle:
        """Vote, once.

        Raises:
            StudioError: There was no answer yet, or a vote before.
        """
        with self._database.transaction() as transaction:
            battle = _load(transaction, identity)
            if not battle.turns:
                raise StudioError(
                    "nobody has answered in this battle yet, so there is nothing to vote on. Ask something."
                )
            if battle.vote is not None:
                raise StudioError(f"this battle has its vote already: {battle.vote}. Start another.")
            changed = transaction.execute(
                "UPDATE battles SET vote = ?, voted_at = ? WHERE number = ? AND vote IS NULL",
                (vote, _now(), battle.number),
            )
            if changed.rowcount != 1:
                raise StudioError("somebody voted on this battle at the same moment. Start another.")
            return _load(transaction, identity)

    def voted(self) -> list[VotedBattle]:
        """Every battle with a vote, in the order they began."""
        with self._database.transaction() as transaction:
            rows = transaction.execute(
                "SELECT seat_a, seat_b, vote, blind, prompt, voted_at FROM battles JOIN turns ON turns.battle = battles.number "
                "WHERE vote IS NOT NULL AND position = 0 ORDER BY number"
            ).fetchall()
        found = []
        for seat_a, seat_b, vote, blind, prompt, voted_at in rows:
            a, b = json.loads(seat_a), json.loads(seat_b)
            found.append(VotedBattle(a["key"], a["label"], b["key"], b["label"], vote, bool(blind), prompt, voted_at))
        return found

    def num_votes(self) -> int:
        """How many votes there are."""
        with self._database.transaction() as transaction:
            (count,) = transaction.execute("SELECT COUNT(*) FROM battles WHERE vote IS NOT NULL").fetchone()
        return int(count)


def _load(transaction: Transaction, identity: str) -> Battle:
    row = transaction.execute(
        "SELECT number, created_at, blind, seed, seat_a, seat_b, vote FROM battles WHERE id = ?", (identity,)
    ).fetchone()
    if row is None:
        raise StudioError(f"there is no battle {identity!r} here. Start another.")
    number, created_at, blind, seed, seat_a, seat_b, vote = row
    turns = transaction.execute(
        "SELECT prompt, answer_a, answer_b FROM turns WHERE battle = ? ORDER BY position", (number,)
    ).fetchall()
    return Battle(
        identity,
        number,
        bool(blind),
        seed,
        _contestant(seat_a),
        _contestant(seat_b),
        created_at,
        vote,
        [Turn(*turn) for turn in turns],
    )


def _contestant(text: str) -> Contestant:
    stored = json.loads(text)
    return Contestant(**{**stored, "preamble": tuple(stored["preamble"])})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
