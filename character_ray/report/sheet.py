"""One self-contained page for one measurement: sentences, plots and tables in the style of the report.

Whatever a model said is untrusted: the template escapes it, and the page's content policy lets nothing run.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from character_ray.report.templates import templates
from character_ray.whole_files import write_text

__all__ = ["Plot", "Section", "Sheet", "figure", "percent", "render_sheet", "write_sheet"]


# Before a percent sign, and after the comma of "[0.250, 0.750]".
_INSIDE_FIGURE = re.compile(r"(?<=\d) (?=%)|(?<=,) (?=[^\[\],]{1,12}\])")


@dataclass(frozen=True)
class Plot:
    """A drawing and what it shows."""

    title: str
    caption: str
    svg: Markup


@dataclass(frozen=True)
class Section:
    """A heading with what belongs under it; all but the heading may be left out."""

    heading: str
    notes: Sequence[str] = ()
    plots: Sequence[Plot] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = field(default_factory=list)
    prose: Collection[int] = ()
    """Columns, from 0, that hold text to be read rather than figures."""


@dataclass(frozen=True)
class Sheet:
    """A page."""

    title: str
    run: str
    lead: Sequence[str]
    sections: Sequence[Section]


def write_sheet(sheet: Sheet, path: Path) -> None:
    """Write the page, atomically."""
    write_text(path, render_sheet(sheet))


def render_sheet(sheet: Sheet) -> str:
    """The page as HTML; the same sheet always gives the same page."""
    environment = templates()
    environment.filters["unbroken"] = _unbroken
    return environment.get_template("sheet.html.j2").render(sheet=sheet)


def _unbroken(text: str) -> str:
    """The same with figures and intervals that no line break falls into."""
    return _INSIDE_FIGURE.sub("\N{NO-BREAK SPACE}", text)


def percent(interval: Mapping[str, Any]) -> str:
    """``87 % [82, 91]`` of an interval of shares."""
    return f"{100 * interval['value']:.0f} % [{100 * interval['low']:.0f}, {100 * interval['high']:.0f}]"


def figure(interval: Mapping[str, Any], digits: int = 2) -> str:
    """``0.87 [0.82, 0.91]`` of an interval; a dash where there is no value."""
    if interval["value"] is None:
        return "\N{EN DASH}"
    return f"{interval['value']:.{digits}f} [{interval['low']:.{digits}f}, {interval['high']:.{digits}f}]"
