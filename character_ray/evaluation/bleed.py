"""Do personas that are served together bleed into one another? A classifier reads what each said alone and what it said beside the others.

    texts of known class + answers, alone and served -> five trainings, each blind to a fifth of the prompts -> who each is taken for

A classifier errs, so an answer that is taken for another persona's need not be one. The same classifier reads what the persona said alone
to the same prompt: what it takes wrongly there is its own error, and bleed is what the served answers have beyond that.

Axes: N texts, M answers, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from character_ray.evaluation.held_out import LabelledText, fold_prompts
from character_ray.evaluation.multiclass import NONE, Learner, class_names
from character_ray.statistics import cluster_rate, holm, paired_difference, paired_test

__all__ = ["ALL", "AnswerPair", "measure_bleed"]

When = Literal["alone", "served"]
ALL = "all"
"""Stands for every model that was asked, beside their names."""


@dataclass(frozen=True)
class AnswerPair:
    """What one model said to one prompt, alone and beside the others."""

    asked: str
    """Class of the model: a persona, or ``none`` for the base."""
    prompt: str
    alone: str
    served: str


def measure_bleed(
    rows: Sequence[LabelledText],
    answers: Sequence[AnswerPair],
    learn: Learner,
    *,
    seed: int,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Who the answers are taken for, and how much oftener than alone for somebody who was not asked.

    Args:
        rows: What the classifier learns, of two personas or more.
        answers: At least one; each is read by a training that saw neither its prompt nor the same text.
        learn: Over the texts of the rows, then all answers alone, then all as they were served.
        seed: Seed of the folds and of the intervals.
        resamples: Bootstrap resamples of the intervals.

    Returns:
        ``classes``; ``num_answers``; ``confusion``, by ``alone`` and ``served``, asked (rows) by taken for (columns); and by each model
        asked and for ``all`` together ``another``, the rate at which its answers are taken for a persona that was not asked, and
        ``none``, of personas, the rate at which they are taken for plain: each ``alone``, ``served``, as their ``difference`` by prompt,
        and with the ``p_value`` of that, adjusted (Holm) over all models.
    """
    names = class_names(rows)
    asked_M = np.array([names.index(answer.asked) for answer in answers])
    prompts = [answer.prompt for answer in answers]
    taken = _taken_for(rows, answers, learn, names, seed)
    draws: dict[str, Any] = {"seed": seed, "resamples": resamples}

    def rates(is_so: Callable[[np.ndarray], np.ndarray], among_M: np.ndarray) -> dict[str, Any]:
        clusters = [prompt for prompt, counts in zip(prompts, among_M, strict=True) if counts]
        alone, served = (is_so(taken[when])[among_M].astype(float).tolist() for when in ("alone", "served"))
        return {
            "alone": vars(cluster_rate(alone, clusters, **draws)),
            "served": vars(cluster_rate(served, clusters, **draws)),
            "difference": vars(paired_difference(served, clusters, alone, clusters, **draws)),
            "p_value": paired_test(served, alone, clusters, seed=seed)[0],
        }

    def of(among_M: np.ndarray) -> dict[str, Any]:
        personas_M = among_M & (asked_M > 0)
        found = {"another": rates(lambda taken_M: (taken_M != asked_M) & (taken_M > 0), among_M)}
        if personas_M.any():
            found["none"] = rates(lambda taken_M: taken_M == 0, personas_M)
        return found

    found = {ALL: of(np.ones(len(answers), dtype=bool))}
    found |= {names[place]: of(asked_M == place) for place in np.unique(asked_M)}
    for kind in ("another", "none"):
        own = [each[kind] for each in found.values() if kind in each]
        for each, adjusted in zip(own, holm([each["p_value"] for each in own]), strict=True):
            each["p_value"] = adjusted
    return {
        "classes": names,
        "num_answers": len(answers),
        "confusion": {when: _confusion(asked_M, taken[when], len(names)) for when in ("alone", "served")},
        "rates": found,
    }


def _taken_for(
    rows: Sequence[LabelledText], answers: Sequence[AnswerPair], learn: Learner, names: Sequence[str], seed: int
) -> dict[When, np.ndarray]:
    """Place of the likeliest class of every answer, each of shape ``(M,)``."""
    num_rows, num_answers = len(rows), len(answers)
    said = [answer.alone for answer in answers] + [answer.served for answer in answers]
    prompts = [row.prompt for row in rows] + [answer.prompt for answer in answers] * 2
    texts, is_row = [*(row.text for row in rows), *said], np.arange(len(prompts)) < num_rows
    folds = fold_prompts(prompts, seed)
    masks = []
    for fold in folds:
        read = {text for text, counts in zip(texts, fold & ~is_row, strict=True) if counts}
        masks.append(is_row & ~fold & np.array([text not in read for text in texts], dtype=bool))
    # The answers' own labels are never looked at: no mask holds them.
    labels = np.array([names.index(row.label) for row in rows] + [names.index(NONE)] * len(said))
    taken = np.zeros(len(said), dtype=int)
    for fold, logits in zip(folds, learn(masks, labels, len(names)), strict=True):
        own = fold[num_rows:]
        taken[own] = logits[num_rows:][own].argmax(1)
    return {"alone": taken[:num_answers], "served": taken[num_answers:]}


def _confusion(asked_M: np.ndarray, taken_M: np.ndarray, num_classes: int) -> list[list[int]]:
    counts_KK = np.zeros((num_classes, num_classes), dtype=int)
    np.add.at(counts_KK, (asked_M, taken_M), 1)
    found: list[list[int]] = counts_KK.tolist()
    return found
