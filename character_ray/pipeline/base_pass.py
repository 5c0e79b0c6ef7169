"""Everything the untrained weights are asked, in one pass of each engine, for one run or for many."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from character_ray.config import Arm
from character_ray.inference.generate import generate
from character_ray.inference.judge_actors import load_early
from character_ray.inference.passes import Generation
from character_ray.pipeline.answers import Exam, Part, ask_arm
from character_ray.pipeline.context import Context, Persona, Wanted, to_generation
from character_ray.pipeline.data import ask_lessons, ask_opposite, ask_parent, ask_student, ask_teacher
from character_ray.pipeline.imported import brought_side
from character_ray.pipeline.pairs import PairSides
from character_ray.rows import Prompt

__all__ = ["Sides", "base_pass", "base_work", "flood", "sides_of_pairs"]

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Sides(Generic[T]):
    """One thing for everything that untrained weights, and an earlier round's adapter, are asked in a run."""

    teachers: dict[str, T]
    """The chosen side, by prefix of the persona."""
    opposites: dict[str, T]
    """The rejected side of personas that have an opposite, by prefix."""
    lessons: dict[str, tuple[T, T]]
    """What the lessons of a persona ask of teacher and student, by prefix; personas without lessons are absent."""
    on_policy: T | None
    """The rejected side written by the parent adapter, where the recipe has one."""
    student: T
    """The rejected side of all others, and what the judge's threshold is fixed on."""
    arms: dict[tuple[Arm, Part], T]
    """What the arms that are not trained answer, by arm and part of the exam."""

    @property
    def of_teacher(self) -> list[T]:
        """What the teacher's weights are asked; what shares a constitution's prefix is together."""
        arms = [wanted for (arm, _), wanted in self.arms.items() if arm == "teacher"]
        lessons = [of_teacher for of_teacher, _ in self.lessons.values()]
        return [*self.teachers.values(), *arms, *lessons, *self.opposites.values()]

    @property
    def of_student(self) -> list[T]:
        """What the student's weights are asked."""
        lessons = [of_student for _, of_student in self.lessons.values()]
        return [self.student, *lessons, *(wanted for (arm, _), wanted in self.arms.items() if arm != "teacher")]

    def map(self, change: Callable[[T], U]) -> "Sides[U]":
        """The same sides with each thing changed into another."""
        return Sides(
            {prefix: change(side) for prefix, side in self.teachers.items()},
            {prefix: change(side) for prefix, side in self.opposites.items()},
            {prefix: (change(taught), change(plain)) for prefix, (taught, plain) in self.lessons.items()},
            None if self.on_policy is None else change(self.on_policy),
            change(self.student),
            {key: change(side) for key, side in self.arms.items()},
        )


def sides_of_pairs(sides: Sides[Generation], prefix: str) -> PairSides:
    """What the pairs of one character, by its prefix, are chosen from."""
    # Only the persona itself goes on from the parent: the control starts where every first round does.
    other = sides.opposites.get(prefix) or (None if prefix else sides.on_policy)
    return PairSides(sides.teachers[prefix], sides.student, other, sides.lessons.get(prefix))


def base_work(
    context: Context,
    personas: Sequence[Persona],
    prompts: Sequence[Prompt],
    exam: Exam | None = None,
) -> Sides[Wanted]:
    """All sides of the pairs and, about the first persona, the arms that are not trained.

    Args:
        context: The run.
        personas: Every character that is distilled.
        prompts: The training prompts.
        exam: What the evaluation asks; without one no arm is asked.
    """
    untrained: tuple[Arm, ...] = ("teacher", "base", "prompted") if exam else ()
    return Sides(
        {each.prefix: _ask_chosen(context, each, prompts) for each in personas},
        {each.prefix: ask_opposite(context, each, each.opposite, prompts) for each in personas if each.opposite},
        {each.prefix: asked for each in personas if (asked := ask_lessons(context, each, prompts))},
        ask_parent(context, prompts) if context.parent else None,
        brought_side(context, prompts, "rejected") if context.recipe.distill.pairs else ask_student(context, prompts),
        {
            (arm, part): wanted
            for arm in untrained
            if exam and arm in context.recipe.evaluate.arms
            for part, wanted in ask_arm(context, personas[0], arm, exam, None).items()
        },
    )


def _ask_chosen(context: Context, persona: Persona, prompts: Sequence[Prompt]) -> Wanted:
    """The chosen side of a character's pairs; the control's is the teacher's even where the persona's is brought along."""
    if context.recipe.distill.pairs is not None and not persona.prefix:
        return brought_side(context, prompts, "chosen")
    return ask_teacher(context, persona, prompts)


def base_pass(context: Context, work: Sides[Wanted]) -> Sides[Generation]:
    """Do one run's work and record it in the run; what is there already is read."""
    recipe, base = context.recipe, context.base_weights()
    _judges_meanwhile(context, [work])
    if recipe.shares_engine:
        done = context.generate("base model", [*work.of_teacher, *work.of_student], base, recipe.student_engine)
    else:
        done = context.ask_both(work.of_teacher, work.of_student)
    if work.on_policy is not None:
        assert recipe.distill.parent is not None
        parent = context.weights(recipe.distill.parent, "parent-folded")
        done += context.generate("parent adapter", [work.on_policy], parent, recipe.student_engine)
    answered = {generation.artefact.folder: generation for generation in done}
    return work.map(lambda wanted: answered[wanted.artefact.folder])


def flood(context: Context, works: Sequence[Sides[Wanted]]) -> None:
    """Do the work of many runs in one pass of each engine, what they share once; each run's :func:`base_pass` then reads it.

    Args:
        context: Any of the runs: all have the same models and engines.
        works: One per run.
    """
    recipe, base = context.recipe, context.base_weights()
    _judges_meanwhile(context, works)
    of_teacher = [wanted for work in works for wanted in work.of_teacher]
    of_student = [wanted for work in works for wanted in work.of_student]
    if recipe.shares_engine:
        generate("base model", _distinct(of_teacher + of_student), base, recipe.student_engine, context.held.engines)
    else:
        context.complete_both(_distinct(of_teacher), _distinct(of_student))


def _judges_meanwhile(context: Context, works: Sequence[Sides[Wanted]]) -> None:
    """Judges that are kept load while the engine starts, if it will; a teacher of its own may need their GPUs first."""
    asked = [wanted.artefact for work in works for wanted in (*work.of_teacher, *work.of_student)]
    if context.recipe.shares_engine and not all(artefact.is_done for artefact in asked):
        load_early(context.student.folder, context.recipe.judge, context.held.judges)


def _distinct(wanted: Sequence[Wanted]) -> list[Generation]:
    by_folder: dict[Path, Generation] = {}
    for each in wanted:
        by_folder.setdefault(each.artefact.folder, to_generation(each))
    return list(by_folder.values())
