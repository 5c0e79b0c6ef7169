"""Whether the nodes that are alive have room for what a stage needs.

Ray waits without end for resources that are gone: a node that comes back is taken up again, and one that never does keeps a run
waiting for ever. Busy resources are worth waiting for; resources that no node has are waited for as long as the recipe says, and what
an autoscaler may still add is not missed before a stage needs it.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from character_ray.errors import ClusterError

__all__ = ["Need", "RoomWatch", "alive_nodes", "is_autoscaled", "nodes_may_join", "room_beside", "room_for", "shortage"]

# Between two looks at the cluster, in seconds.
LOOK_EVERY_S = 1.0
SHOWN = ("CPU", "GPU")
# Where version 1 of Ray's autoscaler reports, and how it calls a node that was started by hand.
STATUS_KEY, BY_HAND = "__autoscaling_status", "node_"
# Label of a node that version 2 of it manages.
NODE_GROUP = "ray.io/node-group"
# Shares of a GPU or a core come to a whole one only up to rounding.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Need:
    """What a stage cannot do without."""

    what: str
    """Who needs it, as the subject of a sentence: ``dpo``, ``an engine of smollm2``."""
    unit: str
    """What each of them is: ``worker``."""
    resources: Mapping[str, float]
    """Ray resources of one; all of them on one node."""
    count: int
    """How many there must be."""
    remedy: str
    """What the user may do besides adding nodes, as the end of a sentence."""
    resumes: bool = True
    """Whether what was finished is kept, so that the same command goes on."""


def alive_nodes() -> list[dict[str, float]]:
    """All resources, free or taken, of each node of the Ray cluster that is alive."""
    import ray

    return [dict(node.get("Resources", {})) for node in ray.nodes() if node["Alive"]]


def nodes_may_join() -> bool:
    """Whether the Ray cluster has an autoscaler, which adds nodes once something waits for them."""
    import ray
    from ray.experimental.internal_kv import _internal_kv_get

    labels = [node.get("Labels") or {} for node in ray.nodes() if node["Alive"]]
    return is_autoscaled(labels, _internal_kv_get(STATUS_KEY))


def is_autoscaled(labels: Sequence[Mapping[str, str]], status: bytes | None) -> bool:
    """Whether an autoscaler manages the nodes: to it each is one of a group, where a node that was started by hand is of none.

    Args:
        labels: Of each node that is alive.
        status: What version 1 of Ray's autoscaler reports, if anything; on a cluster started by hand it runs, too, and only looks on.
    """
    report = json.loads(status or b"{}").get("autoscaler_report") or {}
    groups = [group for group in report.get("active_nodes") or {} if not group.startswith(BY_HAND)]
    return bool(groups) or any(each.get(NODE_GROUP) for each in labels)


def room_for(need: Need, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many of what is needed the nodes could hold if nothing else ran on them."""
    return sum(_room_on(node, need) for node in nodes)


def room_beside(taken: Sequence[Need], need: Need, nodes: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """What is left of the nodes beside what stays on them, where that stands least in the way of what is needed.

    Args:
        taken: What stays; what no node has room for is left out.
        need: What is to have room beside it.
        nodes: All resources of each node.
    """
    left = [dict(node) for node in nodes]
    for each in taken:
        for _ in range(each.count):
            places = [number for number, node in enumerate(left) if _room_on(node, each)]
            if not places:
                break
            after = {number: _without(left[number], each) for number in places}
            place = min(places, key=lambda number: _room_on(left[number], need) - _room_on(after[number], need))
            left[place] = after[place]
    return left


def shortage(need: Need, nodes: Sequence[Mapping[str, float]]) -> str:
    """What is needed and what there is, as the beginning of a sentence."""
    kinds = Counter(_describe(node) for node in nodes)
    present = ", ".join(f"{number} with {kind}" for kind, number in kinds.items())
    return (
        f"{need.what} needs {_several(need.count, need.unit, _describe(need.resources))}, but the nodes of the cluster "
        f"that are alive have room for {room_for(need, nodes)} ({present or 'there are none'})"
    )


class RoomWatch:
    """Finds out that a cluster has had too little room for too long.

    Args:
        need: What must fit.
        patience_s: How long nodes may be missing, in seconds: a lost one may be replaced, an autoscaler adds some.
        nodes: The cluster's nodes, as :func:`alive_nodes` gives them.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        need: Need,
        patience_s: float,
        nodes: Callable[[], Sequence[Mapping[str, float]]] = alive_nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._need, self._patience_s, self._nodes, self._clock = need, patience_s, nodes, clock
        self._next_look = clock()
        self._short_since: float | None = None

    def check(self) -> bool:
        """Whether there was room at the last look; cheap, so it may be called often.

        Raises:
            ClusterError: There has been too little for longer than the patience allows.
        """
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY_S
            nodes = self._nodes()
            if room_for(self._need, nodes) >= self._need.count:
                self._short_since = None
            elif self._short_since is None:
                self._short_since = now
            if self._short_since is not None and now - self._short_since >= self._patience_s:
                raise ClusterError(self._explain(nodes))
        return self._short_since is None

    def wait(self, at_most_s: float) -> None:
        """Return when there is room, or after a while.

        Raises:
            ClusterError: There has been too little for longer than the patience allows.
        """
        until = self._clock() + at_most_s
        while not self.check() and self._clock() < until:
            time.sleep(LOOK_EVERY_S / 2)

    def _explain(self, nodes: Sequence[Mapping[str, float]]) -> str:
        need = self._need
        add, again = (
            ("What is finished is kept: add", "run again to continue") if need.resumes else ("Add", "start again")
        )
        return (
            f"{shortage(need, nodes)}, and no others joined within wait_for_nodes_s={self._patience_s:g}. {add} nodes, or {need.remedy}, "
            f"and {again}."
        )


def _room_on(node: Mapping[str, float], need: Need) -> int:
    return min(_times(name, node.get(name, 0.0), amount) for name, amount in need.resources.items() if amount)


def _times(name: str, there: float, amount: float) -> int:
    """How often an amount fits; a share of a GPU lies on one GPU."""
    if name == "GPU" and amount < 1:
        whole = math.floor(there + ROUNDING)
        return whole * math.floor(1 / amount + ROUNDING) + math.floor(max(0.0, there - whole) / amount + ROUNDING)
    return math.floor(there / amount + ROUNDING)


def _without(node: Mapping[str, float], need: Need) -> dict[str, float]:
    return dict(node) | {name: node.get(name, 0.0) - amount for name, amount in need.resources.items() if amount}


def _several(number: int, unit: str, each: str) -> str:
    return f"1 {unit} with {each}" if number == 1 else f"{number} {unit}s with {each} each"


def _describe(resources: Mapping[str, float]) -> str:
    found = [f"{resources[name]:g} {name}" for name in SHOWN if resources.get(name)]
    return " and ".join(found) or "no CPU"
