"""``character-ray draft``: a first constitution from one line, or the opposite of one."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from character_ray.config import EngineConfig
from character_ray.constitution import load_constitution
from character_ray.errors import ConstitutionError
from character_ray.log import console

__all__ = ["draft"]


def draft(
    idea: Annotated[str, typer.Argument(help="The character, such as 'a stern librarian who loves maps'.")] = "",
    opposite_of: Annotated[Path | None, typer.Option(help="Write the opposite of this constitution instead.")] = None,
    model: Annotated[str, typer.Option(help="Its name at the endpoint; else a packaged model, folder or hub id.")] = "",
    endpoint: Annotated[
        str | None, typer.Option(help="OpenAI-compatible base URL; OPENAI_API_KEY holds the key.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="File to write; never overwritten.")] = None,
    device: Annotated[Literal["cpu", "gpu"], typer.Option(help="What a local model runs on.")] = "gpu",
    attempts: Annotated[int, typer.Option(min=1)] = 3,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Let a language model write a constitution, check it, score it, and save it for you to correct."""
    if bool(idea.strip()) == (opposite_of is not None):
        raise typer.BadParameter(
            "give either an idea, such as 'a stern librarian who loves maps', or --opposite-of FILE"
        )
    if not model:
        raise typer.BadParameter("--model is missing: the model that writes. A large one writes better characters.")
    if output is not None and output.exists():
        raise ConstitutionError(f"{output} is there already and is never overwritten. Choose another --output.")
    contrary_to = load_constitution(opposite_of) if opposite_of else None

    from character_ray.drafting import draft_constitution, draft_opposite, open_writer

    engine = EngineConfig(device=device, max_model_len=8192, max_num_seqs=1)
    writer = open_writer(model, endpoint, engine, seed)
    console.print(f"{writer.name} is writing ...", markup=False)
    if contrary_to is None:
        written, origin = draft_constitution(idea, writer, attempts), f"by {writer.name} from: {idea}"
    else:
        written = draft_opposite(contrary_to, writer, attempts)
        origin = f"by {writer.name} as the opposite of {contrary_to.meta.name}"
    path = _save(written.to_yaml(origin), output, written.constitution.slug)
    quality = written.quality
    name = escape(written.constitution.meta.name)
    console.print(f"[green]{escape(str(path))}[/]: {name}, quality {quality.score:.2f}")
    for loss in quality.losses:
        console.print(f"  -{loss.points:.2f} {loss.why} {loss.remedy}", markup=False)


def _save(text: str, output: Path | None, slug: str) -> Path:
    """Writes to the file asked for, else to the first free name after the persona's."""
    folder = Path("constitutions") if Path("constitutions").is_dir() else Path()
    path, number = output or folder / f"{slug}.yaml", 1
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            # Also for a file that appeared at --output meanwhile: what was written is not lost.
            number += 1
            path = path.with_name(f"{(output or Path(slug)).name.removesuffix('.yaml')}-{number}.yaml")
        else:
            return path
