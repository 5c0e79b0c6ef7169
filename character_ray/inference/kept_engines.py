"""Engines that stay up between the passes of a run.

A pass of other weights begins with the engines reading them, in a second or two for a small model, where a start takes half a minute.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from character_ray.config import EngineConfig
from character_ray.inference.arrivals import arriving
from character_ray.inference.engine_room import engine_of, needed_by_kept
from character_ray.inference.kept_actors import KeptActors
from character_ray.inference.talker import Talker, batches_at_once
from character_ray.inference.weights import Weights
from character_ray.rows import Completion, Dialogue, Request, Scripted, Talk
from character_ray.vllm_options import engine_environment

__all__ = ["KeptEngines"]


class KeptEngines:
    """The engines of a run, until they are ended or those of another section are asked."""

    def __init__(self) -> None:
        self._actors = KeptActors()

    def are_up(self, engine: EngineConfig) -> bool:
        """Whether engines of this section were started already."""
        return self._actors.are_up(engine)

    def answer(
        self, rows: Sequence[Dialogue | Scripted | Request], weights: Weights, engine: EngineConfig
    ) -> Iterator[list[Completion | Talk]]:
        """Complete the requests and hold the conversations under these weights; yields rows as they are finished.

        Args:
            rows: In the order they are begun.
            weights: What the engines read first where they hold others.
            engine: The recipe's section.

        Raises:
            ClusterError: The nodes that are alive cannot hold the engines, and none joined in time.
        """
        self._actors.start(
            engine, Talker, (weights, engine), engine.replicas, engine.gpus_of_one_kept, engine_environment(engine)
        )
        packed = [{"row_json": json.dumps(row)} for row in rows]
        dataset = self._actors.through(packed, _Question(weights), engine.batch_size, batches_at_once(engine))
        for finished in arriving(dataset, needed_by_kept(engine_of(weights), engine), engine.wait_for_nodes_s):
            yield [json.loads(row["row_json"]) for row in finished]

    def end(self) -> None:
        """End the engines, if any are up, and give back what they hold."""
        self._actors.end()


@dataclass(frozen=True)
class _Question:
    """Asks an engine under these weights."""

    weights: Weights

    async def __call__(self, talker: Any, batch: dict[str, Any]) -> dict[str, Any]:
        answered = await talker.answer.remote([str(row) for row in batch["row_json"]], self.weights)
        return {"row_json": np.array(answered, dtype=object)}
