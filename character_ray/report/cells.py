"""A figure with its interval, as a cell of a table or a sentence shows it."""

from markupsafe import Markup

from character_ray.report import wording
from character_ray.report.base import Metric

__all__ = ["cell", "inline", "number"]

DASH = "\N{EN DASH}"


def cell(found: Metric | None, name: str = "persona_rate") -> Markup:
    """A rate with its interval below, or a dash that says why there is none."""
    if found is None:
        return Markup(f"<small>{DASH}</small>")
    if found.value is None:
        return Markup('<small title="{}">{}</small>').format(found.reason, DASH)
    shown = wording.amount(name, found.value)
    return Markup('<span title="n = {}; {}">{}</span> <small>{}</small>').format(
        found.n, found.method, shown, wording.interval(name, found.low, found.high)
    )


def number(found: Metric) -> Markup:
    """A figure between 0 and 1 that is no share of answers."""
    if found.value is None:
        return Markup('<small title="{}">{}</small>').format(found.reason, DASH)
    ends = f"[{found.low:.2f}, {found.high:.2f}]" if found.low is not None and found.high is not None else ""
    return Markup('<span title="n = {}; {}">{}</span> <small>{}</small>').format(
        found.n, found.method, f"{found.value:.2f}".replace("-", wording.MINUS), ends.replace("-", wording.MINUS)
    )


def inline(found: Metric, name: str = "") -> str:
    """A figure as a sentence holds it: ``87 % [82, 91]`` of a rate, else ``0.872 [0.821, 0.913]``; without an interval the value alone."""
    if found.value is None:
        return "not measured"
    if name:
        return f"{wording.amount(name, found.value)} {wording.interval(name, found.low, found.high)}".strip()
    ends = f" [{found.low:.3f}, {found.high:.3f}]" if found.low is not None and found.high is not None else ""
    return f"{found.value:.3f}{ends}".replace("-", wording.MINUS)
