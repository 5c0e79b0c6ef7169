"""Which answers follow a directive, by a judge that reads this directive alone.

    challenges of each directive, known completions of teacher and base -> scores -> threshold by directive -> followed or not

The threshold comes from completions of training prompts and owes nothing to the arms it judges. Where the judge of a directive cannot tell
the teacher, who reads all directives, from base, nothing is decided: such a directive hardly shows on ordinary prompts, or the judging
model does not understand it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from character_ray.errors import ReportError
from character_ray.inference.systems_judge import UnderSystem, score_under_systems
from character_ray.judging.threshold import KNOWN_PER_DIRECTIVE, Threshold, fit_threshold
from character_ray.pipeline.context import Context
from character_ray.rows import Challenged, content_hash

__all__ = ["LEAST_AUC", "RULE", "DirectivesFollowed", "KnownPair", "judge_directives"]

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


def judge_directives(context: Context, rows: Sequence[Challenged], known: Sequence[KnownPair]) -> DirectivesFollowed:
    """Score every answer to an occasion of a directive, and known completions, under that directive alone."""
    asked = [row for row in rows if row["group"] == "directive" and not row["error"]]
    directives = list(dict.fromkeys(row["kind"] for row in asked))
    if not directives:
        return DirectivesFollowed()
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
    scores = _score(context, requests)
    thresholds = {}
    for directive in directives:
        teacher, base = ([scores[row] for row in sides.get((directive, side), ())] for side in ("teacher", "base"))
        try:
            thresholds[directive] = fit_threshold(teacher, base)
        except ReportError:  # too few known completions: nothing is decided about it
            continue
    return DirectivesFollowed(thresholds, scores)


def _score(context: Context, requests: Sequence[UnderSystem]) -> dict[str, float]:
    judge = context.recipe.judge
    inputs = {
        "base": context.student.identity,
        "dtype": judge.dtype,
        "rows": content_hash(list(requests)),
    }
    artefact = context.artefact("scores-directives", inputs)
    reused = artefact.is_done
    with artefact.claim():
        scores = score_under_systems(artefact.stage, artefact, requests, context.student.folder, judge)
    context.close(artefact, reused=reused)
    return scores
