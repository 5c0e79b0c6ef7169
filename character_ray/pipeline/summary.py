"""The table at the end of a run."""

from pathlib import Path

from rich.table import Table

from character_ray.log import console
from character_ray.report import wording
from character_ray.report.lookup import all_metrics
from character_ray.report.schema import Metric, Report

__all__ = ["print_summary"]


def print_summary(report: Report, folder: Path) -> None:
    """Print every arm's headline numbers with intervals, and where the results lie."""
    table = Table(title=f"{report.constitution.name} on {report.num_prompts} held-out prompts", title_justify="left")
    table.add_column("arm")
    for name in wording.HEADLINE:
        table.add_column(wording.label(name).lower(), justify="right")
    for arm in report.arms:
        metrics = all_metrics(report, arm)
        table.add_row(arm, *(_cell(metrics.get(name), name) for name in wording.HEADLINE))
    console.print(table)
    minutes = report.run.wall_s / 60
    console.print(f"{minutes:.1f} minutes of work. Report: {folder / 'report.html'} · adapter: {folder / 'adapter'}")
    console.print(f"Talk to it: character-ray chat {folder} · serve it: character-ray serve {folder}")


def _cell(metric: Metric | None, name: str) -> str:
    if metric is None or metric.value is None:
        return "-"
    scale = 1 if name == "rating" else 100
    low, high = metric.low or 0.0, metric.high or 0.0
    return f"{metric.value * scale:.0f} [{low * scale:.0f}, {high * scale:.0f}]"
