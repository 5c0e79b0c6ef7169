"""``character-ray route``: how well the persona is chosen from a conversation."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from character_ray.errors import ConstitutionError
from character_ray.log import console

__all__ = ["route"]

route = typer.Typer(no_args_is_help=True, help="Measure how well the persona is chosen from a conversation.")

ROWS = {
    "right, generated": "accuracy_generated",
    "right, written": "accuracy_written",
    "decided": "decided",
    "right where decided": "accuracy_decided",
    "abstained, off topic": "abstained_off_topic",
}
THRESHOLD = "Least probability of a persona that is chosen; that of serve.auto by default."


@route.command()
def evaluate(
    constitutions: Annotated[list[Path], typer.Argument(help="Constitutions of the personas to choose from.")],
    output: Annotated[Path | None, typer.Option(help="Write everything to this JSON file, too.")] = None,
    threshold: Annotated[float | None, typer.Option(min=0.0, max=1.0, help=THRESHOLD)] = None,
    per_template: Annotated[int, typer.Option(min=1, help="Most fillings of one template for one persona.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the generated requests.")] = 0,
) -> None:
    """Calibrate on generated requests, then measure on held-out templates, written requests and requests that suit nobody."""
    from character_ray.config import AutoConfig
    from character_ray.constitution import load_constitution
    from character_ray.encoder import Encoder
    from character_ray.models import ENCODER, resolve_model
    from character_ray.routing.measure import measure_routing

    loaded = [load_constitution(path) for path in constitutions]
    encode = Encoder(resolve_model(ENCODER))
    try:
        found = measure_routing(
            loaded,
            encode,
            threshold=AutoConfig().threshold if threshold is None else threshold,
            per_template=per_template,
            seed=seed,
        )
    except ValueError as cause:
        raise ConstitutionError(f"{cause}. Give other constitutions.") from cause
    _show(found)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        console.print(str(output))


def _show(found: dict[str, Any]) -> None:
    table = Table("held-out requests", *found["routers"])
    for title, key in ROWS.items():
        table.add_row(title, *(_rate(rates[key]) for rates in found["routers"].values()))
    console.print(table)
    confusion = Table("encoder: suits", *found["classes"])
    for name, counts in zip(found["classes"], found["routers"]["encoder"]["confusion"], strict=True):
        confusion.add_row(name, *map(str, counts))
    console.print(confusion)
    calibration = found["calibration"]
    console.print(
        f"fitted on {found['num_calibrate']} requests: serve.auto.temperature={calibration['temperature']:.3f} "
        f"serve.auto.floor={calibration['floor']:.3f}; threshold {found['threshold']:g}"
    )


def _rate(rate: dict[str, Any] | None) -> str:
    return "-" if rate is None else f"{rate['value']:.0%} [{rate['low']:.0%}, {rate['high']:.0%}] of {rate['n']}"
