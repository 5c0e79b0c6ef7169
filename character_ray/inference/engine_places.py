"""The GPUs that ``ray.data.llm`` books for engines over several GPUs, given back when a pass ends.

It asks Ray for a placement group for each such engine and removes none, so the GPUs would stay booked until the driver ends, and the next
engine or training would wait for them without end.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.llm._internal.batch.processor import Processor
    from ray.util.placement_group import PlacementGroup

__all__ = ["giving_back"]


@contextmanager
def giving_back(processor: "Processor") -> Iterator[None]:
    """While the block runs, what is booked for the processor's engines is noted; at its end it is free again.

    Args:
        processor: Not yet applied to a dataset.
    """
    from ray.util import remove_placement_group

    booked: list[PlacementGroup] = []
    for stage in processor.stages.values():
        if (book := stage.map_batches_kwargs.get("ray_remote_args_fn")) is not None:
            stage.map_batches_kwargs["ray_remote_args_fn"] = _noting(book, booked)
    try:
        yield
    finally:
        for group in booked:
            remove_placement_group(group)


def _noting(book: Callable[[], dict[str, Any]], booked: "list[PlacementGroup]") -> Callable[[], dict[str, Any]]:
    """``book``, which Ray Data calls in this process before it starts an actor; what it books is added to the list."""

    def noted() -> dict[str, Any]:
        remote_args = book()
        booked.append(remote_args["scheduling_strategy"].placement_group)
        return remote_args

    return noted
