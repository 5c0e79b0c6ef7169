"""``character-ray update``: a trained character follows a new version of its constitution."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from character_ray.config import UpdateConfig
from character_ray.log import console

__all__ = ["update"]

DEFAULT = UpdateConfig()
TITLES = {"new": "new lines", "dropped": "lines dropped", "untouched": "untouched lines"}


def update(
    run: Annotated[Path, typer.Argument(help="Folder of the finished run whose character is updated.")],
    constitution: Annotated[Path, typer.Argument(help="The new version of its constitution.")],
    name: Annotated[str, typer.Option(help="Name of the new run; RUN-updated by default.")] = "",
    against: Annotated[
        Path | None, typer.Option(help="Finished run trained on the new version from the beginning, to compare with.")
    ] = None,
    rank: Annotated[int, typer.Option(min=1, help="Rank of the delta.")] = DEFAULT.rank,
    nearest: Annotated[int, typer.Option(min=1, help="Prompts made anew for every changed line.")] = DEFAULT.nearest,
    retain: Annotated[float, typer.Option(min=0, help="Untouched pairs repeated, for each new one.")] = DEFAULT.retain,
    epochs: Annotated[float, typer.Option(min=0.01, help="Passes over the data.")] = DEFAULT.epochs,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate; the run's sft's by default.")] = None,
) -> None:
    """Train what changed as a small delta over the frozen character, join both, and measure what changed and what did not."""
    from character_ray.pipeline.update import update_run

    config = UpdateConfig(rank=rank, nearest=nearest, retain=retain, epochs=epochs, learning_rate=learning_rate)
    _show(update_run(run, constitution, config, name=name, against=against))


def _show(found: dict[str, Any]) -> None:
    counts = found["num_prompts"]
    console.print(
        f"{len(found['changes'])} changes; {counts['affected']} of {counts['training']} prompts and {counts['lessons']} lessons made "
        f"anew, {counts['retained']} untouched pairs repeated; one adapter of rank {found['adapter']['rank']}"
    )
    arms = list(next(iter(found["groups"].values()))["rates"])
    changed = [f"{arm} - before" for arm in arms if arm != "before"]
    table = Table("answers that follow", *arms, *changed)
    for group, measured in found["groups"].items():
        rates = [f"{measured['rates'][arm]['value']:.0%}" for arm in arms]
        table.add_row(TITLES[group], *rates, *(_signed(measured["change"][arm]) for arm in arms if arm != "before"))
    console.print(table)


def _signed(interval: dict[str, Any]) -> str:
    return f"{interval['value']:+.0%} [{interval['low']:+.0%}, {interval['high']:+.0%}]"
