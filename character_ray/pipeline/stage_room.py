"""Whether the nodes of a cluster can hold what each stage of a recipe runs, asked before the first one starts.

Ray waits without end for a place that no node has, and the stages before have cost hours by then. What an engine or a worker takes must
lie on one node, so it is not enough that the cluster has as much in sum.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from character_ray.cluster_room import Need, room_beside, room_for, shortage
from character_ray.config import EngineConfig, Recipe
from character_ray.errors import RecipeError
from character_ray.inference.engine_room import (
    needed_by_engine,
    needed_by_judges,
    needed_by_kept,
    needed_by_kept_judges,
    needed_by_talker,
)
from character_ray.training.workers import needed_to_fine_tune, needed_to_train

__all__ = ["Booking", "Work", "bookings_of", "check_bookings", "whole_run"]

Work = Literal["train", "talk", "classify", "measure"]
"""What a command does beside completing requests and scoring them: train, hold conversations, train the persona classifier, measure with
a model in one process."""

LESS_TO_CLASSIFY = "lower evaluate.classifier.fine_tune.workers or its cpus_per_worker"


@dataclass(frozen=True)
class Booking:
    """What one stage asks the cluster for."""

    need: Need
    kept: Sequence[Need] = ()
    """What stays up from other stages meanwhile."""


def whole_run(recipe: Recipe) -> tuple[Work, ...]:
    """What a run does with its recipe."""
    return ("train", "talk", "classify", "measure") if recipe.evaluate.further else ("train", "talk", "classify")


def bookings_of(recipe: Recipe, does: Collection[Work]) -> Iterator[Booking]:
    """What the stages of a recipe ask for, one after the other.

    Args:
        recipe: The recipe.
        does: What is done with it.
    """
    engine, teacher, judge = recipe.student_engine, recipe.teacher_engine, recipe.judge
    kept_engines = [needed_by_kept("student_engine", engine)] if engine.is_kept else []
    kept_judges = [needed_by_kept_judges("judge", judge)] if judge.is_kept else []
    talks, erodes = "talk" in does, recipe.evaluate.challenges.erosion > 0
    if teacher is not None and recipe.teacher_endpoint is None and not recipe.shares_engine:
        # Alone while the student's engine and the judges have not been asked yet.
        yield from _of_engine("teacher_engine", teacher, talks and erodes and "teacher" in recipe.evaluate.arms, [])
    if kept_engines:
        yield Booking(kept_engines[0], kept_judges)
    else:
        interacts = recipe.introspect.interactions > 0 and recipe.introspect.conversations is None
        yield from _of_engine("student_engine", engine, talks and (interacts or erodes), kept_judges)
    yield Booking(kept_judges[0] if kept_judges else needed_by_judges("judge", judge), kept_engines)
    if "train" in does and not recipe.train.in_process:
        train = recipe.train
        need = needed_to_train("train", train, train.min_workers or train.workers)
        remedy = f"{need.remedy} or train.cpus_per_worker"
        yield Booking(replace(need, remedy=remedy), [*kept_engines, *kept_judges])
    if "classify" in does and (fine_tune := recipe.evaluate.classifier.fine_tune) is not None:
        need = needed_to_fine_tune("evaluate.classifier.fine_tune", fine_tune)
        yield Booking(replace(need, remedy=LESS_TO_CLASSIFY), [*kept_engines, *kept_judges])
    if "measure" in does:
        yield Booking(needed_by_judges("a measure on the judge's device", judge))


def _of_engine(section: str, engine: EngineConfig, talks: bool, kept: Sequence[Need]) -> Iterator[Booking]:
    yield Booking(needed_by_engine(section, engine), kept)
    if talks:
        yield Booking(needed_by_talker(section, engine), kept)


def check_bookings(
    bookings: Iterable[Booking], nodes: Sequence[Mapping[str, float]], may_grow: Callable[[], bool]
) -> str:
    """Refuse what no nodes of a cluster could ever hold.

    Args:
        bookings: What the stages ask for, one after the other.
        nodes: Resources of the nodes that are alive.
        may_grow: Finds out whether an autoscaler may add nodes.

    Returns:
        What is to be waited for, as a sentence; empty where there is room for everything.

    Raises:
        RecipeError: There is too little room for a stage, and no nodes join by themselves.
    """
    for booking in bookings:
        need = booking.need
        left = room_beside(booking.kept, need, nodes)
        if room_for(need, left) >= need.count:
            continue
        remedy, short = need.remedy, shortage(need, nodes)
        if room_for(need, nodes) >= need.count:
            short = f"{shortage(need, left)} beside the engines and judges that are kept"
            remedy += ", or set student_engine.keep and judge.keep to false"
        if may_grow():
            return f"{short}. Its autoscaler is waited for when they are needed, as long as wait_for_nodes_s says."
        raise RecipeError(
            f"{short}, and none join by themselves, so the run could never get past that. {remedy[0].upper()}{remedy[1:]}, or submit to a "
            "cluster whose nodes can hold it."
        )
    return ""
