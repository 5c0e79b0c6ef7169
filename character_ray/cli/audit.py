"""``character-ray audit``: what a judge is worth, before it is believed."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from character_ray.config import Recipe
from character_ray.errors import ReportError
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
    from character_ray.pipeline.judge_audit import audit_judge

    record = run / "run.json"
    if not record.is_file():
        raise ReportError(f"{run} is no run: it has no run.json. Give the folder of a run, such as runs/demo.")
    recipe = Recipe.model_validate(json.loads(record.read_text(encoding="utf-8"))["recipe"])
    found = audit_judge(run, recipe, judge)
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
