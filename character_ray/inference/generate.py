"""Completing requests on vLLM, through Ray Data.

An engine is expensive to start and cheap to feed, so everything that the same weights must answer goes through one engine
together, and each row is written to the generation it belongs to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from character_ray.config import EngineConfig
from character_ray.inference.arrivals import arriving
from character_ray.inference.passes import Deliver, Generation, run_pass
from character_ray.inference.processor import build_processor, to_completion, to_engine_row
from character_ray.log import StageProgress
from character_ray.rows import Request

__all__ = ["Weights", "generate"]


@dataclass(frozen=True)
class Weights:
    """What an engine loads: a model folder, its control tokens, and an adapter to apply live."""

    model: Path
    special_tokens: tuple[str, ...]
    adapter: Path | None = None
    adapter_rank: int = 0


def generate(label: str, generations: Sequence[Generation], weights: Weights, engine: EngineConfig) -> None:
    """Complete every unfinished generation in one engine pass.

    Raises:
        GenerationError: A larger share of a generation's rows failed than ``engine.max_failed_share``.
    """

    def complete(requests: Sequence[Request], deliver: Deliver, progress: StageProgress) -> None:
        import ray.data

        progress.note(f"starting vLLM on {weights.model.name}")
        processor = build_processor(
            weights.model, engine, list(weights.special_tokens), weights.adapter, weights.adapter_rank
        )
        dataset = ray.data.from_items(
            [to_engine_row(request) for request in requests],
            override_num_blocks=max(1, -(-len(requests) // engine.batch_size)),
        )
        for rows in arriving(processor(dataset)):
            deliver([to_completion(row) for row in rows])

    run_pass(label, generations, engine.max_failed_share, complete)
