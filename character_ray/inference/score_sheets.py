"""Several sheets of completions through one start of the judges.

    sheets of {row_id, prompt, completion}, each under a constitution  ->  {row_id, score}, where the run looks for them

Scored one after the other, the pairs of every persona, or answers and directives of one, would wait for judges that load the same model
anew.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from character_ray.config import JudgeConfig
from character_ray.inference.judge_actors import judged_rows
from character_ray.inference.kept_judges import KeptJudges
from character_ray.inference.likelihood import (
    SCORE,
    ScoreRequest,
    finish_scores,
    score_completions,
    scored_and_pending,
)
from character_ray.inference.systems_judge import SystemsJudge, UnderSystem, score_under_systems
from character_ray.log import stage_progress
from character_ray.parts import append_part
from character_ray.runs import Artefact

__all__ = ["Sheet", "read_sheet", "score_sheets"]


# Sheets come in order, and the prefix of a whole constitution is large.
KEPT = 2


@dataclass(frozen=True)
class Sheet:
    """Completions to score under one constitution, or each under a system prompt of its own."""

    artefact: Artefact
    """Where the scores go."""
    rows: Sequence[ScoreRequest]
    system_prompt: str | None
    """``None`` where every row is an :class:`~character_ray.inference.systems_judge.UnderSystem`."""


def score_sheets(
    label: str, sheets: Sequence[Sheet], base: Path, judge: JudgeConfig, kept: KeptJudges | None = None
) -> None:
    """Score what is left of all sheets; :func:`read_sheet` then reads it.

    Batches go across sheets, so a score differs from one that its sheet alone would have by what rounding makes of another batch.

    Args:
        label: Name of the pass on the progress line.
        sheets: No two with the same artefact.
        base: Folder of the judge's model.
        judge: How judges run.
        kept: Judges of scorings before, where the judge's section keeps them.

    Raises:
        ClusterError: No node that is alive can hold a judge, and none joined in time.
    """
    with ExitStack() as claims:
        for sheet in sorted(sheets, key=lambda sheet: sheet.artefact.folder):
            claims.enter_context(sheet.artefact.claim())
        started = monotonic()
        pending = [scored_and_pending(sheet.artefact, sheet.rows)[1] for sheet in sheets]
        asked = [
            UnderSystem(
                row_id=f"{number} {row['row_id']}",
                prompt=row["prompt"],
                completion=row["completion"],
                system=str(row.get("system", sheet.system_prompt)),
                without=str(row.get("without", row["prompt"])),
            )
            for number, (sheet, rows) in enumerate(zip(sheets, pending, strict=True))
            for row in rows
        ]
        if asked:
            with stage_progress(label, len(asked)) as progress:
                for scored in judged_rows(SystemsJudge, (str(base), judge, KEPT), asked, judge, kept):
                    _put_away(sheets, scored)
                    progress.advance(len(scored))
        wall_s = monotonic() - started
        for sheet, rows in zip(sheets, pending, strict=True):
            finish_scores(sheet.artefact, sheet.rows, wall_s * len(rows) / max(1, len(asked)))


def read_sheet(sheet: Sheet, base: Path, judge: JudgeConfig, kept: KeptJudges | None = None) -> dict[str, float]:
    """Scores of one sheet by row id, those that are missing by judges of its own.

    Raises:
        ClusterError: No node that is alive can hold a judge, and none joined in time.
    """
    artefact = sheet.artefact
    with artefact.claim():
        if sheet.system_prompt is None:
            rows: Any = sheet.rows
            return score_under_systems(artefact.stage, artefact, rows, base, judge, kept)
        return score_completions(artefact.stage, artefact, sheet.rows, base, sheet.system_prompt, judge, kept)


def _put_away(sheets: Sequence[Sheet], scored: Sequence[Mapping[str, Any]]) -> None:
    by_sheet: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in scored:
        number, _, row_id = row["row_id"].partition(" ")
        by_sheet[number].append({"row_id": row_id, "score": row["score"]})
    for number, rows in by_sheet.items():
        append_part(sheets[int(number)].artefact.folder, rows, SCORE)
