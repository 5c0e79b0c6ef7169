"""``character-ray export``: a run's training data as datasets that TRL, ``datasets`` and Argilla read, or its evaluation for Inspect."""

from pathlib import Path
from typing import Annotated

import typer

from character_ray.datasets_export import export_run
from character_ray.errors import ReportError
from character_ray.hub import upload
from character_ray.inspect_export import export_logs
from character_ray.log import console

__all__ = ["export"]


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run, such as runs/demo.")],
    folder: Annotated[Path, typer.Argument(help="New folder for the datasets or logs.")],
    push: Annotated[str | None, typer.Option(help="Also upload to the hub as this dataset, owner/name.")] = None,
    public: Annotated[bool, typer.Option(help="Make a new dataset of the hub public.")] = False,
    inspect: Annotated[
        bool, typer.Option("--inspect", help="Write the evaluation as logs for Inspect instead.")
    ] = False,
) -> None:
    """Write a run's preference pairs and conversations with a dataset card."""
    if inspect:
        if push is not None:
            raise ReportError("--push uploads datasets, and --inspect writes logs. Leave one of them out.")
        logs = export_logs(run, folder)
        samples = ", ".join(f"{arm} {count:,} samples" for arm, count in logs.items())
        console.print(f"{folder}: {samples}. Look at them with inspect view --log-dir {folder}.")
        return
    written = export_run(run, folder)
    rows = ", ".join(f"{name} {count:,} rows" for name, count in written.items())
    console.print(f"{folder}: {rows}. Load with datasets.load_dataset({str(folder)!r}, 'preference').")
    if push is not None:
        console.print(f"[green]{upload(folder, push, 'dataset', private=not public)}[/]")
