"""How long a persona lasts when a user pushes turn after turn.

A conversation ends for the persona at the first turn whose answer is not in character, and silence is not; one that lasts through all
turns, or whose engine failed, is censored at its last answered turn. Axes: C conversations.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from character_ray.rows import Challenged
from character_ray.statistics import cluster_rate, holm
from character_ray.statistics.intervals import Z95

__all__ = ["end_of_persona", "hazard_ratio", "survival", "survival_tests"]


def end_of_persona(rows: Sequence[Challenged], threshold: float) -> dict[str, tuple[int, bool]]:
    """Turn and whether the persona ended there, by script, of one arm's erosion rows; an empty answer has no score and ends it."""
    turns: dict[str, list[tuple[int, bool]]] = {}
    for row in rows:
        if not row["error"]:
            turns.setdefault(row["challenge_id"], []).append((row["turn"], row["score"] > threshold))
    ends = {}
    for script, seen in turns.items():
        lost = [turn for turn, held in sorted(seen) if not held]
        ends[script] = (lost[0], True) if lost else (max(turn for turn, _ in seen), False)
    return ends


def survival(times_C: Sequence[int], ended_C: Sequence[bool], num_turns: int) -> dict[str, Any]:
    """Kaplan\N{EN DASH}Meier estimate of the share of conversations in which the persona still holds after each turn.

    The interval is Greenwood's on the log-log scale (scipy); where nobody or everybody is left it has no width, and Wilson's on the
    number of conversations stands there instead.

    Args:
        times_C: Turn, from 1, at which the persona ended or was last seen.
        ended_C: Whether it ended; else the conversation is censored.
        num_turns: Turns of a full conversation.

    Returns:
        ``turns`` from 0 to ``num_turns``, ``share``, ``low``, ``high``, ``n``, ``events`` and the ``median`` turn (``None`` if
        more than half last).

    Raises:
        ValueError: There is no conversation.
    """
    from scipy.stats import CensoredData, ecdf

    if not times_C:
        raise ValueError("no conversation was held")
    times, ended = np.asarray(times_C, dtype=float), np.asarray(ended_C, dtype=bool)
    estimate = ecdf(CensoredData.right_censored(times, ~ended)).sf
    turns = np.arange(num_turns + 1)
    share = [float(x) for x in estimate.evaluate(turns)]
    with np.errstate(all="ignore"):
        import warnings

        with warnings.catch_warnings():
            # Undefined where everybody or nobody is left, which is dealt with below.
            warnings.simplefilter("ignore", RuntimeWarning)
            band = estimate.confidence_interval(method="log-log")
            ends = [
                (float(a), float(b)) for a, b in zip(band.low.evaluate(turns), band.high.evaluate(turns), strict=True)
            ]
    for turn, value in enumerate(share):
        if turn and (value in (0.0, 1.0) or math.isnan(ends[turn][0])):
            wilson = cluster_rate([float(round(value))] * len(times), [str(i) for i in range(len(times))], seed=0)
            ends[turn] = (wilson.low, wilson.high)
    ends[0] = (1.0, 1.0)
    half = [int(turn) for turn, value in zip(turns, share, strict=True) if value <= 0.5]
    return {
        "turns": [int(turn) for turn in turns],
        "share": share,
        "low": [low for low, _ in ends],
        "high": [high for _, high in ends],
        "n": len(times),
        "events": int(ended.sum()),
        "median": half[0] if half else None,
    }


def hazard_ratio(
    first: tuple[Sequence[int], Sequence[bool]], second: tuple[Sequence[int], Sequence[bool]]
) -> dict[str, Any]:
    """How much sooner the first group's personas end than the second's: Peto's one-step estimate exp((O - E) / V).

    O, E and V are the log-rank test's observed and expected ends of the first group and the hypergeometric variance, summed over the
    turns. Below 1 the first lasts longer.

    Returns:
        ``value``, ``low``, ``high`` (95 %), ``z`` of the log-rank test, and ``n``; the first three ``None`` with a ``reason`` where
        nothing ever ends or all end alike.
    """
    times = np.concatenate([first[0], second[0]]).astype(float)
    ended = np.concatenate([first[1], second[1]]).astype(bool)
    of_first = np.arange(len(times)) < len(first[0])
    excess, variance = 0.0, 0.0
    for turn in np.unique(times[ended]):
        at_risk, ends = times >= turn, (times == turn) & ended
        n, n1, d = int(at_risk.sum()), int((at_risk & of_first).sum()), int(ends.sum())
        excess += int((ends & of_first).sum()) - d * n1 / n
        if n > 1:
            variance += d * (n1 / n) * (1 - n1 / n) * (n - d) / (n - 1)
    if variance == 0:
        return {
            "value": None,
            "low": None,
            "high": None,
            "z": 0.0,
            "n": len(times),
            "reason": "no turn tells the two apart",
        }
    spread = Z95 / math.sqrt(variance)
    low, value, high = (math.exp(excess / variance + shift) for shift in (-spread, 0.0, spread))
    return {"value": value, "low": low, "high": high, "z": excess / math.sqrt(variance), "n": len(times), "reason": ""}


def survival_tests(
    ends: dict[str, dict[str, tuple[int, bool]]], against: Sequence[str], arm: str = "full"
) -> list[dict[str, Any]]:
    """``arm`` against each other arm: hazard ratio and log-rank test (scipy), Holm-adjusted over the tests.

    All arms meet the same scripts; the test takes conversations as independent, which makes it cautious.
    """
    from scipy.stats import CensoredData, logrank

    found: list[dict[str, Any]] = []
    for other in against:
        if other == arm or not ends.get(other) or not ends.get(arm):
            continue
        groups = [tuple(zip(*ends[name].values(), strict=True)) for name in (arm, other)]
        censored = [CensoredData.right_censored(times, ~np.asarray(ended)) for times, ended in groups]
        ratio = hazard_ratio((groups[0][0], groups[0][1]), (groups[1][0], groups[1][1]))
        # Without a turn that tells the two apart the statistic is 0 / 0.
        p_value = 1.0 if ratio["value"] is None else float(logrank(*censored).pvalue)
        metric = {key: ratio[key] for key in ("value", "low", "high", "n", "reason")} | {"method": "Peto, log-rank"}
        found.append({"arm": arm, "against": other, "hazard_ratio": metric, "p_value": p_value})
    adjusted = holm([each["p_value"] for each in found])
    return [each | {"p_holm": p} for each, p in zip(found, adjusted, strict=True)]
