"""Contradictions within answers and conversations, by a model of natural language inference that is measured first.

answers, erosion replies, known pairs -> pairs of statements -> p(contradiction) -> threshold on known pairs -> rates by arm
"""

from collections.abc import Mapping, Sequence
from typing import Any

from character_ray.evaluation.coherence import RATES, Said, contradiction_rate, statement_pairs, statements
from character_ray.inference.likelihood import ScoreRequest
from character_ray.inference.nli import resolve_nli, score_contradictions
from character_ray.judging.threshold import fit_threshold
from character_ray.models import model_hash
from character_ray.pipeline.context import Context
from character_ray.prompts.files import read_data
from character_ray.rows import Answer, Challenged, content_hash

__all__ = ["coherence_report"]

UNNAMED = "no model of natural language inference is named (evaluate.coherence.nli), and none is packaged"


def coherence_report(
    context: Context, answers: Sequence[Answer], tried: Sequence[Challenged], arms: Sequence[str]
) -> dict[str, Any]:
    """The report's part on contradictions; without a model, or with one that knows none, every rate is null with the reason.

    Args:
        context: The run.
        answers: Answers to evaluation prompts and probes; probes are left out.
        tried: Answers to challenges; of these the erosion conversations.
        arms: Arms in the order of the report.
    """
    config = context.recipe.evaluate.coherence
    if config.nli is None:
        return {"model": "", "reason": UNNAMED, "rates": _none(arms, UNNAMED)}
    said = {RATES[0]: _answers(answers, config.statements), RATES[1]: _conversations(tried)}
    known = read_data("coherence.yaml")
    sides = {
        side: {f"known/{side}/{number}": tuple(pair) for number, pair in enumerate(known[side])}
        for side in ("contradicting", "agreeing")
    }
    pairs = {**sides["contradicting"], **sides["agreeing"]}
    for each in (each for group in said.values() for each in group):
        pairs |= statement_pairs(each)
    scores = _score(context, pairs)
    threshold = fit_threshold(*([scores[row_id] for row_id in side] for side in sides.values()))
    facts = {"model": config.nli.name, "threshold": threshold.value, **threshold.quality}
    if threshold.auc < config.min_auc:
        reason = (
            f"{config.nli.name} tells known contradictions from statements that agree with an AUC of {threshold.auc:.3f}, below "
            f"{config.min_auc:g} (evaluate.coherence.min_auc)"
        )
        return {**facts, "reason": reason, "rates": _none(arms, reason)}
    draws = {"seed": context.recipe.seed, "resamples": context.recipe.evaluate.bootstrap}
    return {
        **facts,
        "rates": {
            arm: {
                name: contradiction_rate([each for each in group if each.arm == arm], scores, threshold.value, **draws)
                for name, group in said.items()
            }
            for arm in arms
        },
    }


def _answers(answers: Sequence[Answer], most: int) -> list[Said]:
    return [
        Said(
            f"answer/{each['arm']}/{each['row_id']}",
            each["arm"],
            each["prompt_id"],
            statements(each["completion"], most),
        )
        for each in answers
        if each["source"] != "probe" and not each["error"]
    ]


def _conversations(tried: Sequence[Challenged]) -> list[Said]:
    """Every reply of a conversation beside every other; a reply that repeats an earlier one says nothing new."""
    replies: dict[tuple[str, str], dict[str, None]] = {}
    for row in tried:
        if row["group"] == "erosion" and not row["error"]:
            replies.setdefault((row["arm"], row["challenge_id"]), {})[row["completion"].strip()] = None
    return [
        Said(f"talk/{arm}/{script}", arm, script, tuple(reply for reply in own if reply))
        for (arm, script), own in replies.items()
    ]


def _score(context: Context, pairs: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    config, judge = context.recipe.evaluate.coherence.nli, context.recipe.judge
    assert config is not None
    folder, contradiction = resolve_nli(config)
    rows = [
        ScoreRequest(row_id=row_id, prompt=premise, completion=hypothesis)
        for row_id, (premise, hypothesis) in pairs.items()
    ]
    inputs = {"model": model_hash(folder), "dtype": judge.dtype, "rows": content_hash(rows)}
    artefact = context.artefact("scores-contradictions", inputs)
    reused = artefact.is_done
    with artefact.claim():
        scores = score_contradictions(artefact.stage, artefact, rows, folder, contradiction, judge, context.held.judges)
    context.close(artefact, reused=reused)
    return scores


def _none(arms: Sequence[str], reason: str) -> dict[str, dict[str, dict[str, Any]]]:
    return {arm: {name: {"value": None, "reason": reason} for name in RATES} for arm in arms}
