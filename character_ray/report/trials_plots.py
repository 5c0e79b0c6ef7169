"""The plots of the trials: how long a persona lasts, and what an arm gives up for what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from character_ray.report.plots import WIDTH, _axis_x, _axis_y, _circle, _element, _line, _plain, _scale, _svg, _text
from character_ray.report.trials_schema import Survival

__all__ = ["Point", "survival_plot", "trade_off_plot"]

_Scale = Callable[[float], float]
RATES = [0.0, 0.25, 0.5, 0.75, 1.0]


@dataclass(frozen=True)
class Point:
    """One arm in a trade-off: two rates with their intervals."""

    label: str
    x: tuple[float, float, float]
    """Value, lower and upper end."""
    y: tuple[float, float, float]
    kind: str


def survival_plot(summary: str, own: Survival, reference: Survival | None) -> Markup:
    """Share of conversations in which the persona still holds, as steps over the turns, with its band.

    Args:
        summary: What a reader who cannot see it should know.
        own: The arm.
        reference: Another arm, drawn dashed behind it.
    """
    left, right, top, bottom = 40.0, WIDTH - 8, 8.0, 140.0
    x, y = _scale(0, own.turns[-1], left + 6, right - 6), _scale(0, 1, bottom, top)
    upper, lower = (_steps(own.turns, ends) for ends in (own.high, own.low))
    band = "M" + "L".join(f"{x(t):.1f} {y(v):.1f}" for t, v in [*upper, *reversed(lower)]) + "Z"
    parts = [
        _element("path", d=band, class_="band"),
        _axis_y(RATES, y, left, right),
        _axis_x([float(turn) for turn in own.turns], _plain, x, bottom, bottom),
        _text("turn", right, bottom + 30, "tick", "end"),
    ]
    if reference is not None:
        parts.append(_path(_steps(reference.turns, reference.share), x, y, "curve reference"))
    parts.append(_path(_steps(own.turns, own.share), x, y, "curve"))
    return _svg(summary, bottom + 34, parts)


def trade_off_plot(summary: str, points: Sequence[Point], x_title: str, y_title: str) -> Markup:
    """Two rates of every arm against each other, with both intervals; better is further up and to the right.

    Args:
        summary: What a reader who cannot see it should know.
        points: One per arm.
        x_title: What the horizontal axis counts.
        y_title: What the vertical axis counts.
    """
    left, right, top, bottom = 40.0, 320.0, 26.0, 236.0
    x, y = _scale(0, 1, left + 6, right - 6), _scale(0, 1, bottom, top)
    parts = [
        _axis_y(RATES, y, left, right),
        _axis_x(RATES, _plain, x, bottom, bottom),
        _text(x_title, right, bottom + 32, "tick", "end"),
        _text(y_title, 0, 12, "tick"),
    ]
    for point in points:
        cx, cy = x(point.x[0]), y(point.y[0])
        parts.append(_line(x(point.x[1]), cy, x(point.x[2]), cy, f"interval thin {point.kind}"))
        parts.append(_line(cx, y(point.y[1]), cx, y(point.y[2]), f"interval thin {point.kind}"))
        parts.append(_circle(cx, cy, 4.5, f"dot {point.kind}"))
    for label, lx, ly, kind in _labels(points, x, y):
        parts.append(_text(label, lx, ly, f"label {kind}", "end" if lx > WIDTH - 60 else "start"))
    return _svg(summary, bottom + 36, parts)


def _labels(points: Sequence[Point], x: _Scale, y: _Scale) -> list[tuple[str, float, float, str]]:
    """A place for each name beside its dot, moved down where it would cover another."""
    placed: list[tuple[str, float, float, str]] = []
    for point in sorted(points, key=lambda point: -point.y[0]):
        lx, ly = x(point.x[0]) + 8, y(point.y[0]) - 6
        if lx > WIDTH - 60:
            lx = x(point.x[0]) - 8
        while any(abs(ly - other) < 14 and abs(lx - ox) < 62 for _, ox, other, _ in placed):
            ly += 14
        placed.append((point.label, lx, ly, point.kind))
    return placed


def _steps(turns: Sequence[int], values: Sequence[float]) -> list[tuple[float, float]]:
    """A share holds until the next turn, where it falls."""
    points: list[tuple[float, float]] = [(float(turns[0]), values[0])]
    for (_, before), (turn, after) in pairwise(zip(turns, values, strict=True)):
        points += [(float(turn), before), (float(turn), after)]
    return points


def _path(points: Sequence[tuple[float, float]], x: _Scale, y: _Scale, class_: str) -> Markup:
    return _element("path", d="M" + "L".join(f"{x(t):.1f} {y(v):.1f}" for t, v in points), class_=class_)
