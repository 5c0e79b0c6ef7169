"""Which answers follow a directive, by a judge that reads this directive alone.

    challenges of each directive, known completions of teacher and base -> scores -> threshold by directive -> followed or not

The threshold comes from completions of training prompts and owes nothing to the arms it judges. Where the judge of a directive cannot tell
the teacher, who reads all directives, from base, nothing is decided: such a directive hardly shows on ordinary prompts, or the judging
model does not understand it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from character_ray.errors import ReportError
from character_ray.inference.score_sheets import Sheet
from character_ray.inference.systems_judge import UnderSystem
from character_ray.judging.threshold import KNOWN_PER_DIRECTIVE, Threshold, fit_threshold
from character_ray.pipeline.context import Context
from character_ray.rows import Challenged, content_hash

__all__ = [
    "LEAST_AUC",
    "RULE",
    "DirectivesAsked",
    "DirectivesFollowed",
    "KnownPair",
    "ask_directives",
    "judge_directives",
]

RULE = "Follow this rule in everything you say: {directive}"
"""The system prompt that a directive is judged under."""

LEAST_AUC = 0.7
"""A judge that separates teacher from base worse than this decides nothing."""


@dataclass(frozen=True)
class KnownPair:
    """What the teacher and the untrained student said to one training prompt."""

    prompt: str
    teacher: str
    base: str
    tidied: str
    """What the student said as pairs would hold it: cut to its last sentence where it ran into ``max_tokens``."""


@dataclass(frozen=True)
class DirectivesFollowed:
    """Thresholds by directive and scores by row id."""

    thresholds: dict[str, Threshold] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)

    def follows(self, row: Challenged) -> bool | None:
        """Whether an answer follows the directive it was asked about; ``None`` where that cannot be decided."""
        threshold = self.thresholds.get(row["kind"]) if row["group"] == "directive" else None
        if threshold is None or threshold.auc < LEAST_AUC:
            return None
        return self.scores[row["row_id"]] > threshold.value

    def undecided(self, directive: str) -> str:
        """Why nothing is decided about a directive; empty where it is."""
        threshold = self.thresholds.get(directive)
        if threshold is None:
            return "too few known completions of teacher and base to fix a threshold on"
        if threshold.auc < LEAST_AUC:
            return f"its judge tells teacher from base with an AUC of {threshold.auc:.3f}, below {LEAST_AUC}"
        return ""


@dataclass(frozen=True)
class DirectivesAsked:
    """What is scored to decide about directives."""

    sheet: Sheet
    """Answers to occasions, and known completions under every directive."""
    directives: Sequence[str]
    sides: Mapping[tuple[str, str], Sequence[str]]
    """Row ids of the known completions by directive and side."""


def ask_directives(context: Context, rows: Sequence[Challenged], known: Sequence[KnownPair]) -> DirectivesAsked | None:
    """Every answer to an occasion of a directive, and known completions, under that directive alone; ``None`` without occasions."""
    asked = [row for row in rows if row["group"] == "directive" and not row["error"]]
    directives = list(dict.fromkeys(row["kind"] for row in asked))
    if not directives:
        return None
    chosen = np.random.default_rng(context.recipe.seed).permutation(len(known))[:KNOWN_PER_DIRECTIVE]
    requests = [
        UnderSystem(
            row_id=row["row_id"],
            system=RULE.format(directive=row["kind"]),
            prompt=row["prompt"],
            completion=row["completion"],
        )
        for row in asked
    ]
    sides: dict[tuple[str, str], list[str]] = {}
    for place, directive in enumerate(directives):
        for number in sorted(chosen.tolist()):
            for side, text in (("teacher", known[number].teacher), ("base", known[number].base)):
                row_id = f"known/{place}/{side}/{number}"
                sides.setdefault((directive, side), []).append(row_id)
                requests.append(
                    UnderSystem(
                        row_id=row_id,
                        system=RULE.format(directive=directive),
                        prompt=known[number].prompt,
                        completion=text,
                    )
                )
    inputs = {
        "base": context.student.identity,
        "dtype": context.recipe.judge.dtype,
        "rows": content_hash(list(requests)),
    }
    return DirectivesAsked(Sheet(context.artefact("scores-directives", inputs), requests, None), directives, sides)


def judge_directives(asked: DirectivesAsked, scores: Mapping[str, float]) -> DirectivesFollowed:
    """A threshold for every directive that has enough known completions, beside the scores."""
    thresholds = {}
    for directive in asked.directives:
        teacher, base = (
            [scores[row] for row in asked.sides.get((directive, side), ())] for side in ("teacher", "base")
        )
        try:
            thresholds[directive] = fit_threshold(teacher, base)
        except ReportError:  # too few known completions: nothing is decided about it
            continue
    return DirectivesFollowed(thresholds, dict(scores))
