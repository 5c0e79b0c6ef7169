"""The plots of the report page, as inline SVG.

Drawn by hand rather than by a plotting library, so that the page's style sheet colours them in both themes, text stays
text, and the same report gives the same bytes. All are as wide as a phone: on a desk they stand side by side.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

__all__ = ["Dot", "Line", "curve", "dot_plot", "lines_plot", "reliability_diagram", "round_ticks"]

WIDTH = 352.0
GUTTER = 64.0
VALUES = 118.0
ROW = 27.0


@dataclass(frozen=True)
class Dot:
    """One row of a dot plot; ``value`` is ``None`` when it was not measured."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    text: str
    kind: Literal["weights", "context", "headline"]


@dataclass(frozen=True)
class Line:
    """One line of a plot of several, named at its end."""

    label: str
    points: Sequence[tuple[float, float]]
    kind: Literal["headline", "context", "control"]


def dot_plot(summary: str, rows: Sequence[Dot], ticks: Sequence[float], written: Callable[[float], str]) -> Markup:
    """Values with their intervals, one row each, on a common axis.

    Args:
        summary: What a reader who cannot see it should know.
        rows: From top to bottom.
        ticks: Where the axis is marked; it reaches from the first to the last.
        written: Writes a tick.
    """
    height = ROW * len(rows) + 24
    x = _scale(ticks[0], ticks[-1], GUTTER + 6, WIDTH - VALUES - 6)
    parts = [_axis_x(ticks, written, x, 0, ROW * len(rows))]
    for number, row in enumerate(rows):
        y = ROW * (number + 0.5)
        parts.append(_text(row.label, 0, y + 4, f"label {row.kind}"))
        if row.value is None:
            parts.append(_text("not measured", WIDTH, y + 4, "absent", "end"))
            continue
        if row.low is not None and row.high is not None:
            parts.append(_line(x(row.low), y, x(row.high), y, f"interval {row.kind}"))
        parts.append(_circle(x(row.value), y, 4.5, f"dot {row.kind}"))
        parts.append(_text(row.text, WIDTH, y + 4, "value", "end"))
    return _svg(summary, height, parts)


def curve(summary: str, points: Sequence[tuple[float, float]], *, limits: tuple[float, float] | None = None) -> Markup:
    """One logged quantity over the steps of a training.

    Args:
        summary: What a reader who cannot see it should know.
        points: ``(step, value)``, in order of steps.
        limits: Ends of the vertical axis; by default the data's.
    """
    steps, values = zip(*points, strict=True)
    left, right, top, bottom = 40.0, WIDTH - 8, 8.0, 140.0
    y_ticks = round_ticks(*(limits or (min(values), max(values))))
    x_ticks = [
        tick for tick in round_ticks(steps[0], steps[-1]) if steps[0] <= tick <= steps[-1] and tick == int(tick)
    ] or [steps[0]]
    x = _scale(steps[0], steps[-1], left + 6, right - 6)
    y = _scale(y_ticks[0], y_ticks[-1], bottom, top)
    path = "M" + "L".join(f"{x(step):.1f} {y(value):.1f}" for step, value in points)
    parts = [
        _axis_y(y_ticks, y, left, right),
        _axis_x(x_ticks, _plain, x, bottom, bottom),
        _text("step", right, bottom + 30, "tick", "end"),
    ]
    parts += [_element("path", d=path, class_="curve"), _circle(x(steps[-1]), y(values[-1]), 3.5, "dot headline")]
    return _svg(summary, bottom + 34, parts)


def lines_plot(summary: str, lines: Sequence[Line], across: str, limits: tuple[float, float]) -> Markup:
    """Several quantities over one axis, such as layers.

    Args:
        summary: What a reader who cannot see it should know.
        lines: Drawn in this order; each is named beside its last point, moved apart where two would touch.
        across: Name of the horizontal axis.
        limits: Ends of the vertical axis.
    """
    left, right, top, bottom = 40.0, WIDTH - 76, 8.0, 150.0
    steps = [step for line in lines for step, _ in line.points]
    y_ticks = round_ticks(*limits)
    x_ticks = [tick for tick in round_ticks(min(steps), max(steps)) if min(steps) <= tick <= max(steps)]
    x, y = _scale(min(steps), max(steps), left + 6, right - 6), _scale(y_ticks[0], y_ticks[-1], bottom, top)
    parts = [
        _axis_y(y_ticks, y, left, right),
        _axis_x(x_ticks, _plain, x, bottom, bottom),
        _text(across, right, bottom + 30, "tick", "end"),
    ]
    named = -math.inf
    for line in sorted(lines, key=lambda line: y(line.points[-1][1])):
        path = "M" + "L".join(f"{x(step):.1f} {y(value):.1f}" for step, value in line.points)
        named = max(y(line.points[-1][1]) + 4, named + 13)
        parts.append(_element("path", d=path, class_=f"curve {line.kind}"))
        parts.append(_text(line.label, right, named, f"label {line.kind}"))
    return _svg(summary, max(bottom + 34, named), parts)


def reliability_diagram(summary: str, bins: Sequence[Mapping[str, float]]) -> Markup:
    """Share that is so over predicted probability; a calibrated classifier lies on the diagonal. Areas show ``n``."""
    left, right, top, bottom = 40.0, 300.0, 8.0, 228.0
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    x, y = _scale(0, 1, left + 6, right - 6), _scale(0, 1, bottom, top)
    largest = max((bin_["n"] for bin_ in bins), default=1) or 1
    parts = [
        _axis_y(ticks, y, left, right),
        _axis_x(ticks, _plain, x, bottom, bottom),
        _line(x(0), y(0), x(1), y(1), "diagonal"),
    ]
    parts.append(_text("predicted probability", right, bottom + 32, "tick", "end"))
    for bin_ in bins:
        radius = 3 + 9 * math.sqrt(bin_["n"] / largest)
        parts.append(_circle(x(bin_["confidence"]), y(bin_["observed"]), radius, "bubble"))
    return _svg(summary, bottom + 36, parts)


def round_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About ``count`` steps of 1, 2 or 5 times a power of ten, enclosing ``low`` and ``high``."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= span / count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _scale(low: float, high: float, start: float, stop: float) -> Callable[[float], float]:
    """Data to picture; a value outside ``[low, high]`` stays at the edge."""
    span = (high - low) or 1.0
    return lambda value: start + (stop - start) * min(1.0, max(0.0, (value - low) / span))


def _axis_x(
    ticks: Sequence[float], written: Callable[[float], str], x: Callable[[float], float], top: float, bottom: float
) -> Markup:
    lines = [_line(x(tick), top, x(tick), bottom + 4, "zero" if tick == 0 else "grid") for tick in ticks]
    return Markup("").join([*lines, *(_text(written(tick), x(tick), bottom + 17, "tick", "middle") for tick in ticks)])


def _axis_y(ticks: Sequence[float], y: Callable[[float], float], left: float, right: float) -> Markup:
    lines = [_line(left, y(tick), right, y(tick), "grid") for tick in ticks]
    return Markup("").join([*lines, *(_text(_plain(tick), left - 6, y(tick) + 4, "tick", "end") for tick in ticks)])


def _plain(tick: float) -> str:
    return f"{tick:.3g}".replace("-", "\N{MINUS SIGN}")


def _svg(summary: str, height: float, parts: Sequence[Markup]) -> Markup:
    return _element("svg", *parts, viewBox=f"0 0 {WIDTH:g} {height:g}", role="img", aria_label=summary)


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return _element("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", class_=class_)


def _circle(x: float, y: float, radius: float, class_: str) -> Markup:
    return _element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{radius:.1f}", class_=class_)


def _text(text: str, x: float, y: float, class_: str, anchor: str = "start") -> Markup:
    return _element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", class_=class_, text_anchor=anchor)


def _element(tag: str, *children: str, **attributes: str) -> Markup:
    """An element whose text and attribute values are escaped; ``aria_label`` is written ``aria-label``."""
    written = Markup("").join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(tag, written, Markup("").join(children))
