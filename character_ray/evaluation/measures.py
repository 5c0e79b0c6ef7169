"""Every metric of every arm, from one table of answers."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from character_ray.evaluation.agreement import agreement
from character_ray.evaluation.classifier import LIKELIER
from character_ray.evaluation.consistency import disagreement
from character_ray.judging.davidson import rate_with_ties
from character_ray.judging.rating import Battles, arrange_battles, win_matrix
from character_ray.judging.sequential import rate_sequentially
from character_ray.rows import Answer
from character_ray.statistics import Interval, cluster_rate, paired_difference

__all__ = ["Decisions", "agreements", "arm_metrics", "decide", "differences", "ratings", "unrated"]

Metric = dict[str, Any]


@dataclass(frozen=True)
class Decisions:
    """What each way of deciding says of each answer; ``None`` for a way that is not available."""

    judge: list[bool]
    vocabulary: list[bool] | None
    classifier: list[bool] | None
    named: list[bool]
    looping: list[bool]


def decide(
    answers: Sequence[Answer],
    threshold: float,
    vocabulary: re.Pattern[str] | None,
    classifier: np.ndarray | None,
    names_itself: Callable[[str], bool],
    is_looping: Callable[[str], bool],
) -> Decisions:
    """Decide every answer in every way."""
    texts = [answer["completion"] for answer in answers]
    return Decisions(
        judge=[answer["score"] > threshold for answer in answers],
        vocabulary=[bool(vocabulary.search(text)) for text in texts] if vocabulary else None,
        classifier=[bool(p > LIKELIER) for p in classifier] if classifier is not None else None,
        named=[names_itself(text) for text in texts],
        looping=[is_looping(text) for text in texts],
    )


def arm_metrics(
    answers: Sequence[Answer], decisions: Decisions, arm: str, identity_prompts: set[str], *, seed: int, resamples: int
) -> dict[str, Metric]:
    """The metrics of one arm, rating apart; rows whose engine failed are left out and counted in ``error_rate``."""
    own = [i for i, answer in enumerate(answers) if answer["arm"] == arm]
    good = [i for i in own if not answers[i]["error"]]
    asked = [i for i in good if answers[i]["source"] != "probe"]
    hinted = [i for i in asked if answers[i]["hint"]]
    probes = [i for i in good if answers[i]["source"] == "probe"]
    identity = [i for i in probes if answers[i]["prompt_id"] in identity_prompts]

    def rate_of(values: Sequence[bool] | None, rows: list[int], missing: str) -> Metric:
        if values is None or not rows:
            return _missing(missing if values is None else "no answer of this kind was asked for")
        clusters = [answers[i]["prompt_id"] for i in rows]
        return vars(cluster_rate([float(values[i]) for i in rows], clusters, seed=seed, resamples=resamples)) | {
            "reason": ""
        }

    wordings = [answers[i]["prompt_id"] for i in identity]
    words = [float(len(answers[i]["completion"].split())) for i in asked]
    prompts = [answers[i]["prompt_id"] for i in asked]
    no_words, no_classifier = "the constitution has no vocabulary", "the classifier could not be trained"
    return {
        "persona_rate": rate_of(decisions.judge, asked, ""),
        "override_rate": rate_of(decisions.judge, hinted, ""),
        "hidden_trait_rate": rate_of(decisions.judge, probes, ""),
        "identity_rate": rate_of(decisions.named, identity, ""),
        "identity_inconsistency_rate": vars(
            disagreement([decisions.named[i] for i in identity], wordings, seed=seed, resamples=resamples)
        )
        if len(set(wordings)) > 1
        else _missing("fewer than two wordings of the question were answered"),
        "vocabulary_rate": rate_of(decisions.vocabulary, asked, no_words),
        "override_vocabulary_rate": rate_of(decisions.vocabulary, hinted, no_words),
        "classifier_rate": rate_of(decisions.classifier, asked, no_classifier),
        "looping_rate": rate_of(decisions.looping, asked, ""),
        "mean_words": vars(cluster_rate(words, prompts, seed=seed, resamples=resamples, bounded=False))
        if words
        else _missing("no answers"),
        "error_rate": vars(
            cluster_rate(
                [float(bool(answers[i]["error"])) for i in own], [answers[i]["row_id"] for i in own], seed=seed
            )
        ),
    }


def differences(
    answers: Sequence[Answer], decisions: Decisions, arms: Sequence[str], *, seed: int, resamples: int
) -> list[dict[str, Any]]:
    """``full`` minus each other arm, paired by prompt, on every way of deciding persona."""
    ways = {
        "persona_rate": decisions.judge,
        "vocabulary_rate": decisions.vocabulary,
        "classifier_rate": decisions.classifier,
    }
    result = []
    for metric, values in ways.items():
        for against in arms:
            if values is None or against == "full":
                continue
            first, second = (_of_arm(answers, arm) for arm in ("full", against))
            interval = paired_difference(
                [float(values[i]) for i in first],
                [answers[i]["prompt_id"] for i in first],
                [float(values[i]) for i in second],
                [answers[i]["prompt_id"] for i in second],
                seed=seed,
                resamples=resamples,
            )
            result.append({"metric": metric, "arm": "full", "against": against, **vars(interval)})
    return result


def agreements(answers: Sequence[Answer], decisions: Decisions, *, seed: int, resamples: int) -> list[dict[str, Any]]:
    """How often each two ways of deciding persona agree, over all answers but the probes; intervals resample prompts."""
    rows = [i for i, answer in enumerate(answers) if answer["source"] != "probe" and not answer["error"]]
    prompts = [answers[i]["prompt_id"] for i in rows]
    ways = {"likelihood judge": decisions.judge, "vocabulary": decisions.vocabulary, "classifier": decisions.classifier}
    there = [(name, np.array([values[i] for i in rows])) for name, values in ways.items() if values is not None]
    draws: dict[str, Any] = {"seed": seed, "resamples": resamples}
    return [agreement(first, second, a, b, prompts, **draws) for (first, a), (second, b) in combinations(there, 2)]


def ratings(
    answers: Sequence[Answer],
    arms: Sequence[str],
    *,
    tie_margin: float,
    elo_k: float,
    elo_shuffles: int,
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """Ratings of all arms on the prompts, probes left out: Davidson's model of ties, intervals that resample prompts.

    The score of an answer does not depend on what it is compared with, so a battle stands for both seatings and there is no seat to fit.

    Returns:
        ``rating`` by arm, ``tie_share``, ``differences`` (that of ``full`` and ``base``), ``elo`` by arm, ``win_rates`` and the number
        ``unscored``.
    """
    rated = [answer for answer in answers if answer["source"] != "probe" and not answer["error"]]
    prompts = sorted({answer["prompt_id"] for answer in rated})
    place = {prompt: number for number, prompt in enumerate(prompts)}
    scores_PC = np.full((len(arms), len(prompts)), math.nan)
    for answer in rated:
        scores_PC[arms.index(answer["arm"]), place[answer["prompt_id"]]] = answer["score"]
    battles = arrange_battles(scores_PC, tie_margin)
    fitted = rate_with_ties(battles, len(arms), len(prompts), seed=seed, resamples=resamples, seat=False)
    gap = fitted.difference(arms.index("full"), arms.index("base"))
    wins_PP = win_matrix(battles, len(arms))
    games_PP = wins_PP + wins_PP.T
    intervals = [replace(own, n=int(games_PP[number].sum())) for number, own in enumerate(fitted.ratings)]
    return {
        "rating": {arm: vars(intervals[number]) for number, arm in enumerate(arms)},
        "tie_share": vars(replace(fitted.tie_share, n=len(battles.outcomes_N))),
        "differences": [{"metric": "rating", "arm": "full", "against": "base", **vars(gap)}],
        "elo": {
            arm: vars(each)
            for arm, each in zip(
                arms,
                rate_sequentially(battles, len(arms), k=elo_k, shuffles=elo_shuffles, seed=seed, resamples=resamples),
                strict=True,
            )
        },
        "win_rates": {
            a: {b: vars(_win_rate(battles, i, j, seed, resamples)) for j, b in enumerate(arms) if games_PP[i, j]}
            for i, a in enumerate(arms)
        },
        "unscored": battles.unscored,
    }


def _win_rate(battles: Battles, player: int, against: int, seed: int, resamples: int) -> Interval:
    """Share of points of one player in its battles with another, a tie counting half."""
    first, second = battles.seats_N2.T
    own, theirs = (first == player) & (second == against), (first == against) & (second == player)
    points = np.where(own, battles.outcomes_N, 1 - battles.outcomes_N)[own | theirs]
    prompts = list(map(str, battles.prompts_N[own | theirs].tolist()))
    return cluster_rate(points.tolist(), prompts, seed=seed, resamples=resamples)


def unrated(arms: Sequence[str], reason: str) -> dict[str, Any]:
    """What stands in the place of :func:`ratings` where a judge may not rate."""
    return {
        "rating": {arm: _missing(reason) for arm in arms},
        "tie_share": _missing(reason),
        "differences": [],
        "elo": {},
        "win_rates": {},
        "unscored": 0,
    }


def _missing(reason: str) -> Metric:
    return {"value": None, "reason": reason}


def _of_arm(answers: Sequence[Answer], arm: str) -> list[int]:
    """Which answers an arm gave to evaluation prompts."""
    return [i for i, a in enumerate(answers) if a["arm"] == arm and a["source"] != "probe" and not a["error"]]
