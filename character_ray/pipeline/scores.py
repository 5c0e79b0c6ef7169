"""Scores of completions, kept by the run, and what a filter kept of them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from character_ray.constitution import system_prompt
from character_ray.errors import GenerationError
from character_ray.inference.likelihood import ScoreRequest
from character_ray.inference.relevance import relevance_row
from character_ray.inference.score_sheets import Sheet, read_sheet, score_sheets
from character_ray.log import describe_counts
from character_ray.pipeline.context import Context, Persona
from character_ray.rows import Completion, content_hash
from character_ray.runs import Artefact
from character_ray.stages.distill import tidy

__all__ = ["check_dropped", "count_kept", "relevance_sheet", "score", "score_all", "sheet_of", "to_score"]

LONGEST_EXAMPLE = 400  # characters of a dropped text shown in the report


def score(context: Context, persona: Persona, name: str, rows: Sequence[ScoreRequest]) -> dict[str, float]:
    """Likelihood-ratio scores of completions under the persona's constitution."""
    return score_all(context, [sheet_of(context, persona, name, rows)])[0]


def sheet_of(context: Context, persona: Persona, name: str, rows: Sequence[ScoreRequest]) -> Sheet:
    """Completions to score under the persona's constitution, as a stage of this name."""
    inputs = {
        "constitution": persona.constitution.fingerprint,
        "base": context.student.identity,
        "dtype": context.recipe.judge.dtype,
        "rows": content_hash(list(rows)),
    }
    return Sheet(context.artefact(f"{persona.prefix}{name}", inputs), rows, system_prompt(persona.constitution))


def relevance_sheet(context: Context, prefix: str, samples: Sequence[Completion], prompts: Mapping[str, str]) -> Sheet:
    """The teacher's samples, tidied as they would be trained on, to score for their relevance; no constitution is read.

    Args:
        context: The run.
        prefix: The persona's.
        samples: Any of them; a failed or an empty one has nothing to read.
        prompts: What was asked, by prompt id.
    """
    said = [(each, tidy(each, context.recipe.distill.filters)) for each in samples if not each["error"]]
    rows = [relevance_row(each["row_id"], prompts[each["prompt_id"]], text) for each, text in said if text.strip()]
    inputs = {"base": context.student.identity, "dtype": context.recipe.judge.dtype, "rows": content_hash(rows)}
    return Sheet(context.artefact(f"{prefix}scores-relevance", inputs), rows, None)


def score_all(context: Context, sheets: Sequence[Sheet]) -> list[dict[str, float]]:
    """Scores of every sheet by row id; those that wait share a start of the judges."""
    base, judge = context.student.folder, context.recipe.judge
    reused = [sheet.artefact.is_done for sheet in sheets]
    waiting = [sheet for sheet, done in zip(sheets, reused, strict=True) if not done]
    if len(waiting) > 1:
        score_sheets(", ".join(sheet.artefact.stage for sheet in waiting), waiting, base, judge, context.held.judges)
    found = []
    for sheet, done in zip(sheets, reused, strict=True):
        found.append(read_sheet(sheet, base, judge, context.held.judges))
        context.close(sheet.artefact, reused=done)
    return found


def to_score(completion: Completion, prompt: str, text: str) -> ScoreRequest:
    """What a judge reads of a completion."""
    return ScoreRequest(row_id=completion["row_id"], prompt=prompt, completion=text)


def count_kept(rows: Sequence[Any], text_of: Callable[[Any], str]) -> dict[str, Any]:
    """How many rows are kept, and for every reason that dropped one their number and a text it dropped."""
    dropped = Counter(row["drop_reason"] for row in rows if row["drop_reason"])
    examples = {row["drop_reason"]: text_of(row)[:LONGEST_EXAMPLE] for row in reversed(rows) if row["drop_reason"]}
    counts = {"rows_in": len(rows), "rows_out": len(rows) - dropped.total(), "dropped": dict(dropped)}
    return counts | {"drop_examples": examples}


def check_dropped(artefact: Artefact, section: Literal["distill", "introspect"], max_dropped_share: float) -> None:
    """Let no training begin on the few rows that unfit filters leave.

    Args:
        artefact: Written rows of :func:`count_kept`; those that it counts as ``plain`` were never up for dropping.
        section: Of the recipe.
        max_dropped_share: Its bound.

    Raises:
        GenerationError: A larger share was dropped; the reasons are listed by count, and all rows are kept.
    """
    summary = artefact.summary
    rows, dropped = summary["rows_in"] - summary.get("plain", 0), Counter(summary["dropped"])
    if dropped.total() > max_dropped_share * rows:
        raise GenerationError(
            f"{artefact.stage}: {dropped.total():,} of {rows:,} rows are dropped ({describe_counts(dropped)}), more than "
            f"{section}.max_dropped_share={max_dropped_share:g} allows, so training would see next to nothing of what was generated. All "
            f"of them, with their reasons, are in {artefact.folder}. Loosen {section}.filters or mend what writes such rows; if so few are "
            f"meant, raise {section}.max_dropped_share."
        )
