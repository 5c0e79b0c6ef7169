"""One metric in several places, arms or runs, as a dot plot in the words of the report."""

from collections.abc import Sequence
from typing import Literal

from markupsafe import Markup

from character_ray.report import wording
from character_ray.report.plots import Dot, dot_plot, round_ticks
from character_ray.report.schema import Metric

__all__ = ["metric_dot", "metric_plot", "shown"]

RATES = [0.0, 0.25, 0.5, 0.75, 1.0]


def metric_plot(metric: str, by: str, rows: Sequence[Dot]) -> Markup:
    """The metric's values on one axis: of a rate from 0 to 1, of anything else as far as the intervals reach.

    Args:
        metric: Its name.
        by: What a row is: ``arm``, ``run``.
        rows: From top to bottom.
    """
    values = ", ".join(f"{row.label} {row.text or 'not measured'}" for row in rows)
    summary = f"{wording.label(metric)} by {by}: {values}"
    if metric.endswith("_rate"):
        return dot_plot(summary, rows, RATES, lambda tick: f"{100 * tick:.0f}")
    ends = [end for row in rows for end in (row.value, row.low, row.high) if end is not None] or [0.0]
    return dot_plot(summary, rows, round_ticks(min(ends), max(ends), 3), lambda tick: wording.amount(metric, tick))


def metric_dot(label: str, metric: str, found: Metric, kind: Literal["weights", "context", "headline"]) -> Dot:
    """A row of the plot."""
    text = "" if found.value is None else shown(metric, found)
    return Dot(label, found.value, found.low, found.high, text, kind)


def shown(metric: str, found: Metric) -> str:
    """A measured value and its interval: ``87 % [82, 91]``."""
    assert found.value is not None
    return f"{wording.amount(metric, found.value)} {wording.interval(metric, found.low, found.high)}".strip()
