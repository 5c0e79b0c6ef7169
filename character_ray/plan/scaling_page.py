"""The simulation of many GPUs and personas as a page."""

from collections.abc import Sequence

from character_ray.plan.scaling import Scaled, Task, compare_team, fit_tasks, simulate
from character_ray.report.schema import Report
from character_ray.report.wording import duration

__all__ = ["scaling_page"]

INTRO = """\
What more GPUs do, by a discrete-event simulation fitted on one measured run. Each persona goes through its tasks in order; teams of
GPUs take one persona after the other. A pass of an engine pays its start once and divides its work among the GPUs of its team, a
training divides its batch and no further, the rest runs on one process, and adapters queue for the shared storage. Work is taken to
divide without loss and no GPU to fail, so times of large numbers are lower bounds."""


def scaling_page(
    report: Report,
    source: str,
    gpus: Sequence[int],
    personas: Sequence[int],
    storage_gib_per_s: float,
    usd_per_gpu_hour: float,
    measured: Sequence[tuple[int, Report]] = (),
    measured_from: Report | None = None,
) -> str:
    """The page, as Markdown.

    Args:
        report: A finished run on one GPU.
        source: Where it lies.
        gpus: Numbers of GPUs.
        personas: Numbers of personas.
        storage_gib_per_s: Rate of the shared storage.
        usd_per_gpu_hour: Price of a GPU that is held.
        measured: Runs of the same recipe on several GPUs, with their number.
        measured_from: The run on one GPU that those repeat, where it is another than ``report``.
    """
    tasks = fit_tasks(report)
    where = ", ".join(report.run.hardware.get("gpus") or [f"{report.run.hardware.get('cpu_cores', '?')} CPU cores"])
    lines = ["# Scaling", "", INTRO, "", f"Fitted on `{source}`: {report.run.name}, {where}.", ""]
    lines += [
        *_tasks(tasks),
        "",
        "## How good it is",
        "",
        *_checks(report, measured, measured_from),
        "",
        "## What it says",
        "",
    ]
    for number in personas:
        found = [simulate(tasks, count, number, storage_gib_per_s=storage_gib_per_s) for count in gpus]
        lines += [*_table(number, found, usd_per_gpu_hour), ""]
    lines.append(
        f"At {storage_gib_per_s:g} GiB/s of shared storage and US$ {usd_per_gpu_hour:.2f} for a GPU and hour, held throughout."
    )
    return "\n".join(lines) + "\n"


def _tasks(tasks: Sequence[Task]) -> list[str]:
    lines = ["| task | kind | start, s | work of one GPU, s | divides over | writes, GiB |", "|" + " --- |" * 6]
    for task in tasks:
        most = "any number" if task.max_gpus >= 10**9 else str(task.max_gpus)
        lines.append(
            f"| {task.name} | {task.kind} | {task.start_s:.1f} | {task.work_s:.1f} | {most} | {task.gib:.2f} |"
        )
    return lines


def _checks(report: Report, measured: Sequence[tuple[int, Report]], measured_from: Report | None) -> list[str]:
    if not measured:
        return [
            "With one GPU and one persona it gives the measured time, by construction. **It was not yet held against a run on two GPUs**, "
            "so its error there is not known, and what follows is arithmetic on one measurement. `--measured 2=runs/two/report.json` "
            "adds that check here."
        ]
    one = measured_from or report
    other = (
        "" if measured_from is None else f" of another recipe, {one.run.name}, which took {duration(one.run.wall_s)}"
    )
    lines = [f"By the same rules, from the run on one GPU{other}:", ""]
    lines += ["| GPUs | task | predicted, s | measured, s | error |", "|" + " --- |" * 5]
    tasks = fit_tasks(one)
    for gpus, several in measured:
        for each in compare_team(tasks, several, gpus):
            lines.append(
                f"| {gpus} | {each.stage} | {each.predicted_s:.1f} | {each.measured_s:.1f} | {each.error:+.0%} |"
            )
    return lines


def _table(personas: int, found: Sequence[Scaled], usd_per_gpu_hour: float) -> list[str]:
    lines = [
        f"### {personas:,} persona{'s' * (personas != 1)}",
        "",
        "| GPUs | wall time | speed-up | busy | GPU-hours | US$ | US$ each | most time goes to |",
        "|" + " --- |" * 8,
    ]
    for each in found:
        cost = each.gpu_hours * usd_per_gpu_hour
        most = sorted(each.spent.items(), key=lambda item: -item[1])[:3]
        told = ", ".join(f"{name} {share:.0%}" for name, share in most)
        lines.append(
            f"| {each.gpus:,} | {duration(each.wall_s)} | {found[0].wall_s / each.wall_s:,.1f} | {each.busy:.0%} | "
            f"{each.gpu_hours:,.1f} | {cost:,.0f} | {cost / personas:.2f} | {told} |"
        )
    return lines
