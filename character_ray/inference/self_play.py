"""Self-interaction: two instances of one model talk, every conversation at its own pace.

    {row_id, system, opening, turns} -> {row_id, messages, error}

Conversations advance independently in vLLM's asynchronous engine, so a slow one holds up no other, and the history of one that
goes on stays in the prefix cache. Each side sees itself as the assistant and the other as the user.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from time import monotonic
from typing import Any, TypedDict

import pyarrow as pa

from character_ray.chat_safety import neutralize
from character_ray.config import EngineConfig, SamplingConfig
from character_ray.inference.arrivals import arriving
from character_ray.inference.failures import count_failures
from character_ray.inference.generate import Weights
from character_ray.log import stage_progress
from character_ray.parts import append_part, read_parts
from character_ray.rows import Message, content_hash
from character_ray.runs import Artefact
from character_ray.vllm_options import engine_environment, engine_kwargs

__all__ = ["DialogueRow", "SelfPlay", "TalkedRow", "play", "view_of"]

TALKED = pa.schema({"row_id": pa.string(), "messages_json": pa.string(), "error": pa.string()})

# What the side that spoke first is told: chat templates want a user turn before the first assistant turn.
BEGIN = "(The conversation begins.)"


class DialogueRow(TypedDict):
    """A conversation to hold."""

    row_id: str
    system: str
    opening: str
    turns: int


class TalkedRow(TypedDict):
    """A conversation that was held, as its second speaker saw it: the opening is the user's."""

    row_id: str
    messages: list[Message]
    error: str


def play(
    label: str,
    artefact: Artefact,
    rows: Sequence[DialogueRow],
    weights: Weights,
    engine: EngineConfig,
    sampling: SamplingConfig,
) -> list[TalkedRow]:
    """Hold every conversation that no earlier attempt finished; return all, in the order of ``rows``.

    Raises:
        GenerationError: A larger share of the conversations failed than ``engine.max_failed_share``; the others are kept.
    """
    import ray.data

    started = monotonic()
    finished = {row["row_id"] for row in read_parts(artefact.folder) if not row["error"]}
    pending = [row for row in rows if row["row_id"] not in finished]
    if pending:
        with stage_progress(label, len(pending), "conversations") as progress:
            progress.note(f"starting vLLM on {weights.model.name}")
            dataset = ray.data.from_items(
                [dict(row) for row in pending], override_num_blocks=-(-len(pending) // engine.batch_size)
            ).map_batches(
                SelfPlay,
                fn_constructor_args=(weights, engine, sampling),
                batch_size=engine.batch_size,
                concurrency=engine.pool,
                # Twice what fills the engine: a batch ends with its slowest conversation, and its free places go to the next one's.
                max_concurrency=max(2, -(-2 * engine.max_num_seqs // engine.batch_size)),
                num_cpus=1,
                num_gpus=engine.gpus // engine.replicas,
                runtime_env={"env_vars": engine_environment(engine)},
            )
            for talked in arriving(dataset):
                append_part(artefact.folder, talked, TALKED)
                progress.advance(len(talked))
    by_id = {row["row_id"]: row for row in read_parts(artefact.folder)}
    if not artefact.is_done:
        errors = (by_id[row["row_id"]]["error"] for row in rows)
        failed = count_failures(artefact.stage, errors, engine.max_failed_share)
        summary = {"rows_in": len(rows), "rows_out": len(rows) - failed.total(), "dropped": dict(failed)}
        artefact.finish({"wall_s": monotonic() - started, **summary})
    return [
        TalkedRow(
            row_id=row["row_id"],
            messages=json.loads(by_id[row["row_id"]]["messages_json"]),
            error=by_id[row["row_id"]]["error"],
        )
        for row in rows
    ]


def view_of(speaker: int, system: str, turns: Sequence[str]) -> list[Message]:
    """The chat as one of the two sees it.

    Args:
        speaker: 0 for the side that opened the conversation, 1 for the other.
        system: System prompt of both.
        turns: What was said so far, alternating, the opening first.
    """
    messages = [Message(role="system", content=system)]
    if speaker == 0:
        messages.append(Message(role="user", content=BEGIN))
    for number, text in enumerate(turns):
        messages.append(Message(role="assistant" if number % 2 == speaker else "user", content=text))
    return messages


class SelfPlay:
    """One vLLM engine that holds many conversations at once; one per Ray actor."""

    def __init__(self, weights: Weights, engine: EngineConfig, sampling: SamplingConfig) -> None:
        import vllm

        kwargs = engine_kwargs(engine, weights.adapter_rank if weights.adapter else 0)
        self._engine = vllm.AsyncLLMEngine.from_engine_args(vllm.AsyncEngineArgs(model=str(weights.model), **kwargs))
        self._weights, self._sampling = weights, sampling
        self._tokenizer: Any = None

    async def __call__(self, batch: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Hold the conversations of one batch, side by side."""
        columns = (batch[name] for name in ("row_id", "system", "opening", "turns"))
        rows = [
            DialogueRow(row_id=str(i), system=str(s), opening=str(o), turns=int(t))
            for i, s, o, t in zip(*columns, strict=True)
        ]
        talked = await asyncio.gather(*(self._converse(row) for row in rows))
        yield {name: [row[name] for row in talked] for name in TALKED.names}

    async def _converse(self, row: DialogueRow) -> dict[str, str]:
        turns, error = [row["opening"]], ""
        try:
            while len(turns) < row["turns"]:
                turns.append(await self._say(row, turns))
        except Exception as cause:  # one broken conversation must not end the others
            error = f"{type(cause).__name__}: {cause}"
        # The opener's side is dropped: the row is what the second speaker saw and said.
        messages = view_of(1, row["system"], turns)[1:]
        return {"row_id": row["row_id"], "messages_json": json.dumps(messages), "error": error}

    async def _say(self, row: DialogueRow, turns: list[str]) -> str:
        import vllm

        if self._tokenizer is None:
            from transformers import AutoTokenizer

            self._tokenizer = AutoTokenizer.from_pretrained(self._weights.model)
        said = [neutralize(turn, self._weights.special_tokens) for turn in turns]
        messages = view_of(len(turns) % 2, row["system"], said)
        ids = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        request_id = f"{row['row_id']}-{len(turns)}"
        parameters = self._sampling.model_dump() | {"seed": int(content_hash(request_id), 16) % 2**31}
        lora = None
        if self._weights.adapter is not None:
            from vllm.lora.request import LoRARequest

            lora = LoRARequest(str(self._weights.adapter), 1, str(self._weights.adapter))
        final = None
        async for output in self._engine.generate(
            {"prompt_token_ids": list(ids)}, vllm.SamplingParams(**parameters), request_id, lora_request=lora
        ):
            final = output
        assert final is not None, "vLLM yields at least one output"
        text = final.outputs[0].text.strip()
        if not text:
            raise ValueError(f"turn {len(turns)} came back empty")
        return text
