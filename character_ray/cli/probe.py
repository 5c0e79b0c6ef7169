"""``character-ray probe``: where in the network a persona lives, and whether pushing there makes one."""

from pathlib import Path
from typing import Annotated

import typer

from character_ray.log import console

__all__ = ["probe"]


def probe(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run, such as runs/demo.")],
    strength: Annotated[
        list[float] | None,
        typer.Option(help="Multiple of the persona direction to add to the untrained model; may be repeated."),
    ] = None,
    controls: Annotated[int, typer.Option(min=1, help="Random directions beside each intervention.")] = 2,
    layer: Annotated[
        int | None, typer.Option(help="Layer to add the direction after, from 1; chosen on held-out text by default.")
    ] = None,
) -> None:
    """Probe every layer of a run's model and intervene on its persona direction; writes probes.json and probes.html."""
    from character_ray.pipeline.probe import probe_run
    from character_ray.pipeline.probe_sheet import probe_sheet

    found = probe_run(run, strengths=strength or (0.5, 1.0, 2.0), controls=controls, layer=layer)
    for sentence in probe_sheet(found).lead:
        console.print(sentence)
    console.print(f"{run / 'probes.html'} · {run / 'probes.json'}")
