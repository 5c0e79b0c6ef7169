"""``character-ray interference``: whether personas of a running deployment keep apart under mixed load."""

import asyncio
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from character_ray.canary import TOLERANCE_NATS
from character_ray.log import console
from character_ray.runs import write_json

if TYPE_CHECKING:
    from rich.table import Table

    from character_ray.serving.interference import Verdict

__all__ = ["interference"]

# More columns than this do not fit a terminal of 80 characters.
WIDEST_MATRIX = 7


def interference(
    url: Annotated[str, typer.Argument(help="The deployment's API.")] = "http://127.0.0.1:8000/v1",
    persona: Annotated[list[str] | None, typer.Option(help="Ask only this one; may be repeated.")] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="Ask this instead of the four of the package.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Of each prompt to each persona under mixed load.")] = 4,
    concurrency: Annotated[int, typer.Option(min=2, help="Requests at a time under mixed load.")] = 32,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of an answer.")] = 12,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Nats per token up to which an answer is its persona's own.")
    ] = TOLERANCE_NATS,
    seed: Annotated[int, typer.Option(help="Of the order under mixed load.")] = 0,
    key: Annotated[str, typer.Option(envvar="CHARACTER_RAY_KEY", help="API key that may ask every persona.")] = "none",
    output: Annotated[Path | None, typer.Option(help="Write the matrix as JSON, too.")] = None,
) -> None:
    """Compare every persona's answers alone and under mixed load; fails when one is nearer another's."""
    from character_ray.serving.interference_load import PROMPTS, measure_interference

    verdict = asyncio.run(
        measure_interference(
            url,
            key,
            prompts=prompt or PROMPTS,
            personas=persona or (),
            repeats=repeats,
            concurrency=concurrency,
            max_tokens=max_tokens,
            seed=seed,
            tolerance=tolerance,
        )
    )
    if output:
        write_json(output, _plain(verdict))
    _show(verdict)
    raise typer.Exit(0 if verdict.clean else 1)


def _show(verdict: "Verdict") -> None:
    console.print(_matrix(verdict) if len(verdict.names) <= WIDEST_MATRIX else _summary(verdict))
    console.print(
        f"In nats a token: two runs alone differ by up to {verdict.noise:.4f}, two personas by {verdict.apart:.3f} and more; "
        f"an answer is its own up to {verdict.tolerance:g}."
    )
    for (one, other), prompts in sorted(verdict.alike.items()):
        console.print(f"{one} and {other} cannot be told apart on {prompts} prompts, which count for neither.")
    for each in verdict.confused:
        console.print(
            f"[red]{each.persona} answered prompt {each.prompt + 1} as {each.nearest}: {each.other:.3f} nats from "
            f"it, {each.own:.3f} from itself.[/]"
        )
    for answer in verdict.beyond:
        console.print(f"[red]{answer.persona} answered prompt {answer.prompt + 1} unlike anybody alone.[/]")
    if verdict.clean:
        console.print("[green]Every answer is its persona's own.[/]")


def _matrix(verdict: "Verdict") -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    title = "answers nearest to whose run alone; below, mean nats a token from it"
    table = Table("asked", box=SIMPLE_HEAD, title=title, title_justify="left")
    for number in range(1, len(verdict.names) + 1):
        table.add_column(str(number), justify="right")
    rows = zip(verdict.names, verdict.nearest, verdict.distances, strict=True)
    for number, (name, counts, distances) in enumerate(rows, 1):
        cells = (f"{count}\n{away:.2f}" for count, away in zip(counts, distances, strict=True))
        table.add_row(f"{number} {name}", *cells)
    return table


def _summary(verdict: "Verdict") -> "Table":
    """One row for each persona, where there are too many for a matrix; ``--output`` has it whole."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        "asked",
        box=SIMPLE_HEAD,
        title="answers as itself and as others; mean nats a token from whose run alone",
        title_justify="left",
    )
    for heading in ("itself", "others", "from itself", "nearest other"):
        table.add_column(heading, justify="right")
    for own, (name, counts, distances) in enumerate(
        zip(verdict.names, verdict.nearest, verdict.distances, strict=True)
    ):
        others = [
            (away, other)
            for place, (away, other) in enumerate(zip(distances, verdict.names, strict=True))
            if place != own
        ]
        away, other = min(others)
        table.add_row(
            name, str(counts[own]), str(sum(counts) - counts[own]), f"{distances[own]:.2f}", f"{other} {away:.2f}"
        )
    return table


def _plain(verdict: "Verdict") -> dict[str, object]:
    plain = dataclasses.asdict(dataclasses.replace(verdict, beyond=(), alike={}))
    plain["beyond"] = [{"persona": each.persona, "prompt": each.prompt} for each in verdict.beyond]
    plain["alike"] = [{"personas": list(pair), "prompts": count} for pair, count in verdict.alike.items()]
    return plain
