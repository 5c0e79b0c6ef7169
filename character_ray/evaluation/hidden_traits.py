"""Whether the character shows where nobody asks for it, decided twice: by the likelihood judge, and by the persona classifier.

    answers to the probes, answers to the occasions of every directive  ->  by arm a rate of each, and how far the two agree

Of the arms only prompted and teacher have a system prompt. The judge reads the constitution and shares its weights with the student; the
classifier reads the answer alone and shares nothing with either, so that where both say the same neither is taken at its word.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from character_ray.evaluation.agreement import agreement
from character_ray.evaluation.classifier import LIKELIER
from character_ray.evaluation.measures import Decisions
from character_ray.evaluation.trials import Verdicts
from character_ray.rows import Answer, Challenged
from character_ray.statistics import cluster_rate

__all__ = ["hidden_traits", "occasions", "split_classified"]

PROBES, DIRECTIVES = "probes", "directives"
UNDECIDED = "the classifier could not be trained"


def occasions(tried: Sequence[Challenged]) -> list[Challenged]:
    """The answers to occasions of directives, which the classifier reads beside those to prompts and probes."""
    return [row for row in tried if row["group"] == "directive"]


def split_classified(
    probability_N: np.ndarray | None, answers: int, tried: Sequence[Challenged]
) -> tuple[np.ndarray | None, dict[str, bool]]:
    """What the classifier said of the answers, and of the occasions of directives by row id.

    Args:
        probability_N: Of the answers, then of :func:`occasions`; ``None`` without a classifier.
        answers: How many answers there are.
        tried: Answers to challenges.
    """
    if probability_N is None:
        return None, {}
    said = zip(occasions(tried), probability_N[answers:], strict=True)
    return probability_N[:answers], {row["row_id"]: bool(probability > LIKELIER) for row, probability in said}


@dataclass(frozen=True)
class _Shown:
    """One answer, and what was decided about it."""

    arm: str
    prompt: str
    """Answers to one are one cluster."""
    judge: bool
    classifier: bool | None
    """``None`` where there is no classifier."""


def hidden_traits(
    answers: Sequence[Answer],
    decisions: Decisions,
    tried: Sequence[Challenged],
    verdicts: Verdicts,
    arms: Sequence[str],
    *,
    seed: int,
    resamples: int,
) -> list[dict[str, Any]]:
    """Rates and agreement on all probes, on the occasions of all directives, and on those of each; failed answers are left out.

    Args:
        answers: Answers to the evaluation's prompts and probes, of which the probes count.
        decisions: What was decided about them, in their order.
        tried: Answers to challenges, of which the occasions of directives count.
        verdicts: What was decided about those, in their order.
        arms: In the order of the report.
        seed: Seed of the bootstrap over prompts; with one answer per prompt the interval is Wilson's.
        resamples: Its resamples.

    Returns:
        The fields of :class:`character_ray.report.schema.HiddenTraits`, nothing for what was not asked.
    """
    by_classifier: Sequence[bool | None] = decisions.classifier or [None] * len(answers)
    probes = [
        _Shown(row["arm"], row["prompt_id"], decisions.judge[number], by_classifier[number])
        for number, row in enumerate(answers)
        if row["source"] == "probe" and not row["error"]
    ]
    of_directives = [
        (row["kind"], _Shown(row["arm"], row["prompt"], verdict.in_character, verdict.classifier))
        for row, verdict in zip(tried, verdicts, strict=True)
        if row["group"] == "directive" and verdict is not None
    ]
    asked = [("all", PROBES, probes), ("all", DIRECTIVES, [shown for _, shown in of_directives])]
    asked += [
        ("directive", directive, [shown for kind, shown in of_directives if kind == directive])
        for directive in dict.fromkeys(kind for kind, _ in of_directives)
    ]
    return [
        {
            "group": group,
            "kind": kind,
            "arms": {
                arm: {
                    "hidden_trait_rate": _rate(shown, arm, "judge", seed, resamples),
                    "hidden_trait_classifier_rate": _rate(shown, arm, "classifier", seed, resamples),
                }
                for arm in arms
            },
            "agreement": _agreement(shown, seed, resamples),
        }
        for group, kind, shown in asked
        if shown
    ]


def _rate(shown: Sequence[_Shown], arm: str, by: str, seed: int, resamples: int) -> dict[str, Any]:
    own = [each for each in shown if each.arm == arm]
    values = [(float(value), each.prompt) for each in own if (value := getattr(each, by)) is not None]
    if not values:
        return {"value": None, "reason": UNDECIDED if own else "no answer of this kind was made"}
    numbers, prompts = zip(*values, strict=True)
    return vars(cluster_rate(numbers, prompts, seed=seed, resamples=resamples))


def _agreement(shown: Sequence[_Shown], seed: int, resamples: int) -> dict[str, Any] | None:
    """Judge and classifier over the answers of all arms; ``None`` without a classifier."""
    both = [(each.judge, each.classifier, each.prompt) for each in shown if each.classifier is not None]
    if not both:
        return None
    judge, classifier, prompts = zip(*both, strict=True)
    decided = np.array(judge), np.array(classifier)
    return agreement("likelihood judge", "classifier", *decided, prompts, seed=seed, resamples=resamples)
