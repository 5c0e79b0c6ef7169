"""Distillation: the teacher plays the persona, the student does not, and the pair is the lesson.

    prompts -> teacher requests (K samples each) -> completions -> scores
            -> student requests                  -> completions -> scores
            -> pairs {prompt, chosen, rejected, chosen_score, rejected_score, drop_reason}

Nothing is dropped here: a row that must not be trained on says why in ``drop_reason``.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from character_ray.config import DistillConfig
from character_ray.constitution import Constitution, teacher_messages
from character_ray.rows import Completion, Message, Pair, Prompt, Request, content_hash
from character_ray.stages.filters import pair_drop_reason, trim_unfinished
from character_ray.stages.requests import build_request

__all__ = ["build_pairs", "student_requests", "teacher_requests", "tidy"]


def teacher_requests(
    prompts: Sequence[Prompt], constitution: Constitution, config: DistillConfig, seed: int
) -> list[Request]:
    """K requests per prompt under system prompt and example turns, repetitions of a prompt side by side."""
    return [
        build_request(
            "teacher",
            prompt["prompt_id"],
            teacher_messages(constitution, prompt["prompt"]),
            config.teacher,
            sample=sample,
            seed=seed,
        )
        for prompt in prompts
        for sample in range(config.samples)
    ]


def student_requests(prompts: Sequence[Prompt], config: DistillConfig, seed: int) -> list[Request]:
    """One request per prompt, plain."""
    return [
        build_request(
            "student", prompt["prompt_id"], [Message(role="user", content=prompt["prompt"])], config.student, seed=seed
        )
        for prompt in prompts
    ]


def tidy(completion: Completion, config: DistillConfig) -> str:
    """The text to train on: where unfinished completions are allowed, cut back to the last full sentence."""
    if config.filters.allow_unfinished and completion["finish_reason"] == "length":
        return trim_unfinished(completion["completion"], config.filters.min_words)
    return completion["completion"]


def build_pairs(
    prompts: Sequence[Prompt],
    teacher: Sequence[Completion],
    student: Sequence[Completion],
    scores: Mapping[str, float],
    config: DistillConfig,
) -> list[Pair]:
    """One pair per prompt: the best-scoring teacher sample that passes the filters, against the student's completion.

    Args:
        prompts: The training prompts.
        teacher: All samples, any order.
        student: One completion per prompt.
        scores: Likelihood-ratio score by row id, in nats per token.
        config: Filters.
    """
    samples: dict[str, list[Completion]] = defaultdict(list)
    for completion in teacher:
        samples[completion["prompt_id"]].append(completion)
    plain = {completion["prompt_id"]: completion for completion in student}
    return [
        _to_pair(prompt, samples[prompt["prompt_id"]], plain[prompt["prompt_id"]], scores, config) for prompt in prompts
    ]


def _to_pair(
    prompt: Prompt, samples: Sequence[Completion], plain: Completion, scores: Mapping[str, float], config: DistillConfig
) -> Pair:
    rejected, rejected_score = tidy(plain, config), scores[plain["row_id"]]
    best: Pair | None = None
    for sample in sorted(samples, key=lambda row: _rank(scores[row["row_id"]])):
        chosen, chosen_score = tidy(sample, config), scores[sample["row_id"]]
        reason = "engine_error" if sample["error"] or plain["error"] else ""
        reason = reason or pair_drop_reason(
            chosen,
            rejected,
            sample["finish_reason"],
            plain["finish_reason"],
            chosen_score - rejected_score,
            config.filters,
        )
        pair = Pair(
            row_id=content_hash(sample["row_id"], plain["row_id"]),
            prompt_id=prompt["prompt_id"],
            hint=prompt["hint"],
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


def _rank(score: float) -> float:
    """Sort key: highest score first, rows without a score last."""
    return float("inf") if score != score else -score
