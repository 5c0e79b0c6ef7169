"""Whether teacher and student can complete at the same time."""

from collections.abc import Mapping, Sequence

from character_ray.cluster_room import alive_nodes
from character_ray.config import Recipe

__all__ = ["has_room_for_both"]


def has_room_for_both(recipe: Recipe, nodes: Sequence[Mapping[str, float]] | None = None) -> bool:
    """Whether the teacher's engine and the student's fit side by side; a teacher at an endpoint needs no room here.

    On CPUs an engine takes all the cores it finds. Where the student's stays up after its pass (``student_engine.keep``) the teacher's,
    had it not found its GPUs by then, would wait for them without end.

    Args:
        recipe: Of a teacher that is not the student.
        nodes: The resources of each node; by default those that are alive, so what an autoscaler may add does not count.
    """
    if recipe.teacher_endpoint is not None:
        return True
    student, teacher = recipe.student_engine, recipe.teacher_engine
    assert teacher is not None  # of another model or on another engine
    if "cpu" in (student.device, teacher.device) or student.is_kept:
        return False
    gpus = sum(node.get("GPU", 0.0) for node in (alive_nodes() if nodes is None else nodes))
    return gpus >= teacher.gpus + student.gpus
