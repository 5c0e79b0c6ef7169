"""``character-ray audit``: what a judge is worth, before it is believed."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from character_ray.log import console

__all__ = ["audit"]


def audit(
    run: Annotated[
        Path, typer.Argument(help="Folder of a run, whose teacher and base completions are the known pairs.")
    ],
    judge: Annotated[
        str | None, typer.Option(help="A chat model that answers A or B; the likelihood judge by default.")
    ] = None,
) -> None:
    """Measure a judge on pairs whose better side is known; exits with 1 when it may not be used."""
    from character_ray.pipeline.contestants import recipe_of
    from character_ray.pipeline.judge_audit import audit_judge

    found = audit_judge(run, recipe_of(run), judge)
    table = Table("measure", "value", "95 % interval", "n", title=judge or "likelihood judge", title_justify="left")
    for name, interval in found.measures.items():
        table.add_row(
            name.replace("_", " "),
            f"{interval.value:.2f}",
            f"[{interval.low:.2f}, {interval.high:.2f}]",
            str(interval.n),
        )
    console.print(table)
    if found.passed:
        console.print("[green]passed[/]: this judge may be used")
        return
    console.print(
        f"[red]failed[/]: {'; '.join(found.failures)}. Ratings by this judge would say more about it than about the arms."
    )
    raise typer.Exit(1)
