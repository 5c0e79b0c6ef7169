"""The plots of the trials: how long a persona lasts, and what an arm gives up for what."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from character_ray.report.plots import WIDTH, _axis_x, _axis_y, _circle, _element, _line, _plain, _scale, _svg, _text
from character_ray.report.trials_schema import Survival

__all__ = ["Point", "survival_plot", "trade_off_plot"]

_Scale = Callable[[float], float]
_Box = tuple[float, float, float, float]
# Width of a letter of a label, in the units of the drawing.
LETTER = 7.0
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
    for name in _labels(points, x, y, (left, right, top, bottom)):
        if name.far:
            left_end, right_end, upper, lower = name.box
            (cx, cy), near = name.dot, (min(max(name.dot[0], left_end), right_end), min(max(name.dot[1], upper), lower))
            parts.append(_line(cx, cy, *near, "leader"))
        parts.append(_text(name.label, name.x, name.y, f"label {name.kind}", name.anchor))
    return _svg(summary, bottom + 36, parts)


@dataclass(frozen=True)
class _Label:
    label: str
    x: float
    y: float
    anchor: str
    kind: str
    dot: tuple[float, float]
    far: bool
    """Whether it stands so far from its dot that a line must lead to it."""

    @property
    def box(self) -> _Box:
        """Left, right, top and bottom of the text."""
        width = LETTER * len(self.label)
        left = self.x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return left, left + width, self.y - 10, self.y + 3


def _labels(points: Sequence[Point], x: _Scale, y: _Scale, frame: _Box) -> list[_Label]:
    """A place for each name close to its dot: the first, going round and outwards, that covers no other name, no dot and no edge."""
    dots = [(x(point.x[0]), y(point.y[0])) for point in points]
    boxes = [(cx - 5.5, cx + 5.5, cy - 5.5, cy + 5.5) for cx, cy in dots]
    left, right, top, bottom = frame
    inside = (left, max(right, WIDTH), top - 8, bottom)
    placed: list[_Label] = []
    for place in sorted(range(len(points)), key=lambda place: (dots[place][1], dots[place][0], points[place].label)):
        candidates = list(_around(points[place], *dots[place]))
        free = [each for each in candidates if _within(each.box, inside)]
        taken = [other.box for other in placed] + boxes
        best = min(free or candidates, key=lambda each: sum(_overlap(each.box, other) for other in taken))
        placed.append(best)
    return placed


def _around(point: Point, cx: float, cy: float) -> Iterator[_Label]:
    for away in range(8):
        gap, shift = 8.0 + 4 * away, 13.0 * away
        for lx, ly, anchor in (
            (cx + gap, cy - 6 - shift, "start"),
            (cx + gap, cy + 14 + shift, "start"),
            (cx - gap, cy - 6 - shift, "end"),
            (cx - gap, cy + 14 + shift, "end"),
            (cx, cy - 10 - shift, "middle"),
            (cx, cy + 18 + shift, "middle"),
        ):
            yield _Label(point.label, lx, ly, anchor, point.kind, (cx, cy), away > 0)


def _within(box: _Box, frame: _Box) -> bool:
    return box[0] >= frame[0] and box[1] <= frame[1] and box[2] >= frame[2] and box[3] <= frame[3]


def _overlap(first: _Box, second: _Box) -> float:
    """Area that two boxes share."""
    across = min(first[1], second[1]) - max(first[0], second[0])
    down = min(first[3], second[3]) - max(first[2], second[2])
    return max(across, 0.0) * max(down, 0.0)


def _steps(turns: Sequence[int], values: Sequence[float]) -> list[tuple[float, float]]:
    """A share holds until the next turn, where it falls."""
    points: list[tuple[float, float]] = [(float(turns[0]), values[0])]
    for (_, before), (turn, after) in pairwise(zip(turns, values, strict=True)):
        points += [(float(turn), before), (float(turn), after)]
    return points


def _path(points: Sequence[tuple[float, float]], x: _Scale, y: _Scale, class_: str) -> Markup:
    return _element("path", d="M" + "L".join(f"{x(t):.1f} {y(v):.1f}" for t, v in points), class_=class_)
