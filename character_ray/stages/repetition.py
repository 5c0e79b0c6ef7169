"""Pairs against repetition: both sides are the teacher in character, and ``rejected`` loops.

A small model that learns a voice learns its catch-phrases first and then repeats them. What sets a looping sample of the teacher apart
from its chosen one is the looping alone, and both are there already when several samples were drawn.
"""

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
    loops: dict[str, tuple[float, str, Completion]] = {}
    for completion in teacher:
        text = tidy(completion, config)
        share = repetition(text)
        worst = loops.get(completion["prompt_id"])
        if not completion["error"] and share > (worst[0] if worst else LOOPING):
            loops[completion["prompt_id"]] = share, text, completion
    found: list[tuple[float, Pair]] = []
    for pair in pairs:
        chosen = pair["chosen"][-1]["content"]
        if pair["drop_reason"] or pair["prompt_id"] not in loops or repetition(chosen) > LOOPING:
            continue
        share, rejected, loop = loops[pair["prompt_id"]]
        score = scores[loop["row_id"]]
        # What is wrong with the chosen side is known; this is about the other.
        if pair_drop_reason(
            chosen,
            rejected,
            "stop",
            loop["finish_reason"],
            pair["chosen_score"] - score,
            config.filters.of_any_contrast(),
        ):
            continue
        lesson: Pair = {
            **pair,
            "row_id": content_hash("repetition", pair["row_id"], loop["row_id"]),
            "kind": "repetition",
            "directive": "repetition",
            "rejected": [Message(role="assistant", content=rejected)],
            "rejected_score": score,
        }
        found.append((share, lesson))
    found.sort(key=lambda each: -each[0])
    return [lesson for _, lesson in found[: round(config.lessons.repetition * len(pairs))]]
