"""``character-ray validate``: is a constitution valid, and how good is it?"""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from character_ray.constitution import load_constitution, score_constitution
from character_ray.errors import ConstitutionError
from character_ray.log import console
from character_ray.prompts import check_no_probe_is_an_example, hidden_trait_probes, persona_topics

__all__ = ["validate"]


def validate(
    paths: Annotated[list[Path], typer.Argument(help="Constitution files.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per file.")] = False,
) -> None:
    """Check constitutions and score them; all errors of all files are shown."""
    failed = False
    for path in paths:
        try:
            constitution = load_constitution(path)
            probes = hidden_trait_probes(persona_topics(constitution.directives.personality))
            check_no_probe_is_an_example([example.prompt for example in constitution.examples], probes)
        except ConstitutionError as error:
            failed = True
            if as_json:
                print(json.dumps({"path": str(path), "valid": False, "errors": str(error).splitlines()}))
            else:
                lines = [str(path), *str(error).splitlines()]
                console.print("[red]invalid[/] " + escape("\n  ".join(lines)))
            continue
        quality = score_constitution(constitution)
        if as_json:
            parts = {part.name: round(part.score, 4) for part in quality.parts}
            losses = [vars(loss) for loss in quality.losses]
            print(
                json.dumps({"path": str(path), "valid": True, "score": quality.score, "parts": parts, "losses": losses})
            )
            continue
        verdict = "well specified" if quality.score > 0.7 else "underspecified" if quality.score < 0.5 else "usable"
        name = escape(f"{path}: {constitution.meta.name}")
        console.print(f"[green]valid[/] {name}, quality {quality.score:.2f} ({verdict})")
        console.print(
            "  " + "  ".join(f"{part.name} {max(part.score, 0.0):.2f}/{part.weight}" for part in quality.parts)
        )
        for loss in quality.losses:
            console.print(f"  -{loss.points:.2f} {loss.why} {loss.remedy}", markup=False)
    if failed:
        raise typer.Exit(1)
