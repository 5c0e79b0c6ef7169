"""Ray Train's controller waits for lost nodes as long as the recipe says, not for ever."""

from typing import TYPE_CHECKING

# Ray's own hook for it; its public callbacks are called after reports and exceptions of workers alone.
from ray.train.v2._internal.execution.callback import ControllerCallback

from character_ray.cluster_room import RoomWatch

if TYPE_CHECKING:
    from ray.train.v2._internal.execution.scaling_policy import ResizeDecision

__all__ = ["HasRoom"]

# The controller, which also hears Ctrl-C, stands still so long at most; it then asks Ray for the workers and comes back here.
WAIT_S = 15.0


class HasRoom(ControllerCallback):
    """Looks, before the workers are started or started again, whether the cluster can hold them.

    Args:
        watch: What must fit and how long it may be missing.
    """

    def __init__(self, watch: RoomWatch) -> None:
        self._watch = watch

    def before_controller_execute_resize_decision(self, resize_decision: "ResizeDecision") -> None:
        """Wait for room.

        Raises:
            ClusterError: There has been too little for too long.
        """
        self._watch.wait(WAIT_S)
