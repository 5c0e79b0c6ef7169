"""Rows of a Ray dataset as they are finished."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from character_ray.cluster_room import Need, RoomWatch

if TYPE_CHECKING:
    from ray.data import Dataset
    from ray.data._internal.execution.execution_callback import ExecutionCallback
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

__all__ = ["arriving"]


def arriving(dataset: "Dataset", need: Need, patience_s: float) -> Iterator[list[dict[str, Any]]]:
    """The rows of each block the moment it is there, so that a kill loses only blocks still being worked on.

    Args:
        dataset: Not executed yet.
        need: What the dataset cannot be computed without.
        patience_s: How long the cluster may have no room for it, in seconds.

    Raises:
        ClusterError: There has been too little room for longer.
    """
    dataset.context.custom_execution_callback_classes.append(_checking(RoomWatch(need, patience_s)))
    for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        rows: list[dict[str, Any]] = table.to_pylist()  # type: ignore[union-attr]  # pyarrow was asked for
        yield rows


def _checking(watch: RoomWatch) -> "type[ExecutionCallback]":
    """A class of Ray Data's callbacks, which it makes itself: an error raised in one ends the execution and reaches the reader."""
    from ray.data._internal.execution.execution_callback import ExecutionCallback

    class Checking(ExecutionCallback):
        def on_execution_step(self, executor: "StreamingExecutor") -> None:
            watch.check()

    return Checking
