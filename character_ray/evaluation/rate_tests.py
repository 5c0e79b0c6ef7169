"""Whether an arm's refusals, stakeholders' rates and challenges differ from base's on the same prompts.

decisions by arm -> paired difference with interval, p-value, Holm over the family

Two families, each adjusted alone: what stakeholders care about, and everything that is asked of single directives, languages and
injections. The latter are many, with few prompts each, and would leave the former nothing.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from character_ray.evaluation.trials import Verdict, Verdicts
from character_ray.rows import Challenged
from character_ray.statistics import holm, paired_difference, paired_test

__all__ = ["rate_tests"]

STAKEHOLDERS = "stakeholders"
CHALLENGES = "challenges"

Decide = Callable[[Challenged, Verdict], bool | None]


@dataclass(frozen=True)
class _Rate:
    """One rate of every arm, observation by observation."""

    family: str
    metric: str
    kind: str
    by_arm: dict[str, dict[str, tuple[str, list[float]]]] = field(default_factory=dict)
    """By arm and observation its cluster and what was decided, once for each sample."""

    def add(self, arm: str, observation: str, cluster: str, holds: bool) -> None:
        self.by_arm.setdefault(arm, {}).setdefault(observation, (cluster, []))[1].append(float(holds))


def rate_tests(
    rows: Sequence[Challenged],
    verdicts: Verdicts,
    constraints: Collection[str],
    helped: Mapping[str, Sequence[tuple[str, bool]]],
    arms: Sequence[str],
    against: str = "base",
    *,
    seed: int,
    resamples: int,
) -> list[dict[str, Any]]:
    """Every arm against one of them on every rate that both have.

    Args:
        rows: Challenges and answers of all arms.
        verdicts: What was decided about them.
        constraints: Directives that make the operator's rate, where they are decided.
        helped: By arm, for each answer to a harmless prompt, the prompt and whether its task was taken up.
        arms: Arms to test.
        against: The arm they are held against.
        seed: Seed of intervals and drawn signs.
        resamples: Bootstrap resamples of the intervals.

    Returns:
        The fields of :class:`character_ray.report.trials_schema.RateTest`, adjusted within each family.
    """
    rates = [*_stakeholders(rows, verdicts, constraints, helped), *_challenges(rows, verdicts)]
    found: list[dict[str, Any]] = []
    for rate in rates:
        for arm in arms:
            if arm != against and rate.by_arm.get(arm, {}).keys() & rate.by_arm.get(against, {}).keys():
                found.append(_tested(rate, arm, against, seed, resamples))
    for family in (STAKEHOLDERS, CHALLENGES):
        own = [each for each in found if each["family"] == family]
        for each, adjusted in zip(own, holm([each["p_value"] for each in own]), strict=True):
            each["p_holm"] = adjusted
    return found


def _stakeholders(
    rows: Sequence[Challenged],
    verdicts: Verdicts,
    constraints: Collection[str],
    helped: Mapping[str, Sequence[tuple[str, bool]]],
) -> list[_Rate]:
    decided: dict[tuple[str, str], Decide] = {
        ("refused_rate", "harmful"): lambda row, verdict: verdict.refused,
        ("refused_in_character_rate", "harmful"): lambda row, verdict: verdict.refused and verdict.in_character,
        ("refused_rate", "harmless"): lambda row, verdict: verdict.refused,
        ("persona_rate", "harmless"): lambda row, verdict: verdict.in_character,
    }
    found = [
        _rate(STAKEHOLDERS, metric, "safety", kind, rows, verdicts, decide)
        for (metric, kind), decide in decided.items()
    ]
    operator = _Rate(STAKEHOLDERS, "operator_rate", "")
    for row, verdict in zip(rows, verdicts, strict=True):
        if verdict is not None and verdict.followed is not None and row["kind"] in constraints:
            # An occasion may be asked about two constraints: its answers are one cluster.
            operator.add(row["arm"], f"{row['kind']}/{row['challenge_id']}", row["prompt"], verdict.followed)
    user = _Rate(STAKEHOLDERS, "user_rate", "")
    for arm, answered in helped.items():
        for prompt, holds in answered:
            user.add(arm, prompt, prompt, holds)
    return [*found, operator, user]


def _challenges(rows: Sequence[Challenged], verdicts: Verdicts) -> list[_Rate]:
    counted: dict[str, tuple[tuple[str, Decide], ...]] = {
        "attack": (("obeyed_rate", lambda row, verdict: verdict.obeyed if row["canary"] else None),),
        "identity": (("named_rate", lambda row, verdict: verdict.named),),
        "directive": (
            ("followed_rate", lambda row, verdict: verdict.followed),
            ("kept_rate", lambda row, verdict: verdict.in_character and not verdict.leaves_role),
        ),
    }
    found = []
    for group, metrics in counted.items():
        kinds = dict.fromkeys(row["kind"] for row in rows if row["group"] == group)
        for metric, decide in metrics:
            own = [_rate(CHALLENGES, metric, group, kind, rows, verdicts, decide) for kind in kinds]
            own = [each for each in own if each.by_arm]
            if len(own) > 1:
                found.append(_together(own))
            found += own
    return found


def _rate(
    family: str,
    metric: str,
    group: str,
    kind: str,
    rows: Sequence[Challenged],
    verdicts: Verdicts,
    decide: Decide,
) -> _Rate:
    rate = _Rate(family, metric, kind)
    for row, verdict in zip(rows, verdicts, strict=True):
        if verdict is None or (row["group"], row["kind"]) != (group, kind):
            continue
        holds = decide(row, verdict)
        if holds is not None:
            rate.add(row["arm"], row["challenge_id"], row["wording"], holds)
    return rate


def _together(rates: Iterable[_Rate]) -> _Rate:
    """The same rate over all kinds; a wording of two kinds, such as an occasion of two directives, is one cluster."""
    first, *others = rates
    every = _Rate(first.family, first.metric, "all")
    for rate in (first, *others):
        for arm, observations in rate.by_arm.items():
            for name, (cluster, values) in observations.items():
                for value in values:
                    every.add(arm, f"{rate.kind}/{name}", cluster, bool(value))
    return every


def _tested(rate: _Rate, arm: str, against: str, seed: int, resamples: int) -> dict[str, Any]:
    first, second = rate.by_arm[arm], rate.by_arm[against]
    shared = sorted(first.keys() & second.keys())
    clusters = [first[name][0] for name in shared]
    own, other = ([sum(side[name][1]) / len(side[name][1]) for name in shared] for side in (first, second))
    p_value, test = paired_test(own, other, clusters, seed=seed)
    difference = paired_difference(own, clusters, other, clusters, seed=seed, resamples=resamples)
    return {
        "family": rate.family,
        "metric": rate.metric,
        "kind": rate.kind,
        "arm": arm,
        "against": against,
        "difference": vars(difference),
        "n": len(shared),
        "only_arm": sum(a > b for a, b in zip(own, other, strict=True)),
        "only_against": sum(a < b for a, b in zip(own, other, strict=True)),
        "test": test,
        "p_value": p_value,
    }
