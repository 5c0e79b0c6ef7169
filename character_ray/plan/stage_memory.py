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
    kept = {}
    if recipe.student_engine.kept_gpus:
        engine = recipe.student_engine
        kept["kept engines"] = engine.replicas * engine_memory("student_engine", engine, student, device).total_gib
    if recipe.judge.kept_gpus:
        one = judge_memory(recipe.judge, student, device, _longest_judged(recipe))
        kept["kept judges"] = recipe.judge.replicas * one.total_gib
    return kept
