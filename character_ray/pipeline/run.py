"""The whole story of a persona, in order.

    prompts -> base pass (teacher, student, base arms) -> pairs -> dpo -> dpo pass (reflections, self-interactions, dpo arm)
            -> introspection -> sft -> full -> full pass -> report

An engine pass answers everything the same weights are asked, so each set of weights is loaded once.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from character_ray.config import Arm, FilterConfig, Recipe, Tournament, recipe_warnings
from character_ray.errors import CharacterRayError, RecipeError
from character_ray.inference.passes import Generation
from character_ray.log import console
from character_ray.pipeline.adapters import join_adapters, train_dpo, train_sft
from character_ray.pipeline.answers import Exam, Part, ask_arm, evaluation_exam
from character_ray.pipeline.base_pass import Sides, base_pass, base_work, sides_of_pairs
from character_ray.pipeline.context import Context, Persona, Wanted
from character_ray.pipeline.data import interact, make_conversations, reflect
from character_ray.pipeline.directives import KnownPair
from character_ray.pipeline.evaluate import evaluate
from character_ray.pipeline.imported import take_conversations
from character_ray.pipeline.pairs import make_pairs
from character_ray.pipeline.personas import load_control, load_persona
from character_ray.pipeline.prompts import make_prompts
from character_ray.pipeline.ray_session import ray_session
from character_ray.pipeline.traits import write_trait_prompts
from character_ray.rows import Pair, Prompt
from character_ray.runs import Artefact
from character_ray.stages.distill import tidy
from character_ray.training.packages import check_packages

__all__ = ["full_disk_named", "pair_up", "run_pipeline", "tell_story"]


@dataclass
class _Trained:
    """What one constitution became."""

    dpo: Artefact
    conversations: Artefact
    full: Artefact
    sft: Artefact


def run_pipeline(recipe: Recipe) -> Path:
    """Run every stage that is not done yet and write the report; returns the run's folder.

    Raises:
        CharacterRayError: A constitution, model or recipe is wrong, or a stage failed; what was computed stays.
    """
    check_packages(recipe.train)
    persona, control = load_persona(recipe), load_control(recipe)
    for warning in recipe_warnings(recipe):
        console.print(f"[yellow]warning[/]: {escape(warning)}")
    with full_disk_named(recipe):
        context = Context.open(recipe)
        with ray_session(recipe), context.held:
            written = write_trait_prompts([context], [persona])[0]
            prompts = make_prompts(context, [persona, *([control] if control else [])], written)
            return tell_story(context, persona, control, *prompts)


@contextmanager
def full_disk_named(recipe: Recipe | Tournament) -> Iterator[None]:
    """Turns "no space left" into an error that says where and what stays.

    Raises:
        RecipeError: The disk of the runs is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC and not isinstance(error, CharacterRayError):
            raise RecipeError(
                f"the disk that holds {recipe.output} is full. What was computed stays; free some space and run again to continue."
            ) from error
        raise


def tell_story(
    context: Context, persona: Persona, control: Persona | None, prompts: list[Prompt], held_out: list[Prompt]
) -> Path:
    """Every stage from the base pass on, inside a Ray session; returns the run's folder.

    Args:
        context: The run.
        persona: The character to train.
        control: The null control, where the recipe asks for its arm.
        prompts: Training prompts.
        held_out: The evaluation's prompts.
    """
    recipe = context.recipe
    personas = [persona, *([control] if control else [])]
    exam = evaluation_exam(recipe, persona, held_out)
    base = base_pass(context, base_work(context, personas, prompts, exam))
    answers = base.arms

    pairs_from, pairs, scores = pair_up(context, persona, prompts, base)
    trained = _train_persona(context, persona, exam, (pairs_from, pairs), answers, "dpo", "full")
    if "sft" in recipe.evaluate.arms:
        alone = train_sft(context, persona, trained.conversations, None)
        _answer(context, persona, "sft", exam, alone, "sft-folded", answers)
    if control is not None:
        control_pairs = pair_up(context, control, prompts, base)
        _train_persona(context, control, exam, control_pairs[:2], answers, None, "control")
    calibration = (
        [scores[row["row_id"]] for row in base.teachers[""].completions()],
        [scores[row["row_id"]] for row in base.student.completions()],
    )
    return evaluate(
        context,
        persona,
        exam,
        answers,
        calibration,
        pairs,
        trained.conversations,
        trained.dpo,
        trained.sft,
        trained.full,
        _known_pairs(prompts, base, context.recipe.distill.filters),
    )


def _known_pairs(prompts: list[Prompt], base: Sides[Generation], filters: FilterConfig) -> list[KnownPair]:
    """What teacher and untrained student said to the same training prompts, the first sample of each."""
    teacher, student = (
        {row["prompt_id"]: row for row in reversed(side.spoken()) if not row["error"]}
        for side in (base.teachers[""], base.student)
    )
    return [
        KnownPair(
            prompt["prompt"],
            teacher[prompt["prompt_id"]]["completion"],
            student[prompt["prompt_id"]]["completion"],
            tidy(student[prompt["prompt_id"]], filters),
        )
        for prompt in prompts
        if prompt["prompt_id"] in teacher.keys() & student.keys()
    ]


def pair_up(
    context: Context, persona: Persona, prompts: list[Prompt], base: Sides[Generation]
) -> tuple[Artefact, list[Pair], dict[str, float]]:
    """The pairs of one character of the base pass, and the scores of all sides by row id."""
    return make_pairs(context, persona, prompts, sides_of_pairs(base, persona.prefix))


def _train_persona(
    context: Context,
    persona: Persona,
    exam: Exam,
    pairs: tuple[Artefact, list[Pair]],
    answers: dict[tuple[Arm, Part], Generation],
    dpo_arm: Arm | None,
    full_arm: Arm,
) -> _Trained:
    """Both stages for one constitution, and the answers of the arms they make."""
    recipe, prefix = context.recipe, persona.prefix
    dpo = train_dpo(context, persona, pairs[0])
    brought = recipe.introspect.conversations is not None and not prefix
    own: list[Wanted] = [] if brought else [reflect(context, persona, dpo)]
    parts: dict[Part, Wanted] = {}
    interactions = None if brought else interact(context, persona, dpo)
    if dpo_arm and dpo_arm in recipe.evaluate.arms:
        parts = ask_arm(context, persona, dpo_arm, exam, dpo)
    done: list[Generation] = []
    if own or parts:
        weights = context.weights(dpo.folder / "adapter", f"{prefix}dpo-folded")
        asked = [*own, *parts.values()]
        done = context.generate(f"{prefix}dpo model", asked, weights, recipe.student_engine, interactions)
    if dpo_arm:
        answers |= {(dpo_arm, part): generation for part, generation in zip(parts, done[len(own) :], strict=True)}
    if brought:
        conversations = take_conversations(context, persona, exam, *pairs)
    else:
        conversations, _ = make_conversations(context, persona, done[0], interactions, *pairs)
    sft = train_sft(context, persona, conversations, dpo)
    full = join_adapters(context, persona, dpo, sft)
    _answer(context, persona, full_arm, exam, full, f"{prefix}full-folded", answers)
    return _Trained(dpo, conversations, full, sft)


def _answer(
    context: Context,
    persona: Persona,
    arm: Arm,
    exam: Exam,
    adapter: Artefact,
    folded: str,
    answers: dict[tuple[Arm, Part], Generation],
) -> None:
    parts = ask_arm(context, persona, arm, exam, adapter)
    weights = context.weights(adapter.folder / "adapter", folded)
    done = context.generate(f"{arm} model", list(parts.values()), weights, context.recipe.student_engine)
    answers |= {(arm, part): generation for part, generation in zip(parts, done, strict=True)}
