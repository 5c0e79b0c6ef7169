"""From what a judge says to who won: the verdict in a reply, two seatings as one battle, several judges as one panel."""

import math
import re
from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np

__all__ = [
    "Seat",
    "combine_orders",
    "from_gap",
    "from_probability",
    "is_tie",
    "majority",
    "mean_verdict",
    "parse_verdict",
    "to_points",
]

Seat = Literal["A", "B", "tie"]

_TIE = r"(?i:an?\s+)?(?i:tie|tied|draw|equal|equally good)\b"
_NOUN = r"(?i:answer|response|assistant|option|completion|candidate)"
# What may stand behind a letter that is a verdict; "verdict: A pirate would ..." is none.
_END = r"(?=\s*(?:$|[.,;:!?)\]\"'|]|[\u2013\u2014-]|(?:is|wins|because|since|over|as|for|by|with|and)\b))"
_LETTER = rf"(?:{_NOUN}\s+)?[\"'(\[]*(?P<{{0}}>[AB]){_END}"
_BRACKETS = re.compile(rf"\[\[\s*(?:{_NOUN}\s+)?(?:(?P<letter>[ABab])|(?P<tie>(?i:c|tie|draw|both|equal)))\s*\]\]")
_NAMED = re.compile(
    r"\b(?i:verdict|decision|judge?ment|choice|winner|preference|conclusion|(?:final|better|best)\s+(?:answer|response))"
    r"(?:\s+(?i:is|goes\s+to))?\s*[:=\u2013\u2014-]?\s*"
    rf"(?:(?P<tie>{_TIE})|{_LETTER.format('letter')})",
    re.MULTILINE,
)
_CALLED = re.compile(
    rf"\b{_NOUN}\s+(?P<letter>[AB])\s+(?i:wins|is\s+(?:(?:clearly|slightly|much|far|the|somewhat|overall|a\s+bit)\s+)*"
    r"(?:better|winner|best|stronger|more\s+in\s+character))\b"
)
_CHOSEN = re.compile(
    rf"\bI(?:'d|'ll|\s+would|\s+will)?\s+(?i:choose|pick|prefer|select|vote\s+for|go\s+with)\s+{_LETTER.format('letter')}",
    re.MULTILINE,
)
_SAID_TIE = re.compile(r"(?P<tie>(?i:\bit(?:'s|\s+is)\s+a\s+(?:tie|draw)\b))")
_ALONE = re.compile(rf"^\W*(?:(?P<letter>[AB])|(?P<tie>{_TIE}))\W*$", re.MULTILINE)
_PATTERNS = (_BRACKETS, _NAMED, _CALLED, _CHOSEN, _SAID_TIE, _ALONE)
_OFFERED = re.compile(r"\s*(?:,|/|or|\||and)\s*(?:or\s+)?[\"'(\[]*", re.IGNORECASE)


def parse_verdict(reply: str) -> Seat | None:
    """The last verdict of a reply, or ``None`` when there is none.

    What stands before the last counts for nothing: it may be a thought, or an answer that quotes the format. A list of the choices
    ("[[A]] or [[B]]") is no verdict, and neither is a thought that was never finished.
    """
    text = re.sub(r"[*_`#]+", "", reply)
    text = text.rpartition("</think>")[2]
    if "<think>" in text:
        return None
    found = sorted(
        (match for pattern in _PATTERNS for match in pattern.finditer(text)),
        key=lambda match: (match.end(), -match.start()),
    )
    # A choice between verdicts is an offer: none of them speaks for the judge.
    while found:
        first = len(found) - 1
        while first and _OFFERED.fullmatch(text, found[first - 1].end(), found[first].start()):
            first -= 1
        if first == len(found) - 1:
            break
        found = [match for match in found if match.end() <= found[first].start()]
    if not found:
        return None
    groups = found[-1].groupdict()
    if groups.get("letter"):
        return "A" if groups["letter"].upper() == "A" else "B"
    return "tie"


@overload
def is_tie(gap: float, margin: float) -> bool: ...
@overload
def is_tie(gap: np.ndarray, margin: float) -> np.ndarray: ...
def is_tie(gap: Any, margin: float) -> Any:
    """Whether a judge sees no difference: the gap between both sides is at most ``margin``, so that equals tie even at a margin of 0."""
    return abs(gap) <= margin


def from_gap(gap: float, margin: float) -> Seat | None:
    """The verdict of a judge that gives both seats a score: ``gap`` is the first's minus the second's, NaN where one has none."""
    if math.isnan(gap):
        return None
    if is_tie(gap, margin):
        return "tie"
    return "A" if gap > 0 else "B"


def from_probability(first_wins: float, margin: float) -> Seat | None:
    """The verdict of a judge that says how likely the first seat is the better one; within ``margin`` of one half is a tie."""
    return from_gap(first_wins - 0.5, margin)


def to_points(verdict: Seat | None) -> float:
    """What the first seat scores: 1, 0.5 or 0; NaN without a verdict."""
    return math.nan if verdict is None else {"A": 1.0, "tie": 0.5, "B": 0.0}[verdict]


def combine_orders(first: Seat | None, swapped: Seat | None) -> Seat | None:
    """One verdict from the two seatings of the same pair of completions.

    ``swapped`` was asked with the seats exchanged, so its "A" speaks for the completion that sat in "B" the first time. A judge that
    names the same *seat* twice has a position bias, not an opinion: the battle is a tie.
    """
    if first is None or swapped is None:
        return None
    unswapped: Seat = {"A": "B", "B": "A", "tie": "tie"}[swapped]  # type: ignore[assignment]  # the keys are all seats
    return first if first == unswapped else "tie"


def majority(verdicts: Sequence[Seat | None]) -> Seat | None:
    """What most judges of a panel say; where no side has more votes than the other, a tie. Unreadable votes do not count."""
    read = [verdict for verdict in verdicts if verdict is not None]
    if not read:
        return None
    votes = {seat: read.count(seat) for seat in ("A", "B", "tie")}
    if votes["A"] == votes["B"] or votes["tie"] >= max(votes["A"], votes["B"]):
        return "tie"
    return "A" if votes["A"] > votes["B"] else "B"


def mean_verdict(first_wins: Sequence[float], margin: float) -> Seat | None:
    """What a panel says on average; judges without a verdict (NaN) do not count."""
    read = [value for value in first_wins if not math.isnan(value)]
    return from_probability(sum(read) / len(read), margin) if read else None
