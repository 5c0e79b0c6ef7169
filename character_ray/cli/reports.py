"""``character-ray compare`` and ``gate``: runs beside each other, and bounds that let a run through or not."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table as RichTable

from character_ray.comparison import (
    Table,
    Verdict,
    check_bounds,
    compare_runs,
    metric_table,
    parse_bounds,
    shift_table,
    to_markdown,
    write_comparison_page,
)
from character_ray.errors import ReportError
from character_ray.log import console
from character_ray.report.io import load_report
from character_ray.whole_files import write_text

__all__ = ["compare", "gate"]


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; the others are compared with the first.")],
    arm: Annotated[str, typer.Option(help="The arm to compare.")] = "full",
    output: Annotated[
        Path | None,
        typer.Option(
            help="File that is written, too: FILE.html with plots and tables, any other name with the tables as Markdown.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Put one arm of several runs side by side, with differences paired by prompt."""
    found = compare_runs(runs, arm)
    for table in (metric_table(found, arm), shift_table(found)):
        _show(table)
    for warning in found.warnings:
        console.print(f"[yellow]warning[/]: {escape(warning)}")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        if output.suffix == ".html":
            write_comparison_page(found, arm, output)
        else:
            write_text(output, to_markdown(found, arm))
        console.print(f"[green]{output}[/]")


def _show(table: Table) -> None:
    shown = RichTable(*table.columns, title=table.title, title_justify="left")
    for row in table.rows:
        shown.add_row(*map(escape, row))
    console.print(shown)


def gate(
    run: Annotated[Path, typer.Argument(help="Run folder with a report.")],
    min_: Annotated[
        list[str] | None,
        typer.Option(
            "--min",
            help="Lower bound, such as full.operator_rate.low=0.7, or 'full.followed_rate[Never lie].low=0.5' of one directive, "
            "'full.hidden_trait_rate[every directive].low=0.5' of each; may be repeated.",
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
    broken = [verdict for verdict in verdicts if not verdict.kept]
    if broken:
        console.print(f"{len(broken)} of {len(verdicts)} bounds do not hold.")
        raise typer.Exit(1)


def _checked(run: Path, lower: Sequence[str], upper: Sequence[str]) -> list[Verdict]:
    bounds = parse_bounds(lower, upper)
    if not bounds:
        raise ReportError(
            "no bound is given, so every run would pass. Give --min or --max, such as --min full.persona_rate.low=0.6."
        )
    return check_bounds(load_report(run / "report.json"), bounds)
