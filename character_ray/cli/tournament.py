"""``character-ray tournament``: contestants meet, audited judges decide."""

from pathlib import Path
from typing import Annotated

import typer

from character_ray.config import load_tournament

__all__ = ["tournament"]


def tournament(
    recipe: Annotated[Path, typer.Argument(help="Tournament file, such as jobs/tournaments/arms-cpu.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Overrides, such as rating.length=true.")] = None,
) -> None:
    """Let arms of finished runs meet on the same prompts, and rate them; a judge below the audit's floor is refused."""
    from character_ray.pipeline.tournament import hold_tournament

    hold_tournament(load_tournament(recipe, overrides or ()))
