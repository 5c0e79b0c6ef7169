"""Distillation: the teacher plays the persona, the rejected side does not, and the pair is the lesson.

    prompts -> teacher requests (K samples each)     -> completions -> scores
            -> student requests or opposite requests -> completions -> scores
            -> pairs {prompt, chosen, rejected, chosen_score, rejected_score, drop_reason}

Nothing is dropped here: a row that must not be trained on says why in ``drop_reason``.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from character_ray.config import DistillConfig, FilterConfig
from character_ray.constitution import Constitution, teacher_messages
from character_ray.rows import Completion, Message, Pair, Prompt, Request, content_hash
from character_ray.spoken import trim_unfinished, without_thoughts
from character_ray.stages.filters import pair_drop_reason
from character_ray.stages.requests import build_request
from character_ray.stages.thoughts import begin_thought, ends_its_thought

__all__ = ["build_pairs", "opposite_requests", "student_requests", "teacher_requests", "tidy"]


def teacher_requests(
    prompts: Sequence[Prompt], constitution: Constitution, config: DistillConfig, seed: int
) -> list[Request]:
    """K requests per prompt under system prompt and example turns, repetitions of a prompt side by side."""
    return [
        build_request(
            "teacher",
            prompt["prompt_id"],
            begin_thought(teacher_messages(constitution, prompt["prompt"]), config.think_prefill, constitution),
            config.teacher,
            sample=sample,
            seed=seed,
        )
        for prompt in prompts
        for sample in range(config.samples)
    ]


def opposite_requests(
    prompts: Sequence[Prompt], opposite: Constitution, config: DistillConfig, seed: int
) -> list[Request]:
    """One request per prompt to the teacher in the opposite character, drawn as the teacher's own are."""
    return [
        build_request(
            "opposite",
            prompt["prompt_id"],
            begin_thought(teacher_messages(opposite, prompt["prompt"]), config.think_prefill, opposite),
            config.teacher,
            seed=seed,
        )
        for prompt in prompts
    ]


def student_requests(prompts: Sequence[Prompt], config: DistillConfig, seed: int) -> list[Request]:
    """One request per prompt, plain."""
    return [
        build_request(
            "student", prompt["prompt_id"], [Message(role="user", content=prompt["prompt"])], config.student, seed=seed
        )
        for prompt in prompts
    ]


def tidy(completion: Completion, filters: FilterConfig) -> str:
    """The text to train on: without thoughts and, where it may be unfinished, cut to the last full sentence.

    Thoughts that never end stay; the control token they hold, or the recipe's ``think_prefill``, drops the row.
    """
    text = without_thoughts(completion["completion"])
    if filters.allow_unfinished and completion["finish_reason"] == "length":
        return trim_unfinished(text, filters.min_words)
    return text


def build_pairs(
    prompts: Sequence[Prompt],
    teacher: Sequence[Completion],
    rejected: Sequence[Completion],
    scores: Mapping[str, float],
    config: DistillConfig,
    relevance: Mapping[str, float] | None = None,
) -> list[Pair]:
    """One pair per prompt: the best teacher sample that passes the filters, against the completion to reject.

    Args:
        prompts: The training prompts.
        teacher: All samples, any order.
        rejected: One completion per prompt, by the student or by the teacher in the opposite character.
        scores: Likelihood-ratio score by row id, in nats per token.
        config: Filters.
        relevance: By row id of a sample, in nats per token of the prompt; where it is given, the best sample has the highest and not the
            highest score.
    """
    samples: dict[str, list[Completion]] = defaultdict(list)
    for completion in teacher:
        samples[completion["prompt_id"]].append(completion)
    others = {completion["prompt_id"]: completion for completion in rejected}
    return [
        _to_pair(
            prompt,
            _best_first(samples[prompt["prompt_id"]], scores if relevance is None else relevance),
            others[prompt["prompt_id"]],
            scores,
            config,
        )
        for prompt in prompts
    ]


def _to_pair(
    prompt: Prompt, samples: Sequence[Completion], other: Completion, scores: Mapping[str, float], config: DistillConfig
) -> Pair:
    rejected, rejected_score = tidy(other, config.filters), scores[other["row_id"]]
    best: Pair | None = None
    for sample in samples:
        chosen, chosen_score = tidy(sample, config.filters), scores[sample["row_id"]]
        reason = "engine_error" if sample["error"] or other["error"] else _unfinished_thought(sample, other, config)
        reason = reason or pair_drop_reason(
            chosen,
            rejected,
            sample["finish_reason"],
            other["finish_reason"],
            chosen_score - rejected_score,
            config.filters,
        )
        pair = Pair(
            row_id=content_hash(sample["row_id"], other["row_id"]),
            prompt_id=prompt["prompt_id"],
            hint=prompt["hint"],
            kind="contrast",
            directive="",
            prompt=[Message(role="user", content=prompt["prompt"])],
            chosen=[Message(role="assistant", content=chosen)],
            rejected=[Message(role="assistant", content=rejected)],
            chosen_score=chosen_score,
            rejected_score=rejected_score,
            drop_reason=reason,
        )
        if not reason:
            return pair
        # If every sample is dropped, the reason of the best one counts.
        best = best or pair
    assert best is not None, "every prompt has at least one teacher sample"
    return best


def _best_first(samples: Sequence[Completion], by: Mapping[str, float]) -> list[Completion]:
    """Highest score first, rows without a score last."""
    found = [(by.get(row["row_id"], math.nan), row) for row in samples]
    return [row for score, row in sorted(found, key=lambda each: math.inf if math.isnan(each[0]) else -each[0])]


def _unfinished_thought(sample: Completion, other: Completion, config: DistillConfig) -> str:
    """Where thinking was begun for the teacher, a side without its end is all thought."""
    if config.think_prefill is None:
        return ""
    by_teacher = [sample, *([other] if config.contrast == "paired_teacher" else [])]
    return "" if all(map(ends_its_thought, by_teacher)) else "unfinished_thought"
