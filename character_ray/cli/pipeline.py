"""``character-ray preview``, ``run`` and ``many``: what a recipe's pairs look like, and whole runs."""

from pathlib import Path
from typing import Annotated

import typer

from character_ray.cli.numbers import to_numbers
from character_ray.config import load_recipe

__all__ = ["many", "preview", "run"]

RecipePath = Annotated[Path, typer.Argument(help="Recipe file, such as jobs/recipes/demo-cpu.yaml.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Overrides, such as dpo.lora.rank=16.")]


def preview(recipe: RecipePath, overrides: Overrides = None, pairs: Annotated[int, typer.Option(min=8)] = 20) -> None:
    """Make a few preference pairs and show them side by side, to see whether this teacher can hold this persona."""
    from character_ray.pipeline.preview import preview_pairs

    preview_pairs(load_recipe(recipe, overrides or ()), pairs)


def run(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Run every stage that is not done yet, and write the report."""
    from character_ray.pipeline import run_pipeline

    run_pipeline(load_recipe(recipe, overrides or ()))


def many(
    recipe: RecipePath,
    constitutions: Annotated[list[Path], typer.Argument(help="One constitution per persona.")],
    override: Annotated[
        list[str] | None, typer.Option("--set", help="Override, such as dpo.lora.rank=16; may be given again.")
    ] = None,
    seeds: Annotated[
        str, typer.Option(metavar="0,1,2", help="A run of every persona for each seed; by default one, the recipe's.")
    ] = "",
    pairs_only: Annotated[bool, typer.Option(help="Stop after the preference pairs.")] = False,
    side_by_side: Annotated[int, typer.Option(min=1, help="Runs trained and evaluated at once.")] = 1,
) -> None:
    """Run one recipe for many personas, and seeds; one pass of each engine writes the data of all."""
    from character_ray.pipeline import run_personas

    outcomes = run_personas(
        load_recipe(recipe, override or ()),
        constitutions,
        seeds=to_numbers(seeds),
        pairs_only=pairs_only,
        side_by_side=side_by_side,
    )
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(1)
