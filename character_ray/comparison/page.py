"""A comparison as one self-contained page: every metric of every run, what differs on the same prompts, how long a persona lasts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from character_ray.comparison.compare import Comparison, Shift
from character_ray.comparison.tables import Table, metric_table, shift_table
from character_ray.report import wording
from character_ray.report.lookup import all_metrics
from character_ray.report.metric_plots import metric_dot, metric_plot
from character_ray.report.plots import Dot, dot_plot, round_ticks
from character_ray.report.sheet import Plot, Section, Sheet, write_sheet
from character_ray.report.trials_plots import survival_plot

__all__ = ["write_comparison_page"]

# A longer name does not fit beside a plot.
LONGEST_LABEL = 11


def write_comparison_page(found: Comparison, arm: str, path: Path) -> None:
    """Write the page, atomically."""
    write_sheet(comparison_sheet(found, arm), path)


def comparison_sheet(found: Comparison, arm: str) -> Sheet:
    """What the page shows of one arm of the runs."""
    labels = run_labels(found.names)
    folders, found = found.names, _called(found, labels)
    sections = [
        _runs(found, folders),
        _section("Metrics", metric_table(found, arm), _metric_plots(found, arm)),
        _section(f"Differences to {labels[0]}", shift_table(found), _shift_plots(found)),
    ]
    if survival := _survival_plots(found, arm):
        sections.append(
            Section(
                "How long the persona lasts",
                notes=[
                    "Share of conversations still in character after each turn of a user who pushes; dashed: the first run."
                ],
                plots=survival,
            )
        )
    lead = [
        f"The arm {arm} of {len(found.names)} runs. Differences are paired by prompt, have 95 % intervals, and are tested with Holm's "
        "adjustment over all of them."
    ]
    return Sheet("Runs compared", ", ".join(Path(folder).name for folder in folders), lead, sections)


def run_labels(names: Sequence[str]) -> list[str]:
    """The runs' own names where they are short and all different, else their numbers."""
    short = [Path(name).name for name in names]
    if len(set(short)) == len(short) and all(0 < len(name) <= LONGEST_LABEL for name in short):
        return short
    return [f"run {number}" for number in range(1, len(names) + 1)]


def _called(found: Comparison, labels: Sequence[str]) -> Comparison:
    """The same comparison, its runs under their labels."""
    label_of = dict(zip(found.names, labels, strict=True))
    shifts = [replace(shift, run=label_of[shift.run]) for shift in found.shifts]
    return replace(found, names=list(labels), shifts=shifts)


def _runs(found: Comparison, folders: Sequence[str]) -> Section:
    rows = [
        [label, folder, report.constitution.name, report.run.recipe["student"]["name"], str(report.run.seed)]
        for label, folder, report in zip(found.names, folders, found.reports, strict=True)
    ]
    columns = ["", "folder", "persona", "model", "seed"]
    return Section("Runs", notes=found.warnings, columns=columns, rows=rows, prose={1, 2, 3})


def _section(heading: str, table: Table, plots: Sequence[Plot]) -> Section:
    return Section(heading, notes=[f"{table.title}."], plots=plots, columns=table.columns, rows=table.rows)


def _metric_plots(found: Comparison, arm: str) -> list[Plot]:
    """A plot of every metric that several runs have with an interval."""
    measured = [all_metrics(report, arm) for report in found.reports]
    plots = []
    for name in wording.metric_order(name for metrics in measured for name in metrics):
        rows = [
            metric_dot(run, name, metrics[name], "headline" if run == found.names[0] else "weights")
            for run, metrics in zip(found.names, measured, strict=True)
            if name in metrics
        ]
        if sum(row.low is not None for row in rows) > 1:
            meaning = wording.METRICS[name].meaning if name in wording.METRICS else ""
            plots.append(Plot(wording.label(name), meaning, metric_plot(name, "run", rows)))
    return plots


def _shift_plots(found: Comparison) -> list[Plot]:
    """A plot of every paired difference, a row for each run but the first; the axis holds 0."""
    first, plots = found.names[0], []
    for name in dict.fromkeys(shift.metric for shift in found.shifts):
        own = [shift for shift in found.shifts if shift.metric == name]
        rows = [_shift_dot(shift) for shift in own]
        ends = [0.0, *(end for shift in own for end in (shift.interval.low, shift.interval.high))]
        summary = f"{wording.label(name)} minus that of {first}: " + ", ".join(
            f"{row.label} {row.text}" for row in rows
        )
        ticks = round_ticks(min(ends), max(ends), 3)
        plots.append(
            Plot(
                wording.label(name),
                f"minus that of {first}",
                dot_plot(summary, rows, ticks, lambda tick: f"{100 * tick:.0f}"),
            )
        )
    return plots


def _shift_dot(shift: Shift) -> Dot:
    found = shift.interval
    text = (
        f"{wording.difference(shift.metric, found.value)} {wording.shift_interval(shift.metric, found.low, found.high)}"
    )
    return Dot(shift.run, found.value, found.low, found.high, text, "weights")


def _survival_plots(found: Comparison, arm: str) -> list[Plot]:
    own = [report.trials.survival.get(arm) if report.trials else None for report in found.reports]
    plots = []
    for run, survival in zip(found.names, own, strict=True):
        if survival is not None:
            ended = f"ended in {survival.events} of {survival.n} conversations"
            last = f"{100 * survival.share[-1]:.0f} % after turn {survival.turns[-1]}"
            reference = None if survival is own[0] else own[0]
            plots.append(Plot(run, ended, survival_plot(f"{run}: {ended}, {last}", survival, reference)))
    return plots
