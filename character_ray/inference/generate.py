"""One engine pass over the unfinished rows of any number of generations.

    {row_id, prompt_id, sample, messages, sampling}  ->  {row_id, prompt_id, sample, completion, num_tokens, finish_reason, error}

An engine is expensive to start and cheap to feed, so everything that the same weights must answer goes through one engine
together, and each row is written to the generation it belongs to. Rows that an earlier attempt finished are not asked again.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from character_ray.config import EngineConfig
from character_ray.errors import GenerationError
from character_ray.inference.processor import build_processor, to_completion, to_engine_row
from character_ray.log import StageProgress, describe_counts, stage_progress
from character_ray.parts import append_part, read_parts
from character_ray.rows import COMPLETION, Completion, Request
from character_ray.runs import Artefact

__all__ = ["Generation", "Weights", "generate"]

MAX_FAILED_SHARE = 0.05


@dataclass(frozen=True)
class Generation:
    """The requests of one stage and the folder their completions go to."""

    artefact: Artefact
    requests: Sequence[Request]

    def pending(self) -> list[Request]:
        """Requests without a completion yet; one that failed before is asked again."""
        finished = {row["row_id"] for row in read_parts(self.artefact.folder) if not row["error"]}
        return [request for request in self.requests if request["row_id"] not in finished]

    def completions(self) -> list[Completion]:
        """All completions, in the order of the requests; the last attempt at a row counts."""
        by_id = {row["row_id"]: row for row in read_parts(self.artefact.folder)}
        return [by_id[request["row_id"]] for request in self.requests]  # type: ignore[misc]


@dataclass(frozen=True)
class Weights:
    """What an engine loads: a model folder, its control tokens, and an adapter to apply live."""

    model: Path
    special_tokens: tuple[str, ...]
    adapter: Path | None = None
    adapter_rank: int = 0


def generate(label: str, generations: Sequence[Generation], weights: Weights, engine: EngineConfig) -> None:
    """Complete every unfinished generation, in one engine pass, and mark each as done.

    Raises:
        GenerationError: More than a twentieth of a generation's rows failed; the reasons are listed by count. The rows that
            succeeded are kept, and the failed ones are asked again next time.
    """
    unfinished = [generation for generation in generations if not generation.artefact.is_done]
    pending = [(number, request) for number, generation in enumerate(unfinished) for request in generation.pending()]
    started = monotonic()
    if pending:
        with stage_progress(label, len(pending)) as progress:
            progress.note(f"starting vLLM on {weights.model.name}")
            _run(unfinished, pending, weights, engine, progress)
    wall_s = monotonic() - started
    for number, generation in enumerate(unfinished):
        # Each stage bears its share of the pass, engine start included.
        share = sum(owner == number for owner, _ in pending) / max(len(pending), 1)
        _finish(generation, wall_s * share)


def _run(
    generations: Sequence[Generation],
    pending: Sequence[tuple[int, Request]],
    weights: Weights,
    engine: EngineConfig,
    progress: StageProgress,
) -> None:
    import ray.data

    processor = build_processor(
        weights.model, engine, list(weights.special_tokens), weights.adapter, weights.adapter_rank
    )
    dataset = ray.data.from_items(
        [to_engine_row(request, number) for number, request in pending],
        override_num_blocks=max(1, -(-len(pending) // engine.batch_size)),
    )
    for batch in processor(dataset).iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        rows = batch.to_pylist()
        for number, generation in enumerate(generations):
            own = [to_completion(row) for row in rows if row["generation"] == number]
            if own:
                append_part(generation.artefact.folder, own, COMPLETION)
        progress.advance(len(rows))


def _finish(generation: Generation, wall_s: float) -> None:
    completions = generation.completions()
    failed = Counter(row["error"].splitlines()[0][:200] for row in completions if row["error"])
    if failed.total() > MAX_FAILED_SHARE * len(completions):
        raise GenerationError(
            f"{generation.artefact.stage}: {failed.total():,} of {len(completions):,} rows failed "
            f"({describe_counts(failed)}). The others are kept; mend the cause and run again."
        )
    generation.artefact.finish(
        {
            "wall_s": wall_s,
            "rows_in": len(completions),
            "rows_out": len(completions) - failed.total(),
            "dropped": dict(failed),
            "tokens_out": sum(row["num_tokens"] for row in completions),
        }
    )
