"""``character-ray plan``: what a recipe takes, before anything is asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.table import Table

from character_ray.cli.numbers import to_numbers
from character_ray.config import GPUName, Recipe, load_recipe, recipe_warnings
from character_ray.log import console
from character_ray.model_shape import assumed_shape
from character_ray.plan import Plan, check_fits, compare_with, estimate_recipe, scaling_page
from character_ray.report.io import load_report
from character_ray.report.schema import Report
from character_ray.report.wording import duration
from character_ray.whole_files import write_text

__all__ = ["plan"]

NONE = "\N{EN DASH}"

# What `compare_with` says of docs/results/smollm2-full and what was published of large models; tests/unit/test_plan.py holds both.
HOW_GOOD = (
    "Times are a roofline plus what software adds, fitted on one run of SmolLM2-135M on one H100 (13.7 minutes), which comes out within "
    "3 % as a whole and 16 % for each stage. Published throughputs of 8 to 235 billion parameters on H100s are 1.5 to 2.3 times lower "
    "than predicted: for large models take the hours as a lower bound. To check against a run: --against runs/NAME/report.json."
)


def plan(
    recipe: Annotated[Path, typer.Argument(help="Recipe file, such as jobs/recipes/demo-cpu.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Overrides, such as dpo.lora.rank=16.")] = None,
    gpu: Annotated[
        str, typer.Option(help=f"Kind of GPU: {', '.join(get_args(GPUName))}; plan.gpu of the recipe.")
    ] = "",
    price: Annotated[float | None, typer.Option(min=0, help="US dollars of one GPU for an hour.")] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="report.json of a finished run: its recipe is planned and held against what it took."),
    ] = None,
    scale: Annotated[
        str,
        typer.Option(metavar="1,8,64", help="Simulate so many GPUs, fitted on the run of --against, which had one."),
    ] = "",
    personas: Annotated[str, typer.Option(metavar="100,1000", help="Personas to simulate.")] = "1",
    storage: Annotated[float, typer.Option(min=0.001, help="GiB a second that the shared storage writes.")] = 1.0,
    measured: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GPUS=REPORT", help="Hold the simulation against a run on several GPUs: 2=runs/two/report.json."
        ),
    ] = None,
    measured_from: Annotated[
        Path | None,
        typer.Option(
            help="report.json of the run on one GPU that --measured repeats, where it is not that of --against."
        ),
    ] = None,
    page: Annotated[Path | None, typer.Option(help="Write the simulation as Markdown.")] = None,
) -> None:
    """Say what a recipe takes, before anything is asked for: rows, tokens, GPUs, memory of each, hours and cost."""
    items = [*(overrides or ()), *([f"plan.gpu={gpu}"] if gpu else [])]
    items += [f"plan.usd_per_gpu_hour={price}"] if price is not None else []
    asked = load_recipe(recipe, items)
    planned = estimate_recipe(asked)
    console.print(_stages(str(recipe), planned))
    console.print(_memory(planned))
    console.print(_sums(planned))
    console.print(_driver(planned), highlight=False)
    for note in [*recipe_warnings(asked), *_assumptions(asked, planned)]:
        console.print(note, style="yellow", markup=False, highlight=False)
    console.print(HOW_GOOD, style="dim", highlight=False)
    if against is not None:
        console.print(_compared(against))
    check_fits(planned)
    if scale:
        text = _scaled(against, scale, personas, storage, planned, measured or [], measured_from)
        console.print(text, markup=False, highlight=False)
        if page is not None:
            write_text(page, text)


def _assumptions(recipe: Recipe, planned: Plan) -> list[str]:
    """What the plan took for granted, and would be another without."""
    notes = []
    models = [recipe.student] if recipe.teacher_endpoint is not None else [recipe.student, recipe.teacher]
    for model in dict.fromkeys(models):
        entry = assumed_shape(model)
        if entry is not None:
            notes.append(f"{model.name}: shape assumed from the table: {entry}; the id was not looked up")
    if planned.gpus and "gpu" not in recipe.plan.model_fields_set:
        notes.append(f"planned for {recipe.plan.gpu} (default); plan.gpu or --gpu names another kind")
    return notes


def _scaled(
    against: Path | None,
    scale: str,
    personas: str,
    storage: float,
    planned: Plan,
    measured: Sequence[str],
    measured_from: Path | None,
) -> str:
    if against is None:
        raise typer.BadParameter(
            "the simulation is fitted on a finished run on one GPU: give its report.json with --against"
        )
    hours = [each for each in planned.estimates if each.step.gpus and each.seconds]
    price = max((each.usd / each.seconds / each.step.gpus for each in hours), default=0.0) * 3600
    held = [_measured(item) for item in measured]
    if measured_from is not None and not held:
        raise typer.BadParameter(
            f"--measured-from {measured_from} is a run on one GPU that --measured repeats on several: give that, too"
        )
    sizes, people = to_numbers(scale, least=1), to_numbers(personas, least=1)
    one = load_report(measured_from) if measured_from is not None else None
    return scaling_page(load_report(against), str(against), sizes, people, storage, price, held, one)


def _measured(item: str) -> tuple[int, Report]:
    """``2=runs/two/report.json``."""
    gpus, _, path = item.partition("=")
    if not (gpus.isdecimal() and int(gpus) and path):
        raise typer.BadParameter(
            f"--measured {item!r} is not of the form GPUS=REPORT, such as 2=runs/two/report.json, with at least one GPU"
        )
    return int(gpus), load_report(Path(path))


def _stages(title: str, planned: Plan) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("stage", "runs on"):
        table.add_column(column)
    for column in ("rows", "tokens in", "tokens out", "GPUs", "time", "US$"):
        table.add_column(column, justify="right", no_wrap=True)
    for each in planned.estimates:
        step = each.step
        table.add_row(
            step.stage,
            step.runs_on,
            f"{step.rows:,}",
            _count(each.prefill),
            _count(each.decode),
            str(step.gpus),
            duration(each.seconds),
            f"{each.usd:,.2f}",
        )
    return table


def _memory(planned: Plan) -> Table:
    """One line for all stages that hold the same."""
    table = Table(title="memory of each rank, GiB", title_justify="left")
    for column in ("stages", "holds"):
        table.add_column(column)
    for column in ("together", "may take"):
        table.add_column(column, justify="right", no_wrap=True)
    rows: dict[tuple[str, str, str], list[str]] = {}
    for each in planned.estimates:
        if each.memory is None or not each.step.rows:
            continue
        holds = ", ".join(f"{name} {size:.1f}" for name, size in each.memory.parts.items() if size >= 0.05)
        limit = NONE if each.memory.limit_gib is None else f"{each.memory.limit_gib:.1f}"
        limit += " [red]too little[/]" if each.memory.shortage else ""
        rows.setdefault((holds, f"{each.memory.total_gib:.1f}", limit), []).append(each.step.stage)
    for values, stages in rows.items():
        table.add_row(", ".join(stages), *values)
    return table


def _sums(planned: Plan) -> str:
    """The run as a whole: what its stages take, and what holding the largest stage's machines throughout would cost."""
    text = f"About {duration(planned.seconds)} and US$ {planned.usd:,.2f}, one stage after the other"
    if not planned.gpus:
        return text + ", on CPUs."
    held = [each for each in planned.estimates if each.step.gpus and each.seconds]
    hourly = max(each.usd / each.seconds / each.step.gpus for each in held) * 3600 if held else 0.0
    whole = planned.gpus * hourly * planned.seconds / 3600
    return (
        text
        + f", each paid for what it uses; US$ {whole:,.2f} when the {planned.gpus} x {planned.device} of the largest stage are "
        f"held throughout (US$ {hourly:.2f} an hour each; plan.usd_per_gpu_hour or --price)."
    )


def _driver(planned: Plan) -> str:
    """What no GPU holds."""
    parts = ", ".join(f"{name} {size:.1f}" for name, size in planned.driver.items())
    return (
        f"The process that drives the run, a cluster's head, takes {sum(planned.driver.values()):.1f} GiB of main memory to join the "
        f"adapters ({parts}), beside Ray's own."
    )


def _compared(path: Path) -> Table:
    table = Table(title=f"{path}, its own recipe planned", title_justify="left")
    table.add_column("stage")
    for column in ("predicted, s", "measured, s", "error"):
        table.add_column(column, justify="right")
    for each in compare_with(load_report(path)):
        error = f"{each.error:+.0%}" if each.predicted_s and each.measured_s else NONE
        table.add_row(each.stage, f"{each.predicted_s:.0f}", f"{each.measured_s:.0f}", error)
    return table


def _count(tokens: float) -> str:
    if not tokens:
        return NONE
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if tokens >= size:
            return f"{tokens / size:.1f} {letter}"
    return f"{tokens:.0f}"
