"""What a recipe will do, stage by stage, read from the recipe and, for prompts per directive, from its constitution."""

from dataclasses import dataclass

from character_ray.config import EngineConfig, Recipe
from character_ray.constitution import load_constitution
from character_ray.judging.threshold import KNOWN_PER_DIRECTIVE
from character_ray.migration import brought_rows
from character_ray.prompts import hidden_trait_probes, reflection_prompts
from character_ray.prompts.challenges import challenges
from character_ray.stages.traits import ASKED_PER_WANTED

__all__ = ["PROMPT_TOKENS", "Asked", "Step", "plan_questions", "plan_recipe"]

# What a prompt is taken at.
PROMPT_TOKENS = 50


@dataclass(frozen=True)
class Step:
    """One stage of a run."""

    stage: str
    rows: int
    """Completions to generate, or examples to train on at most."""
    runs_on: str
    gpus: int


@dataclass(frozen=True)
class Asked:
    """What each arm is asked in the evaluation."""

    questions: int
    """Held-out prompts and probes."""
    trials: int
    """Challenges, and turns of erosion conversations."""
    occasions: int
    """Those of the challenges that put a directive to the test."""
    directives: int
    """Directives that they are about."""

    @property
    def answers(self) -> int:
        """All of them."""
        return self.questions + self.trials


def plan_questions(recipe: Recipe) -> Asked:
    """What each arm is asked; the constitution is read where its directives are put to the test.

    Raises:
        ConstitutionError: It is not valid.
    """
    config = recipe.evaluate.challenges
    lines = {}
    if config.per_directive:
        directives = load_constitution(recipe.constitution).directives
        lines = {name: getattr(directives, name) for name in ("personality", "behavior", "constraints")}
    asked = challenges(lines, per_attack=config.per_attack, safety=config.safety, per_directive=config.per_directive)
    of_directives = [each.kind for each in asked if each.group == "directive"]
    return Asked(
        questions=recipe.evaluate.grid
        + recipe.evaluate.everyday
        + sum(recipe.evaluate.languages.values())
        + recipe.evaluate.probe_samples * len(hidden_trait_probes()),
        trials=len(asked) + config.erosion * config.turns,
        occasions=len(of_directives),
        directives=len(set(of_directives)),
    )


def plan_recipe(recipe: Recipe) -> list[Step]:
    """Every stage in order, with its rows and its hardware; filters only lower the numbers.

    Raises:
        ConstitutionError: The recipe asks for prompts per directive, and its constitution is not valid.
        RecipeError: Rows that it takes from elsewhere are not there.
    """
    prompts = recipe.prompts.grid + recipe.prompts.everyday + sum(recipe.prompts.languages.values())
    traits = 0
    if recipe.prompts.traits:
        traits = recipe.prompts.traits * len(load_constitution(recipe.constitution).directives.all)
    prompts += traits
    # What comes from elsewhere is only scored and trained on; the control's rows are generated all the same.
    pairs, spoken = brought_rows(recipe)
    prompts = len({pair["prompt_id"] for pair in pairs}) or prompts
    asked = recipe.distill.lessons
    # Both sides of each kind that a constitution can have.
    lessons = 2 * sum(round(share * prompts) for share in (asked.violations, asked.refusals, asked.boundaries))
    among_samples = round(asked.repetition * prompts) + round(asked.relevance * prompts)
    # By character, and by relevance where the recipe reads it.
    scored = recipe.distill.samples * (2 if recipe.distill.reads_relevance else 1)
    questions = plan_questions(recipe)
    reflections = len(reflection_prompts(recipe.introspect.reflections))
    arms = recipe.evaluate.arms
    student, teacher = recipe.student_engine, recipe.teacher_engine or recipe.student_engine
    endpoint = recipe.teacher_endpoint
    taught = (f"{recipe.teacher.name} at {endpoint.url}", 0) if endpoint else (_engine(teacher), teacher.gpus)
    rounds = 2 if "control" in arms else 1
    taught_rounds, speaking = rounds - bool(pairs), rounds - bool(spoken)
    own = reflections + recipe.introspect.interactions + recipe.introspect.plain
    of_persona = len(spoken) + recipe.introspect.plain if spoken else own
    conversations = of_persona + (rounds - 1) * own
    workers = (
        f"{recipe.train.workers} x {recipe.train.device}, ZeRO-{recipe.train.zero_stage}, {recipe.train.precision}"
    )
    return [
        *([Step("trait prompts", ASKED_PER_WANTED * traits, *taught)] if traits else []),
        Step("teacher", taught_rounds * prompts * recipe.distill.samples, *taught),
        *([Step("opposite", prompts, *taught)] if recipe.distill.opposite else []),
        *([Step("lessons", lessons, *taught)] if lessons else []),
        *([Step("on-policy", prompts, _engine(student), student.gpus)] if recipe.distill.parent else []),
        Step("student", 0 if pairs else prompts, _engine(student), student.gpus),
        Step("dpo", len(pairs) + taught_rounds * (prompts + among_samples) + lessons // 2, workers, recipe.train.gpus),
        Step("reflections", speaking * reflections, _engine(student), student.gpus),
        Step("interactions", speaking * recipe.introspect.interactions, _engine(student), student.gpus),
        Step("sft", conversations + ("sft" in arms) * of_persona, workers, recipe.train.gpus),
        Step("answers", len(arms) * questions.answers, _engine(student), student.gpus),
        Step(
            "scores",
            2 * len(pairs)
            + taught_rounds * prompts * (scored + 1)
            + conversations
            + (prompts if recipe.distill.opposite or recipe.distill.parent else 0)
            + lessons
            + len(arms) * (questions.answers + questions.occasions)
            + 2 * questions.directives * min(KNOWN_PER_DIRECTIVE, prompts)
            # Both sides of the audit's known pairs, whole and cut.
            + 4 * min(recipe.judge.audit.pairs, prompts),
            f"{recipe.judge.replicas} x {recipe.judge.device}, {recipe.judge.dtype}",
            recipe.judge.gpus,
        ),
    ]


def _engine(engine: EngineConfig) -> str:
    parallel = f", TP {engine.tensor_parallel}" if engine.tensor_parallel > 1 else ""
    parallel += f", PP {engine.pipeline_parallel}" if engine.pipeline_parallel > 1 else ""
    return f"{engine.replicas} x vLLM {engine.device}, {engine.dtype}{parallel}"
