"""One pass over the unfinished rows of any number of generations, whoever completes them.

    {row_id, prompt_id, sample, messages, sampling}  ->  {row_id, prompt_id, sample, completion, num_tokens, finish_reason, error}

Rows that an earlier attempt finished are not asked again, and a row that several generations want is asked once.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic

from character_ray.inference.failures import count_failures
from character_ray.log import StageProgress, stage_progress
from character_ray.parts import append_part, read_parts
from character_ray.rows import COMPLETION, Completion, Request
from character_ray.runs import Artefact

__all__ = ["Completer", "Deliver", "Generation", "run_pass"]

Deliver = Callable[[Sequence[Completion]], None]
Completer = Callable[[Sequence[Request], Deliver, StageProgress], None]


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


def run_pass(label: str, generations: Sequence[Generation], max_failed_share: float, complete: Completer) -> None:
    """Complete every unfinished generation and mark each as done; their folders are held meanwhile.

    Args:
        label: Name on the progress line.
        generations: What is wanted. Requests are asked in this order: keep those that share a beginning together, and an engine
            with a prefix cache reads it once.
        max_failed_share: Share of a generation's rows that may fail.
        complete: Answers the requests it is given and hands completions over as they are finished.

    Raises:
        GenerationError: A larger share of a generation's rows failed; the reasons are listed by count. The rows that succeeded are
            kept, and the failed ones are asked again next time.
    """
    with ExitStack() as claims:
        for generation in sorted(generations, key=lambda generation: generation.artefact.folder):
            claims.enter_context(generation.artefact.claim())
        unfinished = [generation for generation in generations if not generation.artefact.is_done]
        wanted = [{request["row_id"]: request for request in generation.pending()} for generation in unfinished]
        pending = {row_id: request for rows in wanted for row_id, request in rows.items()}
        started = monotonic()
        if pending:
            with stage_progress(label, len(pending)) as progress:

                def deliver(completions: Sequence[Completion]) -> None:
                    for generation, rows in zip(unfinished, wanted, strict=True):
                        own = [completion for completion in completions if completion["row_id"] in rows]
                        if own:
                            append_part(generation.artefact.folder, own, COMPLETION)
                    progress.advance(len(completions))

                complete(list(pending.values()), deliver, progress)
        wall_s, every = monotonic() - started, sum(map(len, wanted))
        for generation, rows in zip(unfinished, wanted, strict=True):
            # Each stage bears its share of the pass, engine start included.
            _finish(generation, wall_s * len(rows) / max(every, 1), max_failed_share)


def _finish(generation: Generation, wall_s: float, max_failed_share: float) -> None:
    completions = generation.completions()
    failed = count_failures(generation.artefact.stage, (row["error"] for row in completions), max_failed_share)
    generation.artefact.finish(
        {
            "wall_s": wall_s,
            "rows_in": len(completions),
            "rows_out": len(completions) - failed.total(),
            "dropped": dict(failed),
            "tokens_out": sum(row["num_tokens"] for row in completions),
        }
    )
