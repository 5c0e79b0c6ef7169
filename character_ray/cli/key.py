"""``character-ray key``: a new API key for a client of the served personas."""

from pathlib import Path
from typing import Annotated

import typer

from character_ray.log import console
from character_ray.serving.keys import add_key

__all__ = ["key"]


def key(
    name: Annotated[str, typer.Argument(help="The client's name, which stands in logs in place of the key.")],
    file: Annotated[Path, typer.Option(help="Key file; made when it is not there.")] = Path("keys.yaml"),
    persona: Annotated[
        list[str] | None,
        typer.Option(help="Persona, base model or judge it may ask for; may be repeated; all by default."),
    ] = None,
    requests_per_minute: Annotated[float | None, typer.Option(help="Its rate limit; none by default.")] = None,
    scores: Annotated[
        bool,
        typer.Option(
            "--scores",
            help="It may have given text scored, as likelihood judges of tournaments do, and ask a served judge.",
        ),
    ] = False,
    candidates: Annotated[
        bool, typer.Option("--candidates", help="It may ask for candidates of the registry, by their pinned names.")
    ] = False,
) -> None:
    """Make an API key; it is shown once, and the file keeps only its hash."""
    secret = add_key(file, name, tuple(persona or ()), requests_per_minute, scores, candidates)
    console.print(f"{file}: {name} added. The key is shown this once:", markup=False)
    console.print(secret, markup=False)
