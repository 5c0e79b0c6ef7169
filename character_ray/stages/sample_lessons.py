"""Pairs of the teacher's own samples of one prompt: both in character, one better text than the other.

    repetition  ``rejected`` loops where ``chosen`` does not
    relevance   ``rejected`` says least about what was asked

A small model trained on a voice repeats its catch-phrases and answers with them whatever was asked. Samples of the teacher do so, too:
what sets such a one apart from the chosen is that alone, and both are there already when several were drawn.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from character_ray.config import DistillConfig
from character_ray.rows import Completion, Message, Pair, PairKind, content_hash
from character_ray.stages.distill import tidy
from character_ray.stages.filters import LOOPING, pair_drop_reason, repetition

__all__ = ["relevance_pairs", "repetition_pairs"]


def repetition_pairs(
    pairs: Sequence[Pair], teacher: Sequence[Completion], scores: Mapping[str, float], config: DistillConfig
) -> list[Pair]:
    """For each kept pair whose prompt the teacher also answered in a loop, ``chosen`` against the sample that loops most.

    Args:
        pairs: The contrast's pairs.
        teacher: All samples, any order.
        scores: Likelihood-ratio score by row id, in nats per token.
        config: ``lessons.repetition`` is the largest number of such pairs, as a share of ``len(pairs)``. A sample loops above the
            share of repeated n-grams at which the evaluation says so, and the looping side must pass the other filters.

    Returns:
        Pairs of kind ``repetition``, those whose rejected side loops most first.
    """
    loops: dict[str, tuple[float, Completion]] = {}
    for completion in teacher:
        share = repetition(tidy(completion, config.filters))
        worst = loops.get(completion["prompt_id"])
        if not completion["error"] and share > (worst[0] if worst else LOOPING):
            loops[completion["prompt_id"]] = share, completion
    found: list[tuple[float, Pair]] = []
    for pair in pairs:
        if pair["prompt_id"] not in loops or repetition(pair["chosen"][-1]["content"]) > LOOPING:
            continue
        share, loop = loops[pair["prompt_id"]]
        lesson = _lesson("repetition", pair, loop, scores, config)
        if lesson:
            found.append((share, lesson))
    return _strongest(found, round(config.lessons.repetition * len(pairs)))


def relevance_pairs(
    pairs: Sequence[Pair],
    teacher: Sequence[Completion],
    scores: Mapping[str, float],
    relevance: Mapping[str, float],
    config: DistillConfig,
) -> list[Pair]:
    """For each kept pair, ``chosen`` against the sample in character that says least about what was asked.

    Args:
        pairs: The contrast's pairs.
        teacher: All samples, any order.
        scores: Likelihood-ratio score by row id, in nats per token.
        relevance: By row id of a sample, in nats per token of the prompt (:mod:`character_ray.inference.relevance`).
        config: ``lessons.relevance`` is the largest number of such pairs, as a share of ``len(pairs)``. The rejected side is in
            character, ``min_contrast`` above the contrast's own rejected side, can be read, and does not loop.

    Returns:
        Pairs of kind ``relevance``, those whose sides lie farthest apart first.
    """
    samples: dict[str, list[Completion]] = defaultdict(list)
    for completion in teacher:
        if not math.isnan(relevance.get(completion["row_id"], math.nan)):
            samples[completion["prompt_id"]].append(completion)
    found: list[tuple[float, Pair]] = []
    for pair in pairs:
        known = sorted(samples[pair["prompt_id"]], key=lambda row: relevance[row["row_id"]])
        chosen = next((row for row in known if tidy(row, config.filters) == pair["chosen"][-1]["content"]), None)
        if chosen is None:
            continue
        for other in known:
            gap = relevance[chosen["row_id"]] - relevance[other["row_id"]]
            if gap <= 0:
                break
            if scores[other["row_id"]] - pair["rejected_score"] < config.filters.min_contrast:
                continue
            if repetition(tidy(other, config.filters)) > LOOPING:
                continue
            lesson = _lesson("relevance", pair, other, scores, config)
            if lesson:
                found.append((gap, lesson))
                break
    return _strongest(found, round(config.lessons.relevance * len(pairs)))


def _lesson(
    kind: PairKind, pair: Pair, rejected: Completion, scores: Mapping[str, float], config: DistillConfig
) -> Pair | None:
    """``chosen`` of a kept pair against another sample; ``None`` where one of them may not be trained on."""
    chosen, text = pair["chosen"][-1]["content"], tidy(rejected, config.filters)
    score = scores[rejected["row_id"]]
    # What is wrong with the chosen side is known; this is about the other.
    reason = pair["drop_reason"] or pair_drop_reason(
        chosen,
        text,
        "stop",
        rejected["finish_reason"],
        pair["chosen_score"] - score,
        config.filters.of_any_contrast(),
    )
    if reason:
        return None
    return {
        **pair,
        "row_id": content_hash(kind, pair["row_id"], rejected["row_id"]),
        "kind": kind,
        "directive": kind,
        "rejected": [Message(role="assistant", content=text)],
        "rejected_score": score,
    }


def _strongest(found: Sequence[tuple[float, Pair]], most: int) -> list[Pair]:
    """Of lessons with how much each teaches, those that teach most, most first."""
    return [lesson for _, lesson in sorted(found, key=lambda each: -each[0])[:most]]
