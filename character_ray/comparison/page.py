"""A comparison as one self-contained page: every metric of every run, what differs on the same prompts, how long a persona lasts."""

from collections.abc import Sequence
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
    sections = [
        _runs(found, labels),
        _section("Metrics", metric_table(found, arm), _metric_plots(found, arm, labels)),
        _section(f"Differences to {labels[0]}", shift_table(found), _shift_plots(found, labels)),
    ]
    if survival := _survival_plots(found, arm, labels):
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
    return Sheet("Runs compared", " · ".join(labels), lead, sections)


def run_labels(names: Sequence[str]) -> list[str]:
    """The runs' own names where they are short and all different, else their numbers."""
    short = [Path(name).name for name in names]
    if len(set(short)) == len(short) and all(0 < len(name) <= LONGEST_LABEL for name in short):
        return short
    return [f"run {number}" for number in range(1, len(names) + 1)]


def _runs(found: Comparison, labels: Sequence[str]) -> Section:
    rows = [
        [label, name, report.constitution.name, str(report.run.model.get("name", "")), str(report.run.seed)]
        for label, name, report in zip(labels, found.names, found.reports, strict=True)
    ]
    columns = ["", "folder", "persona", "model", "seed"]
    return Section("Runs", notes=found.warnings, columns=columns, rows=rows, prose={1, 2, 3})


def _section(heading: str, table: Table, plots: Sequence[Plot]) -> Section:
    return Section(heading, notes=[f"{table.title}."], plots=plots, columns=table.columns, rows=table.rows)


def _metric_plots(found: Comparison, arm: str, labels: Sequence[str]) -> list[Plot]:
    """A plot of every metric that several runs have with an interval."""
    measured = [all_metrics(report, arm) for report in found.reports]
    plots = []
    for name in wording.metric_order(name for metrics in measured for name in metrics):
        rows = [
            metric_dot(label, name, metrics[name], "headline" if label == labels[0] else "weights")
            for label, metrics in zip(labels, measured, strict=True)
            if name in metrics
        ]
        if sum(row.low is not None for row in rows) > 1:
            meaning = wording.METRICS[name].meaning if name in wording.METRICS else ""
            plots.append(Plot(wording.label(name), meaning, metric_plot(name, "run", rows)))
    return plots


def _shift_plots(found: Comparison, labels: Sequence[str]) -> list[Plot]:
    """A plot of every paired difference, a row for each run but the first; the axis holds 0."""
    label_of = dict(zip(found.names, labels, strict=True))
    plots = []
    for name in dict.fromkeys(shift.metric for shift in found.shifts):
        own = [shift for shift in found.shifts if shift.metric == name]
        rows = [_shift_dot(label_of[shift.run], shift) for shift in own]
        ends = [0.0, *(end for shift in own for end in (shift.interval.low, shift.interval.high))]
        summary = f"{wording.label(name)} minus that of {labels[0]}: " + ", ".join(
            f"{row.label} {row.text}" for row in rows
        )
        ticks = round_ticks(min(ends), max(ends), 3)
        plots.append(
            Plot(
                wording.label(name),
                f"minus that of {labels[0]}",
                dot_plot(summary, rows, ticks, lambda tick: f"{100 * tick:.0f}"),
            )
        )
    return plots


def _shift_dot(label: str, shift: Shift) -> Dot:
    found = shift.interval
    text = (
        f"{wording.difference(shift.metric, found.value)} {wording.shift_interval(shift.metric, found.low, found.high)}"
    )
    return Dot(label, found.value, found.low, found.high, text, "weights")


def _survival_plots(found: Comparison, arm: str, labels: Sequence[str]) -> list[Plot]:
    own = [report.trials.survival.get(arm) if report.trials else None for report in found.reports]
    plots = []
    for label, survival in zip(labels, own, strict=True):
        if survival is not None:
            ended = f"ended in {survival.events} of {survival.n} conversations"
            last = f"{100 * survival.share[-1]:.0f} % after turn {survival.turns[-1]}"
            reference = None if survival is own[0] else own[0]
            plots.append(Plot(label, ended, survival_plot(f"{label}: {ended}, {last}", survival, reference)))
    return plots
