"""What a recipe will do, stage by stage, read from the recipe and, for prompts per directive, from its constitution."""

from dataclasses import dataclass

from character_ray.config import EngineConfig, Recipe
from character_ray.constitution import load_constitution
from character_ray.prompts import hidden_trait_probes, reflection_prompts
from character_ray.stages.traits import ASKED_PER_WANTED

__all__ = ["Step", "plan_recipe"]


@dataclass(frozen=True)
class Step:
    """One stage of a run."""

    stage: str
    rows: int
    """Completions to generate, or examples to train on at most."""
    runs_on: str
    gpus: int


def plan_recipe(recipe: Recipe) -> list[Step]:
    """Every stage in order, with its rows and its hardware; filters only lower the numbers.

    Raises:
        ConstitutionError: The recipe asks for prompts per directive, and its constitution is not valid.
    """
    prompts = recipe.prompts.grid + recipe.prompts.everyday + sum(recipe.prompts.languages.values())
    traits = 0
    if recipe.prompts.traits:
        traits = recipe.prompts.traits * len(load_constitution(recipe.constitution).directives.all)
    prompts += traits
    asked = recipe.distill.lessons
    # Both sides of each kind that a constitution can have.
    lessons = 2 * sum(round(share * prompts) for share in (asked.violations, asked.refusals, asked.boundaries))
    held_out = recipe.evaluate.grid + recipe.evaluate.everyday
    questions = held_out + recipe.evaluate.probe_samples * len(hidden_trait_probes())
    reflections = len(reflection_prompts(recipe.introspect.reflections))
    arms = recipe.evaluate.arms
    student, teacher = recipe.student_engine, recipe.teacher_engine or recipe.student_engine
    endpoint = recipe.teacher_endpoint
    taught = (f"{recipe.teacher.name} at {endpoint.url}", 0) if endpoint else (_engine(teacher), teacher.gpus)
    rounds = 2 if "control" in arms else 1
    conversations = reflections + recipe.introspect.interactions + recipe.introspect.plain
    workers = (
        f"{recipe.train.workers} x {recipe.train.device}, ZeRO-{recipe.train.zero_stage}, {recipe.train.precision}"
    )
    return [
        *([Step("trait prompts", ASKED_PER_WANTED * traits, *taught)] if traits else []),
        Step("teacher", rounds * prompts * recipe.distill.samples, *taught),
        *([Step("opposite", prompts, *taught)] if recipe.distill.opposite else []),
        *([Step("lessons", lessons, *taught)] if lessons else []),
        *([Step("on-policy", prompts, _engine(student), student.gpus)] if recipe.distill.parent else []),
        Step("student", prompts, _engine(student), student.gpus),
        Step("dpo", rounds * prompts + lessons // 2, workers, recipe.train.gpus),
        Step("reflections", rounds * reflections, _engine(student), student.gpus),
        Step("interactions", rounds * recipe.introspect.interactions, _engine(student), student.gpus),
        Step("sft", (rounds + ("sft" in arms)) * conversations, workers, recipe.train.gpus),
        Step("answers", len(arms) * questions, _engine(student), student.gpus),
        Step(
            "scores",
            rounds * (prompts * (recipe.distill.samples + 1) + conversations)
            + (prompts if recipe.distill.opposite or recipe.distill.parent else 0)
            + lessons
            + len(arms) * questions,
            f"{recipe.judge.replicas} x {recipe.judge.device}, {recipe.judge.dtype}",
            recipe.judge.replicas if recipe.judge.device == "gpu" else 0,
        ),
    ]


def _engine(engine: EngineConfig) -> str:
    parallel = f", TP {engine.tensor_parallel}" if engine.tensor_parallel > 1 else ""
    parallel += f", PP {engine.pipeline_parallel}" if engine.pipeline_parallel > 1 else ""
    return f"{engine.replicas} x vLLM {engine.device}, {engine.dtype}{parallel}"
