"""The whole story of a persona, in order.

    prompts -> base pass (teacher, student, base arms) -> pairs -> dpo -> dpo pass (reflections, dpo arm) -> introspection
            -> sft -> full -> full pass -> report

An engine pass answers everything the same weights are asked, so each set of weights is loaded once.
"""

import errno
from dataclasses import dataclass
from pathlib import Path

from character_ray.config import Arm, Recipe, recipe_warnings
from character_ray.constitution import load_constitution
from character_ray.errors import CharacterRayError, RecipeError
from character_ray.inference.generate import Generation
from character_ray.log import console
from character_ray.pipeline.adapters import join_adapters, train_dpo, train_sft
from character_ray.pipeline.answers import ask_arm, evaluation_questions
from character_ray.pipeline.context import Context, Persona
from character_ray.pipeline.data import ask_student, ask_teacher, make_conversations, make_pairs, make_prompts, reflect
from character_ray.pipeline.evaluate import evaluate
from character_ray.pipeline.ray_session import ray_session
from character_ray.prompts import check_no_probe_is_an_example
from character_ray.rows import Pair, Prompt
from character_ray.runs import Artefact

__all__ = ["run_pipeline"]


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
    persona = Persona(load_constitution(recipe.constitution))
    check_no_probe_is_an_example([example.prompt for example in persona.constitution.examples], persona.probes)
    control = (
        Persona(load_constitution(recipe.control_constitution), "control-")
        if "control" in recipe.evaluate.arms
        else None
    )
    for warning in recipe_warnings(recipe):
        console.print(f"[yellow]warning[/]: {warning}")
    try:
        context = Context.open(recipe)
        with ray_session(recipe):
            return _run(context, persona, control)
    except OSError as error:
        if error.errno == errno.ENOSPC and not isinstance(error, CharacterRayError):
            raise RecipeError(
                f"the disk that holds {recipe.output} is full. What was computed stays; free some space and run again to continue."
            ) from error
        raise


def _run(context: Context, persona: Persona, control: Persona | None) -> Path:
    recipe = context.recipe
    prompts, held_out = make_prompts(context)
    questions = evaluation_questions(held_out, persona.probes, recipe.evaluate.probe_samples)
    answers: dict[Arm, Generation] = {}
    personas = [persona, *([control] if control else [])]
    # The base pass: everything the untrained weights are asked.
    asked_teacher = [ask_teacher(context, each, prompts) for each in personas]
    teacher_arm = (
        [("teacher", ask_arm(context, persona, "teacher", questions, None))]
        if "teacher" in recipe.evaluate.arms
        else []
    )
    plain_arms = [
        (arm, ask_arm(context, persona, arm, questions, None))
        for arm in ("base", "prompted")
        if arm in recipe.evaluate.arms
    ]
    by_teacher = [*asked_teacher, *(request for _, request in teacher_arm)]
    by_student = [ask_student(context, prompts), *(request for _, request in plain_arms)]
    base = context.weights(None, "")
    if recipe.shares_engine:
        done = context.generate("base model", [*by_teacher, *by_student], base, recipe.student_engine)
    else:
        assert recipe.teacher_engine is not None
        done = context.generate("teacher", by_teacher, context.teacher_weights(), recipe.teacher_engine)
        done += context.generate("student", by_student, base, recipe.student_engine)
    teacher = dict(zip([each.prefix for each in personas], done, strict=False))
    student = done[len(by_teacher)]
    answers |= dict(zip([arm for arm, _ in teacher_arm], done[len(asked_teacher) : len(by_teacher)], strict=True))
    answers |= dict(zip([arm for arm, _ in plain_arms], done[len(by_teacher) + 1 :], strict=True))

    pairs_from, pairs, scores = make_pairs(context, persona, prompts, teacher[""], student)
    trained = _train_persona(context, persona, questions, (pairs_from, pairs), answers, "dpo", "full")
    if "sft" in recipe.evaluate.arms:
        alone = train_sft(context, persona, trained.conversations, None)
        _answer(context, persona, "sft", questions, alone, "sft-folded", answers)
    if control is not None:
        control_pairs = make_pairs(context, control, prompts, teacher[control.prefix], student)
        _train_persona(context, control, questions, control_pairs[:2], answers, None, "control")
    calibration = (
        [scores[row["row_id"]] for row in teacher[""].completions()],
        [scores[row["row_id"]] for row in student.completions()],
    )
    return evaluate(
        context,
        persona,
        questions,
        answers,
        calibration,
        pairs,
        trained.conversations,
        trained.dpo,
        trained.sft,
        trained.full,
    )


def _train_persona(
    context: Context,
    persona: Persona,
    questions: list[tuple[Prompt, int]],
    pairs: tuple[Artefact, list[Pair]],
    answers: dict[Arm, Generation],
    dpo_arm: Arm | None,
    full_arm: Arm,
) -> _Trained:
    """Both stages for one constitution, and the answers of the arms they make."""
    recipe, prefix = context.recipe, persona.prefix
    dpo = train_dpo(context, persona, pairs[0])
    wanted = [reflect(context, persona, dpo)]
    if dpo_arm and dpo_arm in recipe.evaluate.arms:
        wanted.append(ask_arm(context, persona, dpo_arm, questions, dpo))
    done = context.generate(
        f"{prefix}dpo model", wanted, context.weights(dpo, f"{prefix}dpo-folded"), recipe.student_engine
    )
    if len(done) > 1 and dpo_arm:
        answers[dpo_arm] = done[1]
    conversations, _ = make_conversations(context, persona, dpo, done[0], *pairs)
    sft = train_sft(context, persona, conversations, dpo)
    full = join_adapters(context, persona, dpo, sft)
    _answer(context, persona, full_arm, questions, full, f"{prefix}full-folded", answers)
    return _Trained(dpo, conversations, full, sft)


def _answer(
    context: Context,
    persona: Persona,
    arm: Arm,
    questions: list[tuple[Prompt, int]],
    adapter: Artefact,
    folded: str,
    answers: dict[Arm, Generation],
) -> None:
    wanted = [ask_arm(context, persona, arm, questions, adapter)]
    answers[arm] = context.generate(
        f"{arm} model", wanted, context.weights(adapter, folded), context.recipe.student_engine
    )[0]
