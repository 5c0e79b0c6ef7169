"""Bounds on a report, for a team's own pipeline: a constitution is changed, retrained, and let through or not.

full.persona_rate.low >= 0.6        the lower end of the interval, so that chance lets nothing through
full-base.persona_rate.low >= 0.3   a paired difference
full.looping_rate.value <= 0.2
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from character_ray.errors import ReportError
from character_ray.report.schema import Report

__all__ = ["Bound", "Verdict", "check_bounds", "parse_bound"]

_BOUND = re.compile(
    r"^(?P<arm>\w+)(?:-(?P<against>\w+))?\.(?P<metric>\w+)\.(?P<end>value|low|high)=(?P<limit>[-+]?(?:\d+\.?\d*|\.\d+))$"
)


@dataclass(frozen=True)
class Bound:
    """One figure of a report and the limit it must keep."""

    arm: str
    against: str
    """The other arm of a difference; empty for an arm's own metric."""
    metric: str
    end: Literal["value", "low", "high"]
    side: Literal["min", "max"]
    limit: float

    def __str__(self) -> str:
        arms = f"{self.arm}-{self.against}" if self.against else self.arm
        return f"{arms}.{self.metric}.{self.end} {'>=' if self.side == 'min' else '<='} {self.limit:g}"


@dataclass(frozen=True)
class Verdict:
    """Whether a bound is kept, and why."""

    bound: Bound
    kept: bool
    found: str


def parse_bound(text: str, side: Literal["min", "max"]) -> Bound:
    """A bound from ``arm.metric.end=limit`` or ``arm-arm.metric.end=limit``.

    Raises:
        ReportError: The text is not of that form.
    """
    match = _BOUND.match(text.strip())
    if match is None:
        raise ReportError(
            f"--{side} {text!r} is not of the form arm.metric.end=limit, such as full.persona_rate.low=0.6, or "
            "full-base.persona_rate.low=0.3 for a paired difference; end is value, low or high."
        )
    end: Literal["value", "low", "high"] = match["end"]  # type: ignore[assignment]  # the pattern takes no other
    return Bound(match["arm"], match["against"] or "", match["metric"], end, side, float(match["limit"]))


def check_bounds(report: Report, bounds: Sequence[Bound]) -> list[Verdict]:
    """One verdict per bound. A figure that could not be measured keeps no bound.

    Raises:
        ReportError: The report has no such arm, metric or difference; what it has is listed.
    """
    return [_check(report, bound) for bound in bounds]


def _check(report: Report, bound: Bound) -> Verdict:
    found = _difference(report, bound) if bound.against else _metric(report, bound)
    if isinstance(found, str):
        return Verdict(bound, False, f"not measured: {found}")
    kept = found >= bound.limit if bound.side == "min" else found <= bound.limit
    return Verdict(bound, kept, f"{found:.4g}")


def _metric(report: Report, bound: Bound) -> float | str:
    if bound.arm not in report.arms:
        raise ReportError(f"{bound}: the report has no arm {bound.arm!r}. It has {', '.join(report.arms)}.")
    metrics = report.arms[bound.arm]
    if bound.metric not in metrics:
        raise ReportError(f"{bound}: there is no metric {bound.metric!r}. There are {', '.join(metrics)}.")
    metric = metrics[bound.metric]
    value: float | None = getattr(metric, bound.end)
    return value if value is not None else metric.reason or f"it has no {bound.end}"


def _difference(report: Report, bound: Bound) -> float:
    for each in report.differences:
        if (each.arm, each.against, each.metric) == (bound.arm, bound.against, bound.metric):
            return float(getattr(each, bound.end))
    there = ", ".join(f"{each.arm}-{each.against}.{each.metric}" for each in report.differences)
    raise ReportError(f"{bound}: the report has no such difference. It has {there or 'none'}.")
