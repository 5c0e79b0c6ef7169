"""A comparison as tables, for a terminal and for a page."""

from dataclasses import dataclass

from character_ray.comparison.compare import Comparison
from character_ray.report import wording
from character_ray.report.lookup import all_metrics
from character_ray.report.schema import Metric

__all__ = ["Table", "metric_table", "shift_table", "to_markdown"]


@dataclass(frozen=True)
class Table:
    """Cells as text."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def metric_table(found: Comparison, arm: str) -> Table:
    """Every metric of the arm, a column for each run."""
    measured = [all_metrics(report, arm) for report in found.reports]
    names = wording.metric_order(name for metrics in measured for name in metrics)
    rows = [[wording.label(name), *(_cell(name, metrics.get(name)) for metrics in measured)] for name in names]
    return Table(f"{arm}, with 95 % intervals where there are any", ["metric", *found.names], rows)


def shift_table(found: Comparison) -> Table:
    """Every paired difference to the first run."""
    rows = [
        [
            shift.run,
            wording.label(shift.metric),
            f"{wording.difference(shift.metric, shift.interval.value)} "
            f"{wording.shift_interval(shift.metric, shift.interval.low, shift.interval.high)}",
            str(shift.interval.n),
            f"{shift.p_value:.3f}",
        ]
        for shift in found.shifts
    ]
    columns = ["run", "metric", f"minus {found.names[0]}", "prompts", "p (Holm)"]
    return Table("Paired differences; attacks are counted by their wordings", columns, rows)


def to_markdown(found: Comparison, arm: str) -> str:
    """Both tables and the warnings as Markdown."""
    tables = [_markdown(table) for table in (metric_table(found, arm), shift_table(found))]
    warnings = "\n".join(f"- {warning}" for warning in found.warnings)
    return "\n\n".join([*tables, *([warnings] if warnings else [])]) + "\n"


def _markdown(table: Table) -> str:
    rows = [table.columns, ["---"] * len(table.columns), *table.rows]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([f"**{table.title}**", "", *lines])


def _cell(name: str, metric: Metric | None) -> str:
    if metric is None or metric.value is None:
        return "-"
    return f"{wording.amount(name, metric.value)} {wording.interval(name, metric.low, metric.high)}".rstrip()
