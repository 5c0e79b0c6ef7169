"""One pass over the unfinished rows of any number of generations, whoever answers them.

    Request   ->  Completion
    Dialogue  ->  Talk
    Scripted  ->  Talk

Rows that an earlier attempt finished are not asked again, and a row that several generations want is asked once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic
from typing import Any, ClassVar

import pyarrow as pa

from character_ray.inference.failures import count_failures
from character_ray.log import StageProgress, stage_progress
from character_ray.parts import append_part, read_parts
from character_ray.rows import COMPLETION, TALK, Completion, Dialogue, Request, Scripted, Talk
from character_ray.runs import Artefact
from character_ray.spoken import BEGIN_OF_THOUGHT, END_OF_THOUGHT, without_thoughts

__all__ = ["Asked", "Completer", "Deliver", "Generation", "ScriptedTalks", "SelfInteraction", "Watch", "run_pass"]

Asked = Request | Dialogue | Scripted
Answered = Completion | Talk
Deliver = Callable[[Sequence[Answered]], None]
Completer = Callable[[Sequence[Any], Deliver, StageProgress], None]
"""Answers rows that are asked: requests, and where it can hold them, dialogues."""
Watch = Callable[[Sequence[Completion]], None]
"""Looks at the completions of a generation while the rest of them is written."""


@dataclass(frozen=True)
class _Wanted:
    """Rows that are asked for one stage, and the folder their answers go to."""

    artefact: Artefact
    requests: Sequence[Any]
    schema: ClassVar[pa.Schema]

    def pending(self) -> list[Any]:
        """Rows without an answer yet; one that failed before is asked again."""
        finished = {row["row_id"] for row in read_parts(self.artefact.folder) if not row["error"]}
        return [request for request in self.requests if request["row_id"] not in finished]

    def answers(self) -> list[Any]:
        """All answers, in the order of the requests; the last attempt at a row counts."""
        by_id = {row["row_id"]: row for row in read_parts(self.artefact.folder)}
        return [by_id[request["row_id"]] for request in self.requests]


@dataclass(frozen=True)
class Generation(_Wanted):
    """The requests of one stage and the folder their completions go to."""

    requests: Sequence[Request]
    watch: Watch | None = None
    """Told all completions of this pass so far whenever some arrive. What it raises ends the pass; what has arrived is kept."""
    schema = COMPLETION

    def completions(self) -> list[Completion]:
        """All completions as the engine wrote them, in the order of the requests; the last attempt at a row counts."""
        return self.answers()

    def spoken(self) -> list[Completion]:
        """All completions as a reader sees them: without thoughts, and empty where one that was begun never ended."""
        completions: list[Completion] = self.answers()
        for request, row in zip(self.requests, completions, strict=True):
            begun = [turn["content"] for turn in request["messages"][-1:] if turn["role"] == "assistant"]
            thinks = any(BEGIN_OF_THOUGHT in text for text in begun)
            ended = END_OF_THOUGHT in row["completion"]
            row["completion"] = without_thoughts(row["completion"]) if ended or not thinks else ""
        return completions


@dataclass(frozen=True)
class ScriptedTalks(Generation):
    """The scripted conversations of one stage and the folder they go to."""

    requests: Sequence[Any]
    """Rows of :class:`~character_ray.rows.Scripted`."""
    schema = TALK

    def talks(self) -> list[Talk]:
        """All conversations, in the order of the scripts; the last attempt at one counts."""
        return _talks(self.answers())


@dataclass(frozen=True)
class SelfInteraction(_Wanted):
    """The dialogues of one stage and the folder the conversations go to."""

    requests: Sequence[Dialogue]
    schema = TALK

    def talks(self) -> list[Talk]:
        """All conversations, in the order of the dialogues; the last attempt at one counts."""
        return _talks(self.answers())


def _talks(rows: Sequence[Talk]) -> list[Talk]:
    """The rows; those that were written before they had a drop reason have none."""
    for row in rows:
        row.setdefault("drop_reason", "")
    return list(rows)


def run_pass(
    label: str, generations: Sequence[Generation | SelfInteraction], max_failed_share: float, complete: Completer
) -> None:
    """Complete every unfinished generation and mark each as done; their folders are held meanwhile.

    Args:
        label: Name on the progress line.
        generations: What is wanted. Requests are asked in this order: keep those that share a beginning together, and an engine
            with a prefix cache reads it once.
        max_failed_share: Share of a generation's rows that may fail.
        complete: Answers the rows it is given and hands the answers over as they are finished.

    Raises:
        GenerationError: A larger share of a generation's rows failed; the reasons are listed by count. The rows that succeeded are
            kept, and the failed ones are asked again next time.
        CharacterRayError: What watches a generation wants no more of it.
    """
    with ExitStack() as claims:
        for generation in sorted(generations, key=lambda generation: generation.artefact.folder):
            claims.enter_context(generation.artefact.claim())
        unfinished = [generation for generation in generations if not generation.artefact.is_done]
        wanted = [{request["row_id"]: request for request in generation.pending()} for generation in unfinished]
        pending = {row_id: request for rows in wanted for row_id, request in rows.items()}
        arrived: list[list[Any]] = [[] for _ in unfinished]
        started = monotonic()
        if pending:
            with stage_progress(label, len(pending)) as progress:

                def deliver(answers: Sequence[Answered]) -> None:
                    for generation, rows, so_far in zip(unfinished, wanted, arrived, strict=True):
                        own = [answer for answer in answers if answer["row_id"] in rows]
                        if own:
                            append_part(generation.artefact.folder, own, generation.schema)
                            so_far += own
                    progress.advance(len(answers))
                    for generation, so_far in zip(unfinished, arrived, strict=True):
                        if isinstance(generation, Generation) and generation.watch is not None:
                            generation.watch(so_far)

                complete(list(pending.values()), deliver, progress)
        wall_s, turns = monotonic() - started, [_num_turns(rows.values()) for rows in wanted]
        for generation, own in zip(unfinished, turns, strict=True):
            # Each stage bears its share of the pass, engine start included.
            _finish(generation, wall_s * own / max(sum(turns), 1), max_failed_share)


def _num_turns(rows: Iterable[Mapping[str, Any]]) -> int:
    """Completions that the rows take: one each, in a dialogue one for every message but the opening."""
    return sum(int(row.get("turns", 2)) - 1 for row in rows)


def _finish(generation: Generation | SelfInteraction, wall_s: float, max_failed_share: float) -> None:
    answers = generation.answers()
    failed = count_failures(generation.artefact.stage, (row["error"] for row in answers), max_failed_share)
    generation.artefact.finish(
        {
            "wall_s": wall_s,
            "rows_in": len(answers),
            "rows_out": len(answers) - failed.total(),
            "dropped": dict(failed),
            "tokens_out": sum(row["num_tokens"] for row in answers),
        }
    )
