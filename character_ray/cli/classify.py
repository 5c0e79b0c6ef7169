"""``character-ray classify``: one classifier over the personas of several runs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from character_ray.log import console

__all__ = ["classify"]


def classify(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs, one persona each.")],
    output: Annotated[Path, typer.Option(help="Folder for classes.json and classes.html.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split and of training.")] = 0,
    fine_tune: Annotated[
        str | None,
        typer.Option(
            help="Also fine-tune this encoder: all-minilm-l6-v2 (packaged), a folder, or a hub id such as FacebookAI/roberta-base."
        ),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of the encoder on the hub.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes of the fine-tuning over the texts.")] = 4,
    device: Annotated[Literal["cpu", "gpu"], typer.Option(help="What to fine-tune on.")] = "cpu",
    workers: Annotated[int, typer.Option(min=1, help="Workers of the fine-tuning.")] = 1,
    served: Annotated[
        str | None,
        typer.Option(
            help="Also ask this running application for all personas at once, and measure how they bleed into one another."
        ),
    ] = None,
    key: Annotated[str, typer.Option(envvar="CHARACTER_RAY_KEY", help="API key that may ask every persona.")] = "none",
    concurrency: Annotated[int, typer.Option(min=2, help="Requests at a time to the application.")] = 32,
) -> None:
    """Train and measure a classifier that says which persona wrote a text, or none."""
    from character_ray.config import FineTuneConfig, ModelConfig
    from character_ray.pipeline.classes_sheet import classes_sheet
    from character_ray.pipeline.classify import classify_runs
    from character_ray.pipeline.served_load import Served

    config = None
    if fine_tune is not None:
        config = FineTuneConfig(
            model=ModelConfig(name=fine_tune, revision=revision), epochs=epochs, device=device, workers=workers
        )
    deployment = Served(served, key, concurrency) if served is not None else None
    for sentence in classes_sheet(classify_runs(runs, output, seed, config, deployment)).lead:
        console.print(sentence)
    console.print(f"{output / 'classes.html'} · {output / 'classes.json'}")
