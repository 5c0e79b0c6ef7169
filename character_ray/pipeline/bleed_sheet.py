"""What the page of ``classes.json`` says of personas that were served together."""

from collections.abc import Mapping, Sequence
from typing import Any

from character_ray.evaluation.bleed import ALL
from character_ray.report.sheet import Section, percent

__all__ = ["bleed_lead", "bleed_sections"]


def bleed_lead(found: Mapping[str, Any]) -> str:
    """One sentence on how personas bleed into one another, by the linear head."""
    another, served = found["bleed"]["rates"][ALL]["another"], found["served"]
    difference = another["difference"]
    verdict = "the personas bleed into one another" if difference["low"] > 0 else "no bleed is seen"
    return (
        f"Served together by {served['url']}, {percent(another['served'])} of {another['served']['n']} answers are taken for a persona "
        f"that was not asked, alone {percent(another['alone'])}: {_points(difference)} by prompt, so {verdict}."
    )


def bleed_sections(head: Mapping[str, Any], served: Mapping[str, Any], after: str) -> list[Section]:
    """Rates and both confusion matrices, as one head reads the answers.

    Args:
        head: What was measured of it.
        served: How the application was asked.
        after: Put behind the headings.
    """
    bleed = head["bleed"]
    notes = [
        "Each model was asked its run's held-out prompts, all of them in one shuffled order, "
        f"{served['concurrency']} at a time. The answers are read by heads that saw neither their prompt nor the same text, beside what "
        "the run's own arm said to the same prompt with the same seed: what is taken wrongly there, too, is the classifier's error, and "
        "bleed is the difference.",
        "Another: taken for a persona that was not asked. None: a persona's answer that is taken for plain text.",
    ]
    if served["failed"]:
        notes.append(f"{served['failed']} requests failed or were answered by nothing, and are left out.")
    columns = [
        "asked",
        *(f"{name}, {when}" for name in ("another", "none") for when in ("alone", "served", "difference")),
    ]
    rows = [
        [name, *_cells(rates.get("another")), *_cells(rates.get("none")), str(rates["another"]["served"]["n"])]
        for name, rates in bleed["rates"].items()
    ]
    return [
        Section(f"Bleed{after}", notes, (), [*columns, "answers"], rows),
        *(
            Section(
                f"Asked and taken for, {when}{after}",
                ["Rows are who was asked, columns who the answers were taken for."],
                (),
                ["asked", *bleed["classes"]],
                _matrix(bleed["classes"], bleed["confusion"][when]),
            )
            for when in ("alone", "served")
        ),
    ]


def _cells(rates: Mapping[str, Any] | None) -> list[str]:
    if rates is None:
        return ["\N{EN DASH}"] * 3
    return [percent(rates["alone"]), percent(rates["served"]), _points(rates["difference"])]


def _points(difference: Mapping[str, Any]) -> str:
    """A difference of shares in points, with its interval."""
    value, low, high = (100 * difference[key] for key in ("value", "low", "high"))
    return f"{value:+.0f} points [{low:+.0f}, {high:+.0f}]"


def _matrix(names: Sequence[str], counts: Sequence[Sequence[int]]) -> list[list[str]]:
    """Counts by row; without the classes that nobody asked."""
    return [[name, *map(str, row)] for name, row in zip(names, counts, strict=True) if sum(row)]
