"""How long the rows of a stage can be, and so what memory one of its ranks takes."""

import math

from character_ray.config import Recipe
from character_ray.model_shape import ModelShape
from character_ray.plan.memory import Memory, engine_memory, judge_memory, training_memory
from character_ray.plan.steps import PROMPT_TOKENS
from character_ray.roofline import Device

__all__ = ["stage_memory"]


def stage_memory(
    recipe: Recipe, student: ModelShape, teacher: ModelShape | None, device: Device, stage: str
) -> Memory | None:
    """Memory of one rank of a stage; ``None`` where the model is elsewhere.

    Args:
        recipe: What is planned.
        student: Shape of the student, which judges too.
        teacher: Shape of the teacher; ``None`` where it is behind an endpoint.
        device: A GPU of the stage.
        stage: As :func:`~character_ray.plan.steps.plan_recipe` names it.
    """
    if stage == "dpo" and recipe.dpo.algorithm == "on_policy":
        longest = min(recipe.dpo.max_length, PROMPT_TOKENS * 4 + recipe.dpo.on_policy.max_tokens)
        other = teacher if recipe.teacher != recipe.student else None
        kept = _kept_beside(recipe, student, device)
        return training_memory("dpo", recipe.dpo, recipe.train, student, device, longest, beside=kept, teacher=other)
    if stage == "dpo":
        longest = PROMPT_TOKENS * 4 + max(recipe.distill.teacher.max_tokens, recipe.distill.student.max_tokens)
        longest = min(recipe.dpo.max_length, longest)
        kept = _kept_beside(recipe, student, device)
        return training_memory("dpo", recipe.dpo, recipe.train, student, device, longest, beside=kept)
    if stage == "sft":
        config = recipe.introspect
        longest = max(
            config.turns * config.interaction_sampling.max_tokens if config.interactions else 0,
            PROMPT_TOKENS * 4 + config.reflection_sampling.max_tokens,
        )
        longest = min(recipe.sft.max_length, longest)
        kept = _kept_beside(recipe, student, device)
        return training_memory(
            "sft", recipe.sft, recipe.train, student, device, longest, recipe.dpo.lora.rank, beside=kept
        )
    if stage == "scores":
        return judge_memory(recipe.judge, student, device, _longest_judged(recipe))
    if stage in ("teacher", "opposite", "lessons", "trait prompts"):
        if teacher is None:
            return None
        section = "teacher_engine" if recipe.teacher_engine else "student_engine"
        return engine_memory(section, recipe.teacher_engine or recipe.student_engine, teacher, device)
    live = recipe.student_engine.adapters == "live"
    rank = recipe.dpo.lora.rank + (recipe.sft.lora.rank if stage == "answers" else 0)
    adapted = stage in ("reflections", "interactions", "answers", "on-policy")
    return engine_memory("student_engine", recipe.student_engine, student, device, rank if live and adapted else 0)


def _longest_judged(recipe: Recipe) -> int:
    """Tokens of the longest completion that is scored, with its prompt."""
    return PROMPT_TOKENS + max(recipe.distill.teacher.max_tokens, recipe.introspect.reflection_sampling.max_tokens)


def _kept_beside(recipe: Recipe, student: ModelShape, device: Device) -> dict[str, float]:
    """What may stay up on a GPU of which a training books a part, GiB by purpose; a whole GPU is its own."""
    if recipe.train.device == "cpu" or recipe.train.gpu_share == 1:
        return {}
    engine, judge = recipe.student_engine, recipe.judge
    left = 1 - recipe.train.gpu_share
    engines = judges = 0.0
    if engine.kept_gpus:
        engines = engine_memory("student_engine", engine, student, device).total_gib
    if judge.kept_gpus:
        judges = judge_memory(judge, student, device, _longest_judged(recipe)).total_gib
    # Of all that may come to lie on one GPU, what takes most; the other replicas are on other GPUs.
    num_engines = _number(engine.replicas, engine.gpus_of_one_kept, left) if engines else 0
    together = []
    for number in range(num_engines + 1):
        beside = _number(judge.replicas, judge.gpu_share, left - number * engine.gpus_of_one_kept) if judges else 0
        together.append((number * engines, beside * judges))
    largest = max(together, key=sum)
    return {name: size for name, size in zip(("kept engines", "kept judges"), largest, strict=True) if size}


def _number(replicas: int, share: float, left: float) -> int:
    """How many of some replicas fit into what is left of a GPU, by the shares that they book."""
    return min(replicas, math.floor(left / share + 1e-9))
