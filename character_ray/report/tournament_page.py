"""``tournament.html``: one self-contained page of a tournament, with no script, no font and no picture from elsewhere."""

from pathlib import Path
from typing import Literal

import yaml
from markupsafe import Markup

from character_ray.report import wording
from character_ray.report.cells import number
from character_ray.report.plots import Dot, dot_plot, round_ticks
from character_ray.report.schema import Metric
from character_ray.report.templates import templates
from character_ray.report.tournament_schema import TournamentReport
from character_ray.whole_files import write_text

__all__ = ["render_tournament", "write_tournament_page"]

# A label longer than this does not fit beside the plot.
LONGEST_LABEL = 11
AUDITED = {
    "accuracy": "Accuracy",
    "equal_length": "At equal length",
    "length_bias": "Length bias",
    "consistency": "Consistency",
    "seat_share": "First seat",
    "identical_seat": "Same text, first seat",
}


def write_tournament_page(report: TournamentReport, path: Path) -> None:
    """Write ``tournament.html``, atomically."""
    write_text(path, render_tournament(report))


def render_tournament(report: TournamentReport) -> str:
    """The page as HTML; the same report always gives the same page."""
    ranked = sorted(report.contestants, key=lambda label: -(report.contestants[label].rating.value or 0.0))
    plots = [
        (
            "The panel" if len(report.judges) > 1 else "Ratings",
            _plot(report, {x: report.contestants[x].rating for x in ranked}),
        )
    ]
    if len(report.judges) > 1:
        plots += [
            (f"By {name} alone", _plot(report, {x: judge.ratings[x] for x in ranked}))
            for name, judge in report.judges.items()
        ]
    return (
        templates()
        .get_template("tournament.html.j2")
        .render(
            report=report,
            words=wording,
            ranked=ranked,
            plots=plots,
            headline=_headline(report, ranked),
            audited=AUDITED,
            points=_points,
            number=number,
            recipe=yaml.safe_dump(report.recipe, sort_keys=False, allow_unicode=True, width=100),
        )
    )


def _headline(report: TournamentReport, ranked: list[str]) -> str:
    decided = sum(pair.state != "open" for pair in report.pairs)
    leader = report.contestants[ranked[0]].rating
    up_to = "up to " if len({pair.prompts + pair.unscored for pair in report.pairs}) > 1 else ""
    return (
        f"{ranked[0]} stands first with {_points(leader)} Elo points, after {report.battles:,} battles on {up_to}{report.num_prompts} "
        f"prompts, each in both seats. {decided} of {len(report.pairs)} pairs are decided."
    )


def _points(metric: Metric) -> str:
    """A value in Elo points with its interval."""
    if metric.value is None:
        return "not measured"
    return f"{wording.amount('rating', metric.value)} {wording.interval('rating', metric.low, metric.high)}".strip()


def _plot(report: TournamentReport, ratings: dict[str, Metric]) -> Markup:
    ends = [end for each in ratings.values() for end in (each.value, each.low, each.high) if end is not None]
    rows = [
        Dot(
            label if len(label) <= LONGEST_LABEL else f"\N{HORIZONTAL ELLIPSIS}{label[1 - LONGEST_LABEL :]}",
            each.value,
            each.low,
            each.high,
            _points(each),
            _kind(report.contestants[label].arm),
        )
        for label, each in ratings.items()
    ]
    summary = "Ratings in Elo points: " + ", ".join(f"{label} {_points(each)}" for label, each in ratings.items())
    return dot_plot(summary, rows, round_ticks(min(ends), max(ends), 3), lambda tick: f"{tick:.0f}")


def _kind(arm: str) -> Literal["weights", "context", "headline"]:
    if arm == "full":
        return "headline"
    return "context" if arm in wording.IN_CONTEXT else "weights"
