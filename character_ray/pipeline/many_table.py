"""What became of many runs, as tables: a row for each, and for each persona of several seeds their mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import mean

from rich.markup import escape
from rich.table import Table

from character_ray.log import console, describe_counts
from character_ray.parts import read_rows
from character_ray.report import wording
from character_ray.report.io import load_report
from character_ray.report.schema import Difference, Report
from character_ray.runs import read_summary
from character_ray.statistics import crossed_interval

__all__ = ["Outcome", "show", "show_pairs"]

ARMS = ("base", "prompted", "full")


@dataclass(frozen=True)
class Outcome:
    """What became of one persona under one seed."""

    name: str
    folder: Path
    error: str = ""
    """Empty when its story was told to the end."""
    seed: int = 0
    """The run's."""


def show_pairs(outcomes: Sequence[Outcome]) -> None:
    """Pairs that were kept, and why others were not."""
    table = Table("persona", "seed", "pairs kept", "dropped", title="Preference pairs", title_justify="left")
    for outcome in outcomes:
        own = (escape(outcome.name), str(outcome.seed))
        if outcome.error:
            table.add_row(*own, "failed", escape(outcome.error))
            continue
        pairs = read_summary(outcome.folder / "pairs")
        dropped = escape(describe_counts(pairs.get("dropped", {})))
        table.add_row(*own, f"{pairs['rows_out']:,} of {pairs['rows_in']:,}", dropped)
    console.print(table)


def show(outcomes: Sequence[Outcome]) -> None:
    """Persona rates and the gain in rating; runs of one persona are expected next to each other."""
    several = len({outcome.seed for outcome in outcomes}) > 1
    caption = (
        "mean: 95 % intervals over seeds and prompts together; of the rating, the smallest and largest over seeds"
        if several
        else None
    )
    table = Table(*("persona", "seed", *ARMS, "rating full - base", "report"), title="Persona rate, %", caption=caption)
    for name, own in groupby(outcomes, lambda outcome: outcome.name):
        runs = list(own)
        for outcome in runs:
            table.add_row(escape(name), str(outcome.seed), *_of_one(outcome))
        if len(runs) > 1:
            table.add_row(escape(name), "mean", *_of_all(runs), style="bold", end_section=True)
    console.print(table)


def _of_one(outcome: Outcome) -> list[str]:
    if outcome.error:
        return ["", "", "failed", "", escape(outcome.error)]
    report = load_report(outcome.folder / "report.json")
    rates = [_rate(report, arm) for arm in ARMS]
    gain = _gain(report)
    return [*rates, _bounded(gain.value, gain.low, gain.high) if gain else "-", str(outcome.folder / "report.html")]


def _of_all(runs: Sequence[Outcome]) -> list[str]:
    """Means of the runs that finished; a seed that failed is no zero."""
    done = [outcome for outcome in runs if not outcome.error]
    decided = {outcome.seed: _persona_decisions(outcome.folder) for outcome in done}
    reports = [load_report(outcome.folder / "report.json") for outcome in done]
    gains = [gain.value for report in reports if (gain := _gain(report))]
    return [
        *(_mean_rate({seed: found[arm] for seed, found in decided.items() if arm in found}) for arm in ARMS),
        _bounded(mean(gains), min(gains), max(gains)) if gains else "-",
        f"{len(done)} of {len(runs)} seeds",
    ]


def _persona_decisions(folder: Path) -> dict[str, dict[str, float]]:
    """By arm and prompt, whether the answer was in character."""
    found: dict[str, dict[str, float]] = {}
    for row in read_rows(folder / "decisions.parquet"):
        if row["metric"] == "persona_rate":
            found.setdefault(row["arm"], {})[row["prompt_id"]] = row["value"]
    return found


def _mean_rate(by_seed: dict[int, dict[str, float]]) -> str:
    try:
        found = crossed_interval(by_seed, bounds=(0.0, 1.0))
    except ValueError:  # no seed has the arm, or they have no prompt in common
        return "-"
    shown = wording.interval("persona_rate", found.low, found.high)
    return f"{wording.amount('persona_rate', found.value)} {shown}"


def _rate(report: Report, arm: str) -> str:
    value = report.arms[arm]["persona_rate"].value if arm in report.arms else None
    return "-" if value is None else f"{100 * value:.0f}"


def _gain(report: Report) -> Difference | None:
    of_full = ("rating", "full", "base")
    return next((each for each in report.differences if (each.metric, each.arm, each.against) == of_full), None)


def _bounded(value: float, low: float, high: float) -> str:
    return f"{value:.0f} [{low:.0f}, {high:.0f}]"
