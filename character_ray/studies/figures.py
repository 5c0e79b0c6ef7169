"""``measured.svg`` and ``claims.svg``: every arm's rates and every claim's difference, with their 95 % intervals."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_ray.statistics import Interval
from character_ray.studies.finished import Finished
from character_ray.studies.measured import COLUMNS, arms_of, label, measure, of_cell
from character_ray.studies.schema import Study
from character_ray.studies.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["CLAIMS", "MEASURED", "draw_claims", "draw_measured"]

MEASURED = "measured.svg"
CLAIMS = "claims.svg"

ACROSS = 4
ROW_INCHES = 0.24
# Dark on white, apart for the colour-blind too; the outcome is in words beside each claim as well.
COLOURS: Mapping[Outcome, str] = {"holds": "#0b5f73", "fails": "#b3541e", "undecided": "#566170"}
# Text stays text and the same study gives the same bytes.
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "character-ray", "font.family": "sans-serif", "font.size": 9}


def draw_measured(study: Study, runs: Sequence[Finished], path: Path) -> None:
    """A panel for every rate that some arm has, a row for every arm of every cell."""
    named = {
        (f"{cell}/{arm}" if len(study.cells) > 1 else arm): (of_cell(runs, cell), arm)
        for cell in study.cells
        for arm in arms_of(of_cell(runs, cell))
    }
    panels = {metric: [measure(own, arm, metric) for own, arm in named.values()] for metric in COLUMNS}
    panels = {metric: found for metric, found in panels.items() if any(found)} or panels
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        down = -(-len(panels) // ACROSS)
        figure = Figure(figsize=(10, down * (0.8 + ROW_INCHES * len(named))), layout="constrained")
        for number, (metric, found) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(down, ACROSS, number)
            for row, interval in enumerate(found):
                _draw_interval(axes, row, interval, COLOURS["holds"])
            axes.set_title(f"{label(metric)}, %", loc="left", fontsize=10)
            axes.set_xlim(-4, 104)
            _name_rows(axes, named if number % ACROSS == 1 else [""] * len(named))
        _save(figure, path)


def draw_claims(verdicts: Sequence[Verdict], path: Path) -> None:
    """A row for every claim that ran: the better side minus the worse, in percentage points."""
    found = [verdict for verdict in verdicts if verdict.difference]
    if not found:
        return
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(10, 0.8 + 1.2 * ROW_INCHES * len(found)), layout="constrained")
        axes = figure.add_subplot()
        for row, verdict in enumerate(found):
            _draw_interval(axes, row, verdict.difference, COLOURS[verdict.outcome])
        axes.axvline(0, color=COLOURS["undecided"], linewidth=1)
        axes.set_xlabel("difference, percentage points")
        _name_rows(axes, [f"{verdict.claim.text} ({label(verdict.claim.metric)})" for verdict in found])
        right = axes.secondary_yaxis("right")
        right.set_yticks(range(len(found)), [verdict.outcome for verdict in found])
        right.tick_params(length=0)
        right.spines["right"].set_visible(False)
        _save(figure, path)


def _draw_interval(axes: "Axes", row: int, found: Interval | None, colour: str) -> None:
    if found is not None:
        ends = [100 * found.low, 100 * found.high]
        axes.plot(ends, [row, row], color=colour, linewidth=2.5, alpha=0.45, solid_capstyle="butt")
        axes.plot([100 * found.value], [row], "o", color=colour, markersize=5)


def _name_rows(axes: "Axes", names: Iterable[str]) -> None:
    labels = list(names)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#d9dee4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _save(figure: "Figure", path: Path) -> None:
    metadata: dict[str, Any] = {"Date": None}
    figure.savefig(path, format="svg", facecolor="white", metadata=metadata)
