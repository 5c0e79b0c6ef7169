"""Which replica answers: one that holds the persona while it has room, a second one well before it is full.

Ray's own router offers a persona only the replicas that hold it until they refuse, so that one replica would carry all of a persona's load
and others would never be asked. Loaded with their deployment by Ray Serve, which names the methods.
"""

import time
from collections import defaultdict
from typing import Any

from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.request_router import PendingRequest, ReplicaID, RunningReplica

__all__ = ["PersonaRouter"]

WARM = "warm"
"""The call that lets a replica load a persona before anybody asks."""

_LOADS_WITHIN_S = 60.0


class PersonaRouter(PowerOfTwoChoicesRequestRouter):
    """Ray's choice of the less loaded of two, with personas that spread.

    A request to a persona goes to a replica that holds it. Once the least loaded of these has ``spill_at`` requests it may go to another
    that has less than half as many, which then holds the persona, too. Calls to ``warm`` go to replicas that do not hold it yet.
    """

    def initialize_state(self, **options: Any) -> None:
        """Take what the deployment's options say: ``spill_at``."""
        self._spill_at = int(options["spill_at"])
        self._told: defaultdict[str, dict[ReplicaID, float]] = defaultdict(dict)

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Up to two replicas, of which the less loaded gets the request."""
        persona = pending_request.metadata.multiplexed_model_id if pending_request else ""
        if pending_request is None or not persona:
            return await super().choose_replicas(candidate_replicas, pending_request)
        known = self._multiplexed_model_id_to_replica_ids.get(persona, set())
        holders = [replica for replica in candidate_replicas if replica.replica_id in known]
        others = [replica for replica in candidate_replicas if replica.replica_id not in known]
        to_warm = pending_request.metadata.call_method == WARM
        chosen = self._to_warm(persona, others) if to_warm else self._to_spill(holders, others)
        if not chosen:
            return await super().choose_replicas(candidate_replicas, pending_request)
        # Else Ray's loop would ask again without a pause where these refuse.
        pending_request.routing_context.should_backoff = True
        return [chosen]

    def _to_warm(self, persona: str, others: list[RunningReplica]) -> list[RunningReplica]:
        """The least loaded replica without the persona that was not told to load it a while ago; that it did is heard later."""
        now, told = time.monotonic(), self._told[persona]
        free = [each for each in others if now - told.get(each.replica_id, -_LOADS_WITHIN_S) >= _LOADS_WITHIN_S]
        if not free:
            return []
        chosen = min(free, key=lambda each: (self._load(each) >= self._spill_at, self._held(each), self._load(each)))
        told[chosen.replica_id] = now
        return [chosen]

    def _to_spill(self, holders: list[RunningReplica], others: list[RunningReplica]) -> list[RunningReplica]:
        """A replica that holds the persona and one that might, where all that do are busy."""
        if not holders or not others:
            return []
        held, free = min(holders, key=self._load), min(others, key=lambda each: (self._load(each), self._held(each)))
        busy = self._load(held) >= self._spill_at
        return [held, free] if busy and 2 * self._load(free) < self._load(held) else []

    def _load(self, replica: RunningReplica) -> int:
        """Requests under way as far as they are known here; Ray asks a replica of which nothing is before it chooses."""
        return self._replica_queue_len_cache.get(replica.replica_id) or 0

    def _held(self, replica: RunningReplica) -> int:
        """Personas that a replica holds or was told to load."""
        told = {persona for persona, replicas in self._told.items() if replica.replica_id in replicas}
        return len(told | set(replica.multiplexed_model_ids))

    def _get_pending_request_matching_metadata(self, request_metadata: Any = None) -> PendingRequest | None:
        # Ray gives a chosen replica to the oldest request, or the oldest to the same persona; a call to warm would come to a holder.
        exact = self._get_pending_request_matching_internal_request_id(request_metadata)
        return exact or super()._get_pending_request_matching_metadata(request_metadata)

    def _fulfill_next_pending_request(self, replica: RunningReplica, request_metadata: Any = None) -> None:
        super()._fulfill_next_pending_request(replica, request_metadata)
        # What is matched by its metadata stays in Ray's queue, which counts as requests that still wait.
        while self._pending_requests_to_fulfill and self._pending_requests_to_fulfill[0].future.done():
            self._pending_requests_to_fulfill.popleft()
