"""Completing requests and holding conversations on vLLM, through Ray Data.

An engine is expensive to start and cheap to feed, so everything that the same weights must answer goes through one engine
together, and each row is written to the generation it belongs to.
"""

from collections.abc import Iterator, Sequence
from typing import cast

from character_ray.cluster_room import alive_nodes, nodes_may_join, room_for
from character_ray.config import EngineConfig
from character_ray.inference.arrivals import arriving
from character_ray.inference.engine_deaths import outliving
from character_ray.inference.engine_places import giving_back
from character_ray.inference.engine_room import engine_of, needed_by_engine, needed_by_talker
from character_ray.inference.kept_engines import KeptEngines
from character_ray.inference.passes import Asked, Deliver, Generation, SelfInteraction, run_pass
from character_ray.inference.processor import build_processor, to_completion, to_engine_row
from character_ray.inference.talker import converse
from character_ray.inference.weights import Weights
from character_ray.log import StageProgress
from character_ray.rows import Completion, Dialogue, Request, Scripted

__all__ = ["Weights", "generate"]


def generate(
    label: str,
    generations: Sequence[Generation | SelfInteraction],
    weights: Weights,
    engine: EngineConfig,
    kept: KeptEngines | None = None,
) -> None:
    """Complete every unfinished generation in one engine pass, self-interactions beside single requests.

    Args:
        label: Name on the progress line.
        generations: What is wanted.
        weights: Who answers.
        engine: On what.
        kept: Engines of the passes before, used and left up where the engine's section keeps them; without, they start and end here.

    Raises:
        GenerationError: A larger share of a generation's rows failed than ``engine.max_failed_share``, or engines over several nodes died
            again and again.
        ClusterError: No nodes that are alive can hold an engine, and none joined in time.
    """

    def complete(asked: Sequence[Asked], deliver: Deliver, progress: StageProgress) -> None:
        engines = kept if engine.is_kept else None
        up = engines is not None and engines.are_up(engine)
        progress.note(f"{'reading' if up else 'starting vLLM on'} {weights.model.name}")
        dialogues: list[Dialogue | Scripted] = [row for row in asked if "turns" in row]  # type: ignore[misc]
        requests: list[Request] = [row for row in asked if "turns" not in row]
        if engines is not None:
            for rows in engines.answer([*dialogues, *requests], weights, engine):
                deliver(rows)
        elif dialogues:
            for rows in converse(dialogues, requests, weights, engine):
                deliver(rows)
        else:
            for completions in _completions(requests, weights, engine):
                deliver(completions)

    run_pass(label, generations, engine.max_failed_share, complete)


def _completions(requests: Sequence[Request], weights: Weights, engine: EngineConfig) -> Iterator[list[Completion]]:
    def together(asked: Sequence[Request]) -> Iterator[list[Completion]]:
        return _through_processor(asked, weights, engine)

    def apart(asked: Sequence[Request]) -> Iterator[list[Completion]]:
        return cast(Iterator[list[Completion]], converse([], asked, weights, engine))

    on_one_node = room_for(needed_by_talker(engine_of(weights), engine), alive_nodes()) > 0 or nodes_may_join()
    yield from outliving(requests, together, apart if on_one_node else None)


def _through_processor(
    requests: Sequence[Request], weights: Weights, engine: EngineConfig
) -> Iterator[list[Completion]]:
    import ray.data

    processor = build_processor(
        weights.model, engine, list(weights.special_tokens), weights.adapter, weights.adapter_rank
    )
    dataset = ray.data.from_items(
        [to_engine_row(request) for request in requests],
        override_num_blocks=max(1, -(-len(requests) // engine.batch_size)),
    )
    with giving_back(processor):
        for rows in arriving(processor(dataset), needed_by_engine(engine_of(weights), engine), engine.wait_for_nodes_s):
            yield [to_completion(row) for row in rows]
