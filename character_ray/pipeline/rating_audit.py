"""The audit that the judge of a run must pass before its scores rate the arms.

    known pairs of the run -> scores-audit -> figures of the report; beyond the recipe's bounds there is no rating

The rest of the report stands as it is: what makes rates of the same scores, the threshold, is measured by itself.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.markup import escape

from character_ray.errors import ReportError
from character_ray.inference.score_sheets import Sheet
from character_ray.judging.audit import Audit, KnownPair
from character_ray.log import console
from character_ray.pipeline.context import Context, Persona
from character_ray.pipeline.identities import identity_of_student, known_writer
from character_ray.pipeline.judge_audit import audit_by_scores, known_pairs, known_sheet
from character_ray.statistics import Interval

__all__ = ["AuditAsked", "ask_audit", "audit_part", "judge_audit", "refusal", "refusal_note"]


@dataclass(frozen=True)
class AuditAsked:
    """Known pairs, and what is scored of them."""

    pairs: Sequence[KnownPair] = ()
    sheets: list[Sheet] = field(default_factory=list)
    """One, or none where there are too few pairs."""
    too_few: str = ""


def ask_audit(
    context: Context, persona: Persona, choose: Callable[[], Sequence[KnownPair]] | None = None
) -> AuditAsked:
    """What the run's judge is to read of known pairs.

    Args:
        context: The run.
        persona: Whose constitution it reads.
        choose: Gives the pairs where the run has none of its own, or raises what keeps it from that.
    """
    recipe = context.recipe
    try:
        pairs = choose() if choose else known_pairs(context.run.folder, recipe.judge.audit, recipe.seed)
    except ReportError as error:
        return AuditAsked(too_few=str(error))
    return AuditAsked(pairs, [known_sheet(context, persona, pairs)])


def judge_audit(context: Context, asked: AuditAsked, scores: Sequence[Mapping[str, float]]) -> Audit:
    """What the judge is worth by its scores of the sheets; without pairs it has shown nothing, and fails."""
    if not asked.pairs:
        return Audit({}, [asked.too_few])
    recipe, run = context.recipe, context.run.folder
    own = known_writer(identity_of_student(recipe, context.student.hash), run, recipe)
    found = audit_by_scores(recipe, asked.pairs, scores[0], own)
    if not found.passed:
        console.print(f"[yellow]warning[/]: {escape(refusal(found))}")
    return found


def audit_part(found: Audit) -> dict[str, Any]:
    """The audit as the report's part on the judge shows it."""
    return {
        "measures": {name: _metric(each) for name, each in found.measures.items()},
        "failures": found.failures,
    }


def _metric(found: Interval) -> dict[str, Any]:
    if math.isnan(found.value):
        return {"value": None, "reason": found.method}
    figures = vars(found)
    # Ends that are the value itself are no interval.
    return figures | {"low": None, "high": None} if found.low == found.high else figures


def refusal(found: Audit) -> str:
    """Why the arms are not rated; empty where they are."""
    if found.passed:
        return ""
    return (
        f"the audit refuses the likelihood judge ({'; '.join(found.failures)}), so the arms are not rated. "
        "The bounds are judge.audit of the recipe"
    )


def refusal_note(found: Audit) -> list[str]:
    """The same as a note of the report, where there is something to say."""
    why = refusal(found)
    return [f"{why[0].upper()}{why[1:]}."] if why else []
