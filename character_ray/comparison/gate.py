"""Bounds on a report, for a team's own pipeline: a constitution is changed, retrained, and let through or not.

full.persona_rate.low >= 0.6        the lower end of the interval, so that chance lets nothing through
full-base.persona_rate.low >= 0.3   a paired difference
full.looping_rate.value <= 0.2
full.operator_rate.low >= 0.5                               a stakeholder's rate
full.followed_rate[Never break character].low >= 0.5        one directive, or any other kind of trial
full.hidden_trait_rate[every directive].low >= 0.5          each directive of the constitution, or each attack, scaffold ...
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from character_ray.errors import ReportError
from character_ray.report.lookup import all_metrics, trial_kinds, trial_metrics, unasked_directives
from character_ray.report.schema import Metric, Report

__all__ = ["Bound", "Verdict", "check_bounds", "parse_bound", "parse_bounds"]

_BOUND = re.compile(
    r"^(?P<arm>\w+)(?:-(?P<against>\w+))?\.(?P<metric>\w+)(?:\[(?P<kind>.+)\])?\.(?P<end>value|low|high)"
    r"=(?P<limit>[-+]?(?:\d+\.?\d*|\.\d+))$"
)
_EVERY = "every "
_NO_TRIAL = "none, because the recipe asked for no trial (evaluate.challenges)"


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
    kind: str = ""
    """The kind of trial that the metric is of, such as a directive, or ``every`` with a group of them; empty for the arm's own metrics."""

    @property
    def group(self) -> str:
        """The group of trials each kind of which must keep the bound, unless one has that name; empty for a bound on one figure."""
        return self.kind.removeprefix(_EVERY) if self.kind.startswith(_EVERY) else ""

    def __str__(self) -> str:
        arms = f"{self.arm}-{self.against}" if self.against else self.arm
        metric = f"{self.metric}[{self.kind}]" if self.kind else self.metric
        return f"{arms}.{metric}.{self.end} {'>=' if self.side == 'min' else '<='} {self.limit:g}"


@dataclass(frozen=True)
class Verdict:
    """Whether a bound is kept, and why."""

    bound: Bound
    kept: bool
    found: str


def parse_bound(text: str, side: Literal["min", "max"]) -> Bound:
    """A bound from ``arm.metric.end=limit``, ``arm.metric[kind of trial].end=limit`` or ``arm-arm.metric.end=limit``.

    Raises:
        ReportError: The text is not of that form.
    """
    match = _BOUND.match(text.strip())
    if match is None or (match["against"] and match["kind"]):
        raise ReportError(
            f"--{side} {text!r} is not of the form arm.metric.end=limit, such as full.persona_rate.low=0.6, or "
            "full-base.persona_rate.low=0.3 for a paired difference, or full.followed_rate[Never break character].low=0.5 for one "
            "directive ([every directive] for all of them); end is value, low or high."
        )
    end: Literal["value", "low", "high"] = match["end"]  # type: ignore[assignment]  # the pattern takes no other
    return Bound(
        match["arm"], match["against"] or "", match["metric"], end, side, float(match["limit"]), match["kind"] or ""
    )


def parse_bounds(lower: Iterable[str], upper: Iterable[str]) -> list[Bound]:
    """Bounds from below and from above, each as :func:`parse_bound` reads it.

    Raises:
        ReportError: One is not of that form.
    """
    return [parse_bound(text, "min") for text in lower] + [parse_bound(text, "max") for text in upper]


def check_bounds(report: Report, bounds: Sequence[Bound]) -> list[Verdict]:
    """One verdict per bound, and of a bound on every kind of a group one per kind. A figure that could not be measured keeps no bound.

    Raises:
        ReportError: The report has no such arm, metric or difference; what it has is listed.
    """
    return [_check(report, each) for bound in bounds for each in _each(report, bound)]


def _each(report: Report, bound: Bound) -> list[Bound]:
    """The bound itself, or one for every kind of its group that has the metric, and for directives that nothing was asked about.

    Raises:
        ReportError: The report has no trial of that group, or none with that metric.
    """
    if not bound.group or bound.kind in trial_kinds(report):
        return [bound]
    _check_arm(report, bound)
    kinds = trial_kinds(report, bound.group)
    if not kinds:
        groups = dict.fromkeys(trial.group for trial in (report.trials.rates if report.trials else ()))
        there = "; ".join(f"{_EVERY}{group}" for group in groups) or _NO_TRIAL
        raise ReportError(f"{bound}: there is no trial of the group {bound.group!r}. There are {there}.")
    own = [kind for kind in kinds if bound.metric in trial_metrics(report, bound.arm, kind)]
    if not own:
        metrics = dict.fromkeys(name for kind in kinds for name in trial_metrics(report, bound.arm, kind))
        raise ReportError(f"{bound}: there is no metric {bound.metric!r}. There are {', '.join(metrics)}.")
    if bound.group == "directive":
        own += unasked_directives(report)
    return [replace(bound, kind=kind) for kind in own]


def _check(report: Report, bound: Bound) -> Verdict:
    if bound.kind in unasked_directives(report):
        return Verdict(
            bound, False, "not measured: no occasion was made for this directive (evaluate.challenges.per_directive)"
        )
    found = _difference(report, bound) if bound.against else _metric(report, bound)
    if isinstance(found, str):
        return Verdict(bound, False, f"not measured: {found}")
    kept = found >= bound.limit if bound.side == "min" else found <= bound.limit
    whole = _figures(trial_metrics(report, bound.arm, bound.kind)[bound.metric]) if bound.kind else ""
    return Verdict(bound, kept, f"{found:.4g}{whole}")


def _figures(metric: Metric) -> str:
    """All that is known of a rate: ``, of 0.42 [0.31, 0.55], n = 12``."""
    ends = f" [{metric.low:.2f}, {metric.high:.2f}]" if metric.low is not None and metric.high is not None else ""
    return f", of {metric.value:.2f}{ends}, n = {metric.n}"


def _check_arm(report: Report, bound: Bound) -> None:
    if bound.arm not in report.arms:
        raise ReportError(f"{bound}: the report has no arm {bound.arm!r}. It has {', '.join(report.arms)}.")


def _metric(report: Report, bound: Bound) -> float | str:
    _check_arm(report, bound)
    metrics = _of_trial(report, bound) if bound.kind else all_metrics(report, bound.arm)
    if bound.metric not in metrics:
        raise ReportError(f"{bound}: there is no metric {bound.metric!r}. There are {', '.join(metrics)}.")
    metric = metrics[bound.metric]
    value: float | None = getattr(metric, bound.end)
    return value if value is not None else metric.reason or f"it has no {bound.end}"


def _of_trial(report: Report, bound: Bound) -> dict[str, Metric]:
    kinds = trial_kinds(report)
    if bound.kind not in kinds:
        there = "; ".join(kinds) or _NO_TRIAL
        raise ReportError(f"{bound}: there is no trial {bound.kind!r}. There are {there}.")
    return trial_metrics(report, bound.arm, bound.kind)


def _difference(report: Report, bound: Bound) -> float:
    for each in report.differences:
        if (each.arm, each.against, each.metric) == (bound.arm, bound.against, bound.metric):
            return float(getattr(each, bound.end))
    there = ", ".join(f"{each.arm}-{each.against}.{each.metric}" for each in report.differences)
    raise ReportError(f"{bound}: the report has no such difference. It has {there or 'none'}.")
