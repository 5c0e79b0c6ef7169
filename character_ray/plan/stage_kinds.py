"""What the stages of a finished run were made on, by their names."""

import math
from typing import Literal

from character_ray.config import Recipe

__all__ = ["CLASSIFIERS", "Kind", "held_gpus", "task_of"]

Kind = Literal["engine", "judge", "training", "serial"]
BASE_PASS = ("teacher", "opposite", "student", "base", "prompted")
OF_TEACHER = ("teacher", "opposite", "lessons", "trait-requests")
ANSWERS = ("answers", "challenges", "erosion")
CLASSIFIERS = ("classifier", "classifier-generators")
# Passes of their own, before the base pass and after it.
OWN_PASS = {"trait-requests": "trait pass", "on-policy": "on-policy pass"}


def task_of(stage: str) -> tuple[str, Kind]:
    """The pass, scoring or training that a stage belongs to, and its kind; ``serial`` is what one process does without a model."""
    prefix = "control-" if stage.startswith("control-") else ""
    name = stage.removeprefix("control-")
    if name in ("dpo", "sft", "sft-alone", *CLASSIFIERS):
        return stage, "training"
    if name.startswith("scores-"):
        return stage, "judge"
    if name in OWN_PASS:
        return OWN_PASS[name], "engine"
    if name in ("reflections", "interactions"):
        return f"{prefix}dpo pass", "engine"
    part, _, arm = name.partition("-")
    if name in BASE_PASS or part == "lessons" or (part in ANSWERS and arm in BASE_PASS):
        return "base pass", "engine"
    if part in ANSWERS:
        return f"{arm} pass", "engine"
    return stage, "serial"


def held_gpus(stage: str, recipe: Recipe) -> int:
    """Whole GPUs that a stage held: what it booked and what engines and judges kept meanwhile, a part of a GPU counted as all of it."""
    kind, needed = task_of(stage)[1], recipe.gpus_by_section
    by_teacher = stage.removeprefix("control-") in OF_TEACHER or stage.endswith("-teacher")
    if kind == "serial":
        booked = recipe.kept_gpus
    elif kind == "engine":
        booked = needed["teacher_engine" if by_teacher and not recipe.shares_engine else "student_engine"]
    elif stage in CLASSIFIERS:
        booked = needed["evaluate.classifier.fine_tune"]
    else:
        booked = needed["train" if kind == "training" else "judge"]
    return math.ceil(booked - 1e-9)
