"""Mechanistic probes of a finished run: where in the network the persona can be read, and whether it can be pushed there.

answers.parquet, adapters -> probes.json, probes.html
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from character_ray.constitution import system_prompt
from character_ray.errors import ReportError
from character_ray.evaluation.probing.causal import choose_layer, intervene
from character_ray.evaluation.probing.contrasts import probe_contrasts, read_sides
from character_ray.evaluation.probing.layers import mean_difference
from character_ray.inference.likelihood import LikelihoodJudge
from character_ray.pipeline.finished import FinishedRun
from character_ray.pipeline.probe_sheet import probe_sheet
from character_ray.pipeline.ray_session import ray_session
from character_ray.report.io import load_report
from character_ray.report.page import link_pages
from character_ray.report.sheet import write_sheet
from character_ray.runs import write_json
from character_ray.stages.filters import LOOPING, repetition

__all__ = ["probe_run"]

MIN_PROMPTS = 8


@dataclass(frozen=True)
class _Work:
    run: FinishedRun
    threshold: float
    prompts: list[tuple[str, str]]
    """Id and text."""
    said: dict[str, list[str]]
    """Answers by arm, in the order of the prompts."""
    strengths: Sequence[float]
    controls: int
    layer: int | None


def probe_run(
    folder: Path, *, strengths: Sequence[float] = (0.5, 1.0, 2.0), controls: int = 2, layer: int | None = None
) -> dict[str, Any]:
    """Probe every layer, test the "distinct clusters" prediction and intervene; write and return what was found.

    Args:
        folder: A finished run.
        strengths: Multiples of the persona direction that are added to the untrained model.
        controls: Random directions of equal length beside each intervention.
        layer: Where the direction is added, from 1; by default the middle layer where it separates best.

    Raises:
        ReportError: The run is not finished, fewer than eight prompts were answered by both arms, or it has no such layer.
    """
    run = FinishedRun.open(folder)
    threshold = load_report(folder / "report.json").judge.threshold
    arms = [arm for arm in run.arms if arm in ("base", "prompted", "full")]
    by_key = {(answer["arm"], answer["prompt_id"]): answer for answer in run.answers}
    asked = {answer["prompt_id"]: answer["prompt"] for answer in run.answers}
    shared = [(key, text) for key, text in asked.items() if all((arm, key) in by_key for arm in arms)]
    if len(shared) < MIN_PROMPTS:
        raise ReportError(
            f"{folder}: base and full both answered {len(shared)} held-out prompts, and a probe needs {MIN_PROMPTS}, half of them to "
            "learn from. Raise evaluate.grid or evaluate.everyday and run the recipe again."
        )
    said: dict[str, list[str]] = {arm: [by_key[arm, key]["completion"] for key, _ in shared] for arm in arms}
    work = _Work(run, threshold, shared, said, tuple(strengths), controls, layer)
    with ray_session(run.recipe, folder, does=["measure"]):
        found = run.on_ray(_probe, work)
    write_json(folder / "probes.json", found)
    write_sheet(probe_sheet(found), folder / "probes.html")
    link_pages(folder)
    return found


def _probe(work: _Work) -> dict[str, Any]:
    run, recipe = work.run, work.run.recipe
    judge = LikelihoodJudge(str(run.base), system_prompt(run.persona.constitution), recipe.judge)
    reader = run.reader(["full"])
    if work.layer is not None and not 1 <= work.layer <= len(reader.layers):
        raise ReportError(
            f"--layer {work.layer}: the model has layers 1 to {len(reader.layers)}. Give one of them, or leave the option out."
        )
    keys = [key for key, _ in work.prompts]
    chats = [run.chat("base", text) for _, text in work.prompts]
    passages = {
        arm: [
            reader.passage(run.chat("prompted", text) if arm == "prompted" else chat, answer)
            for (_, text), chat, answer in zip(work.prompts, chats, answers, strict=True)
        ]
        for arm, answers in work.said.items()
    }
    size = recipe.judge.batch_size
    sides = read_sides(reader, passages, size)
    found = probe_contrasts(sides, keys, seed=recipe.seed, resamples=recipe.evaluate.bootstrap)

    order = np.random.default_rng(recipe.seed).permutation(len(keys))
    fitted, tested = order[: len(order) // 2], order[len(order) // 2 :]
    inside, outside = (sides[arm, arm].answer_NLD[fitted] for arm in ("full", "base"))
    layer = choose_layer(inside, outside) if work.layer is None else work.layer - 1
    direction = mean_difference(
        np.concatenate([inside[:, layer], outside[:, layer]]), np.repeat([True, False], len(fitted))
    )

    def in_character(prompts: Sequence[str], completions: Sequence[str]) -> list[bool]:
        # A judge reads at least one token; an empty answer is not in character.
        verdicts = [False] * len(completions)
        there = [number for number, text in enumerate(completions) if text.strip()]
        for first in range(0, len(there), size):
            rows = there[first : first + size]
            columns = {
                "row_id": [str(row) for row in rows],
                "prompt": [prompts[row] for row in rows],
                "completion": [completions[row] for row in rows],
            }
            for row, value in zip(rows, judge(columns)["score"], strict=True):
                verdicts[row] = bool(value > work.threshold)
        return verdicts

    causal = intervene(
        reader,
        layer,
        direction,
        [chats[place] for place in tested],
        [work.prompts[place][1] for place in tested],
        in_character,
        lambda text: repetition(text) > LOOPING,
        strengths=work.strengths,
        controls=work.controls,
        sampling=recipe.evaluate.sampling,
        seed=recipe.seed,
        batch_size=size,
    )
    return {
        "format": 1,
        "run": run.folder.name,
        "persona": run.persona.constitution.meta.name,
        "model": recipe.student.name,
        "command": f"character-ray probe {run.folder}",
        "seed": recipe.seed,
        "num_prompts": len(keys),
        "num_layers": len(reader.layers),
        **found,
        "causal": {
            "layer": layer + 1,
            "direction_norm": float(np.linalg.norm(direction)),
            "stream_norm": float(np.linalg.norm(outside[:, layer], axis=1).mean()),
            "fitted_on": len(fitted),
            "tested_on": len(tested),
            "controls": work.controls,
            "threshold": work.threshold,
            **causal,
        },
    }
