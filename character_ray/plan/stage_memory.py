"""How long the rows of a stage can be, and so what memory one of its ranks takes."""

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
    if stage == "dpo":
        longest = PROMPT_TOKENS * 4 + max(recipe.distill.teacher.max_tokens, recipe.distill.student.max_tokens)
        return training_memory("dpo", recipe.dpo, recipe.train, student, device, min(recipe.dpo.max_length, longest))
    if stage == "sft":
        config = recipe.introspect
        longest = max(
            config.turns * config.interaction_sampling.max_tokens if config.interactions else 0,
            PROMPT_TOKENS * 4 + config.reflection_sampling.max_tokens,
        )
        longest = min(recipe.sft.max_length, longest)
        return training_memory(
            "sft", recipe.sft, recipe.train, student, device, longest, frozen_rank=recipe.dpo.lora.rank
        )
    if stage == "scores":
        longest = PROMPT_TOKENS + max(
            recipe.distill.teacher.max_tokens, recipe.introspect.reflection_sampling.max_tokens
        )
        return judge_memory(recipe.judge, student, device, longest)
    if stage in ("teacher", "opposite", "lessons", "trait prompts"):
        if teacher is None:
            return None
        section = "teacher_engine" if recipe.teacher_engine else "student_engine"
        return engine_memory(section, recipe.teacher_engine or recipe.student_engine, teacher, device)
    live = recipe.student_engine.adapters == "live"
    rank = recipe.dpo.lora.rank + (recipe.sft.lora.rank if stage == "answers" else 0)
    adapted = stage in ("reflections", "interactions", "answers", "on-policy")
    return engine_memory("student_engine", recipe.student_engine, student, device, rank if live and adapted else 0)
