"""``character-ray compare`` and ``gate``: runs beside each other, and bounds that let a run through or not."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from character_ray.comparison import Verdict, check_bounds, compare_runs, parse_bound
from character_ray.errors import ReportError
from character_ray.log import console
from character_ray.report import wording
from character_ray.report.io import load_report
from character_ray.report.lookup import all_metrics
from character_ray.report.schema import Metric

__all__ = ["compare", "gate"]


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; the others are compared with the first.")],
    arm: Annotated[str, typer.Option(help="The arm to compare.")] = "full",
) -> None:
    """Put one arm of several runs side by side, with differences paired by prompt."""
    found = compare_runs(runs, arm)
    table = Table("metric", *found.names, title=f"{arm}, with 95 % intervals", title_justify="left")
    measured = [all_metrics(report, arm) for report in found.reports]
    for name in wording.metric_order(name for metrics in measured for name in metrics):
        cells = (_cell(name, metrics.get(name)) for metrics in measured)
        table.add_row(wording.label(name), *cells)
    console.print(table)
    shifts = Table(
        "run",
        "metric",
        f"minus {found.names[0]}",
        "prompts",
        "p (McNemar, Holm)",
        title="Paired differences",
        title_justify="left",
    )
    for shift in found.shifts:
        value = wording.difference(shift.metric, shift.interval.value)
        span = wording.shift_interval(shift.metric, shift.interval.low, shift.interval.high)
        shifts.add_row(
            shift.run, wording.label(shift.metric), f"{value} {span}", str(shift.interval.n), f"{shift.p_value:.3f}"
        )
    console.print(shifts)
    for warning in found.warnings:
        console.print(f"[yellow]warning[/]: {warning}")


def gate(
    run: Annotated[Path, typer.Argument(help="Run folder with a report.")],
    min_: Annotated[
        list[str] | None,
        typer.Option(
            "--min",
            help="Lower bound, such as full.operator_rate.low=0.7, or 'full.followed_rate[Never lie].low=0.5' of one directive; "
            "may be repeated.",
        ),
    ] = None,
    max_: Annotated[
        list[str] | None,
        typer.Option("--max", help="Upper bound, such as full.looping_rate.value=0.2; may be repeated."),
    ] = None,
) -> None:
    """Check a run's report against bounds; exits with 1 when one is broken.

    With 2 when nothing could be checked: a bound is malformed or names what the report does not have, or there is no report.
    """
    try:
        verdicts = _checked(run, min_ or (), max_ or ())
    except ReportError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    for verdict in verdicts:
        mark = "[green]kept[/]  " if verdict.kept else "[red]broken[/]"
        console.print(f"{mark} {escape(str(verdict.bound))}: {escape(verdict.found)}")
    if not all(verdict.kept for verdict in verdicts):
        raise typer.Exit(1)


def _checked(run: Path, lower: Sequence[str], upper: Sequence[str]) -> list[Verdict]:
    bounds = [parse_bound(text, "min") for text in lower] + [parse_bound(text, "max") for text in upper]
    if not bounds:
        raise ReportError(
            "no bound is given, so every run would pass. Give --min or --max, such as --min full.persona_rate.low=0.6."
        )
    return check_bounds(load_report(run / "report.json"), bounds)


def _cell(name: str, metric: Metric | None) -> str:
    if metric is None or metric.value is None:
        return "-"
    return f"{wording.amount(name, metric.value)} {wording.interval(name, metric.low, metric.high)}"
