"""What the page of ``classes.json`` says of personas that were served together."""

from collections.abc import Mapping, Sequence
from typing import Any

from character_ray.evaluation.bleed import ALL
from character_ray.evaluation.multiclass import NONE
from character_ray.report.sheet import Section, percent

__all__ = ["bleed_lead", "bleed_sections"]

SIGNIFICANT = 0.05


def bleed_lead(found: Mapping[str, Any]) -> str:
    """One sentence on how personas bleed into one another, by the linear head."""
    another, served = found["bleed"]["rates"][ALL]["another"], found["served"]
    difference = another["difference"]
    # What one model loses to the others may be lost among all answers.
    bled = [name for name, rates in found["bleed"]["rates"].items() if _is_more(rates["another"])]
    models = ["the base" if name == NONE else name for name in bled if name != ALL]
    verdict = "no bleed is seen"
    if bled:
        verdict = (
            f"others bleed into the answers of {', '.join(models)}" if models else "the personas bleed into one another"
        )
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
        "Another: taken for a persona that was not asked. None: a persona's answer that is taken for plain text. The model none is the "
        f"base. A star: p < {SIGNIFICANT}, adjusted (Holm) over the models.",
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
    return [percent(rates["alone"]), percent(rates["served"]), _points(rates["difference"]) + _star(rates)]


def _star(rates: Mapping[str, Any]) -> str:
    return " *" if rates["p_value"] < SIGNIFICANT else ""


def _is_more(rates: Mapping[str, Any]) -> bool:
    """Whether it is more when served than alone, beyond chance."""
    return bool(rates["p_value"] < SIGNIFICANT and rates["difference"]["value"] > 0)


def _points(difference: Mapping[str, Any]) -> str:
    """A difference of shares in points, with its interval."""
    value, low, high = (100 * difference[key] for key in ("value", "low", "high"))
    return f"{value:+.0f} points [{low:+.0f}, {high:+.0f}]"


def _matrix(names: Sequence[str], counts: Sequence[Sequence[int]]) -> list[list[str]]:
    """Counts by row; without the classes that nobody asked."""
    return [[name, *map(str, row)] for name, row in zip(names, counts, strict=True) if sum(row)]
