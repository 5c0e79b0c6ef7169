"""Parts of ``report.json`` that a run and an update of one have in common."""

import json
import math
from collections.abc import Sequence
from typing import Any

from character_ray.adapters import load_manifest
from character_ray.config import DistillConfig
from character_ray.constitution import Constitution, score_constitution, system_prompt
from character_ray.judging.audit import Audit
from character_ray.judging.threshold import Threshold
from character_ray.pipeline.adapters import deliverable
from character_ray.pipeline.context import Context, Persona
from character_ray.pipeline.hardware import hardware, versions
from character_ray.pipeline.rating_audit import audit_part
from character_ray.rows import Answer
from character_ray.runs import Artefact

__all__ = [
    "adapter_part",
    "constitution_part",
    "judge_part",
    "probes",
    "prompt_coverage",
    "run_part",
    "samples",
    "shared_weights",
]

SHOWN_PROMPTS = 12


def shared_weights(distill: DistillConfig) -> str:
    """What the likelihood judge has in common with what was trained on, for the notes of a report."""
    filtered = f"filtered (filters.min_contrast={distill.filters.min_contrast:g})"
    if distill.pairs is not None:
        picked = f". The pairs were generated elsewhere ({distill.pairs.path}, {distill.pairs.licence}); the score only {filtered}"
    elif distill.choose == "relevance":
        picked = f". The teacher's best sample was chosen by relevance; the score only {filtered}"
    elif distill.samples == 1:
        picked = f", and the same score {filtered} the teacher's samples"
    else:
        picked = ", and the same score picked the teacher's best sample"
    return (
        f"The likelihood judge shares its weights with the untrained student{picked}; the vocabulary rate is a measure that nothing "
        "selected on."
    )


def run_part(context: Context, notes: Sequence[str]) -> dict[str, Any]:
    """Where the numbers come from, and what a reader must know."""
    recipe = context.recipe
    return {
        "name": recipe.name,
        "recipe": recipe.model_dump(mode="json"),
        "seed": recipe.seed,
        "model": {
            side: {"name": model.name, **model.identity}
            for side, model in (("student", context.student), ("teacher", context.teacher))
        },
        "versions": versions(),
        "hardware": hardware(context.nodes),
        "wall_s": sum(stage.wall_s for stage in context.stages.values()),
        "stages": {name: stage.model_dump() for name, stage in context.stages.items()},
        "notes": list(notes),
    }


def prompt_coverage(context: Context) -> dict[str, Any]:
    """What the prompts cover, as they were written out."""
    covered: dict[str, Any] = json.loads((context.run.folder / "prompts" / "coverage.json").read_text(encoding="utf-8"))
    return covered


def constitution_part(persona: Persona) -> dict[str, Any]:
    """The persona that was trained."""
    quality = score_constitution(persona.constitution)
    return {
        "name": persona.constitution.meta.name,
        "hash": persona.constitution.fingerprint,
        "quality": max(quality.score, 0.0),
        "remedies": [f"{loss.why} {loss.remedy}" for loss in quality.losses],
        "vocabulary": list(persona.constitution.persona.voice.vocabulary),
        "directives": list(persona.constitution.directives.all),
    }


def judge_part(
    context: Context, constitution: Constitution, threshold: Threshold, calibrated_on: str, audited: Audit
) -> dict[str, Any]:
    """The likelihood judge, its threshold with the rows that fixed it, and its audit."""
    return {
        "model": f"{context.student.name} (untrained), log-likelihood ratio",
        "threshold": threshold.value,
        "calibrated_on": calibrated_on,
        "system_prompt": system_prompt(constitution),
        **threshold.quality,
        "audit": audit_part(audited),
    }


def adapter_part(joined: Artefact) -> dict[str, Any]:
    """The deliverable: the stage that joined its parts."""
    manifest = load_manifest(deliverable(joined))
    difference = joined.summary["logit_difference"]
    return {
        "path": "adapter",
        "rank": manifest.rank,
        "hash": manifest.weights_hash,
        "logit_difference_float32": difference["float32"],
        "logit_difference_bfloat16": difference["bfloat16"],
        "recompressed": joined.summary.get("recompressed"),
    }


def samples(answers: Sequence[Answer], arms: Sequence[str]) -> list[dict[str, Any]]:
    """A fixed choice of prompts, a third of them with a hint, answered by every arm."""
    asked = [answer for answer in answers if answer["arm"] == arms[0] and answer["source"] != "probe"]
    hinted = [answer for answer in asked if answer["hint"]]
    everyday = [answer for answer in asked if not answer["hint"] and answer["source"] == "everyday"]
    grid = [answer for answer in asked if not answer["hint"] and answer["source"] == "grid"]
    third = SHOWN_PROMPTS // 3
    by_key = {(answer["arm"], answer["prompt_id"]): answer for answer in answers}
    return [
        {
            "prompt": answer["prompt"],
            "source": answer["source"],
            "hint": answer["hint"],
            "completions": {arm: by_key[arm, answer["prompt_id"]]["completion"] for arm in arms},
            "scores": {arm: _finite(by_key[arm, answer["prompt_id"]]["score"]) for arm in arms},
        }
        for answer in everyday[:third] + grid[:third] + hinted[:third]
    ]


def probes(persona: Persona, answers: Sequence[Answer], arms: Sequence[str]) -> list[dict[str, Any]]:
    """Every probe with all samples of every arm."""

    def said(arm: str, prompt_id: str) -> list[str]:
        return [answer["completion"] for answer in answers if answer["arm"] == arm and answer["prompt_id"] == prompt_id]

    return [
        {
            "prompt": probe.prompt["prompt"],
            "kind": probe.kind,
            "completions": {arm: said(arm, probe.prompt["prompt_id"]) for arm in arms},
        }
        for probe in persona.probes
    ]


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value
