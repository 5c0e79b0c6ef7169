"""Scored answers become decisions, decisions become the metrics of every arm: for a run, and for an update of one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from character_ray.config import Recipe
from character_ray.constitution import names_itself, vocabulary_pattern
from character_ray.evaluation.measures import Decisions, agreements, arm_metrics, decide, differences, ratings, unrated
from character_ray.pipeline.context import Persona
from character_ray.pipeline.report_parts import probes, samples
from character_ray.rows import Answer, Completion, Prompt
from character_ray.stages.filters import LOOPING, repetition

__all__ = ["Measured", "answer_row", "measure_answers"]


def answer_row(arm: str, prompt: Prompt, sample: int, completion: Completion, score: float = math.nan) -> Answer:
    """What an arm said to a held-out prompt or a probe, as ``answers.parquet`` holds it."""
    return Answer(
        row_id=completion["row_id"],
        arm=arm,
        prompt_id=prompt["prompt_id"],
        source=prompt["source"],
        hint=prompt["hint"],
        sample=sample,
        prompt=prompt["prompt"],
        completion=completion["completion"],
        error=completion["error"],
        score=score,
    )


@dataclass(frozen=True)
class Measured:
    """What was decided about the answers, and the numbers made of it."""

    persona: Persona
    answers: Sequence[Answer]
    arms: Sequence[str]
    decisions: Decisions
    identity: set[str]
    """Ids of the probes that ask for the name."""
    metrics: dict[str, dict[str, Any]]
    """By arm, rating included."""
    rated: dict[str, Any]
    draws: dict[str, int]
    """Seed and resamples of the intervals."""

    def parts(self) -> dict[str, Any]:
        """The parts of ``report.json`` that answers alone decide."""
        return {
            "arms": self.metrics,
            "differences": [
                *self.rated["differences"],
                *differences(self.answers, self.decisions, self.arms, **self.draws),
            ],
            "agreements": agreements(self.answers, self.decisions, **self.draws),
            "tie_share": self.rated["tie_share"],
            "elo_sequential": self.rated["elo"],
            "win_rates": self.rated["win_rates"],
            "samples": samples(self.answers, self.arms),
            "probes": probes(self.persona, self.answers, self.arms),
        }


def measure_answers(
    recipe: Recipe,
    persona: Persona,
    answers: Sequence[Answer],
    arms: Sequence[str],
    threshold: float,
    classifier: Any = None,
    *,
    refused: str = "",
) -> Measured:
    """Decide every answer and measure every arm.

    Args:
        recipe: Seed, resamples, and how arms are rated.
        persona: Whose name and words are looked for.
        answers: Scored answers of all arms.
        arms: In the order of the report.
        threshold: Score above which an answer is in character.
        classifier: Probability of each answer, where there is a classifier.
        refused: Why the judge may not rate the arms, where it may not.
    """
    decisions = decide(
        answers,
        threshold,
        vocabulary_pattern(persona.constitution),
        classifier,
        lambda text: names_itself(persona.constitution, text),
        lambda text: repetition(text) > LOOPING,
    )
    draws = {"seed": recipe.seed, "resamples": recipe.evaluate.bootstrap}
    identity = {probe.prompt["prompt_id"] for probe in persona.probes if probe.kind == "identity"}
    rated = (
        unrated(arms, refused)
        if refused
        else ratings(
            answers,
            arms,
            tie_margin=recipe.judge.tie_margin,
            elo_k=recipe.evaluate.elo_k,
            elo_shuffles=recipe.evaluate.elo_shuffles,
            **draws,
        )
    )
    metrics = {
        arm: {**arm_metrics(answers, decisions, arm, identity, **draws), "rating": rated["rating"][arm]} for arm in arms
    }
    return Measured(persona, answers, arms, decisions, identity, metrics, rated, draws)
