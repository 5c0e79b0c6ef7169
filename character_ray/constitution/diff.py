"""What changed between two versions of a constitution, directive by directive.

A line that stays is not shown, wherever it stands now. Of the others, two that share most of their words are one line that was
rewritten; what is left was removed or added.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from character_ray.constitution.schema import Constitution

__all__ = ["Change", "Kind", "Piece", "diff_constitutions"]

Kind = Literal["added", "removed", "changed"]
# Two lines are versions of one another when at least half of their words, in order, are the same.
LEAST_ALIKE = 0.5


@dataclass(frozen=True)
class Piece:
    """A run of words that both versions have, or only one of them."""

    kind: Literal["same", "removed", "added"]
    text: str


@dataclass(frozen=True)
class Change:
    """One field or line that differs."""

    field: str
    """Where it stands: ``directives.behavior``, ``persona.voice.tone``, ``examples``."""
    kind: Kind
    before: str
    """Empty when it was added."""
    after: str
    """Empty when it was removed."""
    reaches_model: bool
    """Whether a model or a measure ever sees it, so that what was made with the old version no longer holds."""

    @property
    def pieces(self) -> list[Piece]:
        """Old and new text as one, word by word."""
        return list(_pieces(_words(self.before), _words(self.after)))


def diff_constitutions(before: Constitution, after: Constitution) -> list[Change]:
    """Every change, in the order of the document; empty when the two say the same."""
    changes: list[Change] = []
    for field in ("name", "version", "description", "author"):
        changes += _field(f"meta.{field}", getattr(before.meta, field), getattr(after.meta, field), field == "name")
    changes += _field("persona.identity", before.persona.identity, after.persona.identity)
    for field in ("tone", "formality"):
        changes += _field(
            f"persona.voice.{field}", getattr(before.persona.voice, field), getattr(after.persona.voice, field)
        )
    changes += _lines("persona.voice.vocabulary", before.persona.voice.vocabulary, after.persona.voice.vocabulary)
    for field in ("personality", "behavior", "constraints"):
        changes += _lines(f"directives.{field}", getattr(before.directives, field), getattr(after.directives, field))
    for field in ("refusals", "boundaries"):
        changes += _lines(f"safety.{field}", getattr(before.safety, field), getattr(after.safety, field))
    changes += _examples(before, after)
    return changes


def _field(field: str, before: str, after: str, reaches_model: bool = True) -> Iterator[Change]:
    before, after = " ".join(before.split()), " ".join(after.split())
    if before != after:
        kind: Kind = "added" if not before else "removed" if not after else "changed"
        yield Change(field, kind, before, after, reaches_model)


def _lines(field: str, before: Sequence[str], after: Sequence[str]) -> list[Change]:
    old = [line for line in before if line not in after]
    new = [line for line in after if line not in before]
    partner = _partners(old, new)
    changes = [
        Change(field, "changed", line, new[partner[i]], True)
        if i in partner
        else Change(field, "removed", line, "", True)
        for i, line in enumerate(old)
    ]
    taken = set(partner.values())
    return changes + [Change(field, "added", "", line, True) for j, line in enumerate(new) if j not in taken]


def _partners(old: Sequence[str], new: Sequence[str]) -> dict[int, int]:
    """Index in ``new`` of the rewritten version of a line of ``old``; the most alike find each other first."""
    likeness = [(_alike(a, b), i, j) for i, a in enumerate(old) for j, b in enumerate(new)]
    found: dict[int, int] = {}
    for score, i, j in sorted(likeness, key=lambda each: (-each[0], each[1], each[2])):
        if score >= LEAST_ALIKE and i not in found and j not in found.values():
            found[i] = j
    return found


def _examples(before: Constitution, after: Constitution) -> Iterator[Change]:
    """Demonstrations belong together by their prompt, which is unique in a constitution."""
    old = {example.prompt: example.response for example in before.examples}
    new = {example.prompt: example.response for example in after.examples}
    for prompt in [*old, *(prompt for prompt in new if prompt not in old)]:
        for change in _field("examples", old.get(prompt, ""), new.get(prompt, "")):
            yield Change(f"examples: {prompt}", change.kind, change.before, change.after, True)


def _alike(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a.lower().split(), b.lower().split(), autojunk=False).ratio()


def _words(text: str) -> list[str]:
    """Words, each with the space behind it."""
    return re.findall(r"\S+\s*", text)


def _pieces(old: Sequence[str], new: Sequence[str]) -> Iterator[Piece]:
    # Compared without the space behind them, or a line's last word would never equal the same word in its middle.
    old_words, new_words = [word.rstrip() for word in old], [word.rstrip() for word in new]
    for tag, i, i_end, j, j_end in difflib.SequenceMatcher(None, old_words, new_words, autojunk=False).get_opcodes():
        if tag == "equal":
            yield Piece("same", "".join(new[j:j_end]))
            continue
        if i < i_end:
            yield Piece("removed", "".join(old[i:i_end]))
        if j < j_end:
            yield Piece("added", "".join(new[j:j_end]))
