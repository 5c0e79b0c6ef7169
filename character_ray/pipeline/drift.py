"""Drift of every arm of a finished run from the untrained weights, on plain prompts.

answers.parquet, adapters -> drift.json, drift.html
"""

from pathlib import Path
from typing import Any

from character_ray.config import Arm
from character_ray.errors import ReportError
from character_ray.evaluation.drift import answer_drift
from character_ray.pipeline.finished import FinishedRun
from character_ray.pipeline.ray_session import ray_session
from character_ray.report.page import link_pages
from character_ray.report.plots import Dot, dot_plot, round_ticks
from character_ray.report.sheet import Plot, Section, Sheet, write_sheet
from character_ray.runs import write_json
from character_ray.statistics import cluster_rate, paired_difference

__all__ = ["drift_run", "drift_sheet"]


def drift_run(folder: Path) -> dict[str, Any]:
    """Measure and write the drift of every arm.

    Raises:
        ReportError: The run is not finished, or no held-out prompt is without a hint.
    """
    run = FinishedRun.open(folder)
    if not any(not answer["hint"] for answer in run.answers):
        raise ReportError(
            f"{folder} has no answer to a plain prompt: every prompt tries to override the persona. Lower evaluate.override_share."
        )
    with ray_session(run.recipe, folder, does=["measure"]):
        found = run.on_ray(_drift, run)
    write_json(folder / "drift.json", found)
    write_sheet(drift_sheet(found), folder / "drift.html")
    link_pages(folder)
    return found


def _drift(run: FinishedRun) -> dict[str, Any]:
    recipe, arms = run.recipe, run.arms
    reader = run.reader(arms)
    per_token: dict[Arm, tuple[list[float], list[str]]] = {}
    for arm in arms:
        if arm == "base":
            continue
        answers = [answer for answer in run.answers if answer["arm"] == arm and not answer["hint"]]
        own = [reader.passage(run.chat(arm, answer["prompt"]), answer["completion"]) for answer in answers]
        plain = [reader.passage(run.chat("base", answer["prompt"]), answer["completion"]) for answer in answers]
        drift = answer_drift(reader, arm, own, plain, recipe.judge.batch_size)
        per_token[arm] = drift.tolist(), [answer["prompt_id"] for answer in answers]
    draws: dict[str, Any] = {"seed": recipe.seed, "resamples": recipe.evaluate.bootstrap}
    return {
        "format": 1,
        "run": run.folder.name,
        "model": recipe.student.name,
        "command": f"character-ray drift {run.folder}",
        "arms": {
            arm: vars(cluster_rate(values, prompts, bounded=False, **draws))
            for arm, (values, prompts) in per_token.items()
        },
        "differences": [
            {
                "arm": "full",
                "against": arm,
                **vars(paired_difference(*per_token["full"], *each, bounded=False, **draws)),
            }
            for arm, each in per_token.items()
            if arm != "full" and set(each[1]) & set(per_token["full"][1])
        ],
    }


def drift_sheet(found: dict[str, Any]) -> Sheet:
    """The page of a ``drift.json``."""
    arms = found["arms"]
    ends = [0.0, *(each["high"] for each in arms.values())]
    dots = [
        Dot(arm, each["value"], each["low"], each["high"], _nats(each), "headline" if arm == "full" else "weights")
        for arm, each in arms.items()
    ]
    plot = dot_plot("Drift by arm", dots, round_ticks(min(ends), max(ends), 3), lambda tick: f"{tick:.2g}")
    rows = [[f"full minus {each['against']}", _nats(each), str(each["n"])] for each in found["differences"]]
    return Sheet(
        "Drift from base",
        found["run"],
        [
            f"Per token of its own answers to plain prompts, the trained model is {_nats(arms['full'])} nats from {found['model']} "
            "as it was."
        ],
        [
            Section(
                "By arm",
                [
                    "Mean over an answer's tokens of the divergence between what the arm and what the untrained weights would say next, "
                    "exact over the vocabulary. An arm with the constitution in its context drifts through its context alone."
                ],
                [
                    Plot(
                        "Nats per token",
                        f"With 95 % intervals by prompt; n = {arms['full']['n']} answers of each arm.",
                        plot,
                    )
                ],
                ["difference, paired by prompt", "nats per token", "prompts"],
                rows,
            ),
            Section("How", [f"Made by: {found['command']}."]),
        ],
    )


def _nats(interval: dict[str, Any]) -> str:
    return f"{interval['value']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"
