"""Pairs against repetition: both sides are the teacher in character, and ``rejected`` loops.

A small model that learns a voice learns its catch-phrases first and then repeats them. What sets a looping sample of the teacher apart
from its chosen one is the looping alone, and both are there already when several samples were drawn.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from character_ray.config import DistillConfig
from character_ray.rows import Completion, Message, Pair, content_hash
from character_ray.stages.distill import tidy
from character_ray.stages.filters import LOOPING, pair_drop_reason, repetition

__all__ = ["repetition_pairs"]


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
    samples: dict[str, list[Completion]] = defaultdict(list)
    for completion in teacher:
        if not completion["error"] and repetition(tidy(completion, config)) > LOOPING:
            samples[completion["prompt_id"]].append(completion)
    found: list[tuple[float, Pair]] = []
    filters = config.filters.model_copy(update={"min_contrast": float("-inf")})
    for pair in pairs:
        looping = samples[pair["prompt_id"]]
        if pair["drop_reason"] or not looping:
            continue
        chosen = pair["chosen"][-1]["content"]
        worst = max(looping, key=lambda sample: repetition(tidy(sample, config)))
        rejected, score = tidy(worst, config), scores[worst["row_id"]]
        if repetition(chosen) > LOOPING or pair_drop_reason(
            chosen, rejected, "stop", worst["finish_reason"], pair["chosen_score"] - score, filters
        ):
            continue
        lesson: Pair = {
            **pair,
            "row_id": content_hash("repetition", pair["row_id"], worst["row_id"]),
            "kind": "repetition",
            "directive": "repetition",
            "rejected": [Message(role="assistant", content=rejected)],
            "rejected_score": score,
        }
        found.append((repetition(rejected), lesson))
    found.sort(key=lambda each: -each[0])
    return [lesson for _, lesson in found[: round(config.lessons.repetition * len(pairs))]]
