"""Conversations and single requests side by side on one vLLM engine.

    Dialogue -> Talk            every conversation at its own pace, none waits for another's turn
    Scripted -> Talk            the same, with a user who reads from a script
    Request  -> Completion      in the places that conversations leave free

The asynchronous engine keeps the history of a conversation that goes on in its prefix cache. At most twice what fills the engine is
resident, and no more conversations than the cache holds while they last; the rest waits in Ray Data. Rows that an engine took along when it
died are asked again of the one that replaces it, by halves where that dies too, so that a row which kills engines costs itself alone.
"""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from character_ray.chat_safety import neutralize
from character_ray.config import EngineConfig
from character_ray.inference.arrivals import arriving
from character_ray.inference.cache_room import CacheRoom, cache_tokens, tokens_of
from character_ray.inference.engine_room import engine_of, needed_by_talker
from character_ray.inference.turns import view_of, whole_turn
from character_ray.inference.weights import Weights
from character_ray.rows import Completion, Dialogue, Message, Request, Scripted, Talk, content_hash
from character_ray.spoken import without_thoughts
from character_ray.vllm_options import engine_environment, engine_kwargs

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["Talker", "batches_at_once", "converse", "through_talkers"]

# So many rows that kill an engine, each on its own, with none answered between: it is not the rows.
HOPELESS = 5


def converse(
    dialogues: Sequence[Dialogue | Scripted], requests: Sequence[Request], weights: Weights, engine: EngineConfig
) -> Iterator[list[Completion | Talk]]:
    """Hold the dialogues and complete the requests, which share engines; yields rows as they are finished.

    Dialogues begin first: they take longest, and requests fill the engine while the last of them end.
    """
    dataset = through_talkers([*dialogues, *requests], weights, engine)
    for finished in arriving(dataset, needed_by_talker(engine_of(weights), engine), engine.wait_for_nodes_s):
        yield [json.loads(row["row_json"]) for row in finished]


def through_talkers(rows: Sequence[Dialogue | Scripted | Request], weights: Weights, engine: EngineConfig) -> "Dataset":
    """The rows as a pool of engines answers them, not computed yet; each row is JSON."""
    import ray.data

    packed = [{"row_json": json.dumps(row)} for row in rows]
    return ray.data.from_items(packed, override_num_blocks=-(-len(rows) // engine.batch_size)).map_batches(
        Talker,
        fn_constructor_args=(weights, engine),
        batch_size=engine.batch_size,
        concurrency=engine.pool,
        max_concurrency=batches_at_once(engine),
        num_cpus=1,
        num_gpus=engine.gpus_of_one,
        runtime_env={"env_vars": engine_environment(engine)},
    )


def batches_at_once(engine: EngineConfig) -> int:
    """Twice what fills an engine: a batch ends with its slowest row, and its free places go to the next one's."""
    return max(2, -(-2 * engine.max_num_seqs // engine.batch_size))


class EngineLostError(Exception):
    """The engine died while it answered a row, so that the row must be asked again."""


class NotAskedError(Exception):
    """The engine dies whatever it is asked."""


class TooLongError(ValueError):
    """A prompt leaves no room for a completion in ``max_model_len``."""


class Talker:
    """One vLLM engine that answers many rows at once; one per Ray actor."""

    def __init__(self, weights: Weights, engine: EngineConfig) -> None:
        self._config = engine
        self._turn, self._idle, self._answering = asyncio.Lock(), asyncio.Event(), 0
        self._may_be_lost, self._deadly_rows = True, 0
        self._idle.set()
        self._room = CacheRoom(math.inf)
        self._start(weights)

    async def __call__(self, batch: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Answer the rows of one batch, side by side."""
        answered = await self.answer([str(row) for row in batch["row_json"]], self._weights)
        yield {"row_json": np.array(answered, dtype=object)}

    async def answer(self, rows: Sequence[str], weights: Weights) -> list[str]:
        """Answer rows, each as JSON, side by side under the weights; where the engine holds others it reads these first.

        Rows that an engine was lost with are asked again, without those of other batches beside them and then by halves. One that the
        engine is lost with when it is asked alone has failed.
        """
        asked = [json.loads(row) for row in rows]
        async with self._among_others(weights):
            answered = await self._side_by_side(asked)
        lost = [number for number, answer in enumerate(answered) if answer is None]
        if lost:
            async with self._alone():
                again = await self._by_halves([asked[number] for number in lost], weights)
            for number, answer in zip(lost, again, strict=True):
                answered[number] = answer
        return [json.dumps(answer) for answer in answered]

    def end(self) -> None:
        """End the engine's own process."""
        self._engine.shutdown()

    @asynccontextmanager
    async def _among_others(self, weights: Weights) -> AsyncIterator[None]:
        """While other batches are answered under the same weights."""
        async with self._turn:
            await self._be_ready(weights)
            self._answering += 1
            self._idle.clear()
        try:
            yield
        finally:
            self._answering -= 1
            if not self._answering:
                self._idle.set()

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """While no other batch is answered."""
        async with self._turn:
            await self._idle.wait()
            yield

    async def _by_halves(self, rows: Sequence[Any], weights: Weights) -> list[Completion | Talk | None]:
        """The answers; each half of the rows that the engine is lost with is asked without the other. None is ``None``."""
        await self._be_ready(weights)
        answered = await self._side_by_side(rows, may_be_lost=len(rows) > 1)
        if len(rows) == 1 and self._engine.errored:
            self._deadly_rows += 1
        lost = [number for number, answer in enumerate(answered) if answer is None]
        middle = -(-len(lost) // 2)
        for half in filter(None, (lost[:middle], lost[middle:])):
            again = await self._by_halves([rows[number] for number in half], weights)
            for number, answer in zip(half, again, strict=True):
                answered[number] = answer
        return answered

    async def _be_ready(self, weights: Weights) -> None:
        if weights == self._weights and self._deadly_rows >= HOPELESS:
            return
        if weights != self._weights or self._must_start:
            await self._idle.wait()
            await self._take_up(weights)

    async def _side_by_side(self, rows: Sequence[Any], *, may_be_lost: bool = True) -> list[Completion | Talk | None]:
        """The answers, ``None`` for a row that the engine was lost with; if none may be lost, such a row says what became of it."""
        self._may_be_lost = may_be_lost
        answers = await asyncio.gather(*(self._answer(row) for row in rows), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, EngineLostError):
                raise answer
        return [None if isinstance(answer, BaseException) else answer for answer in answers]

    def _reason(self, cause: Exception) -> str:
        """What a row says that failed.

        Raises:
            EngineLostError: It was the engine that failed, and the row is to be asked again.
        """
        if self._engine.errored and self._may_be_lost and not isinstance(cause, NotAskedError):
            raise EngineLostError from cause
        return f"{type(cause).__name__}: {cause}"

    def _start(self, weights: Weights) -> None:
        import vllm
        from transformers import AutoTokenizer

        kwargs = engine_kwargs(self._config, weights.kind[1])
        self._engine = vllm.AsyncLLMEngine.from_engine_args(vllm.AsyncEngineArgs(model=str(weights.model), **kwargs))
        self._weights, self._half_read = weights, False
        self._room = CacheRoom(cache_tokens(self._engine))
        self._tokenizer: Any = AutoTokenizer.from_pretrained(weights.model)

    async def _take_up(self, weights: Weights) -> None:
        if weights != self._weights:
            self._deadly_rows = 0
        if weights.kind != self._weights.kind or self._must_start:
            self.end()
            self._start(weights)
            return
        self._half_read = True
        if weights.model != self._weights.model:
            await self._engine.collective_rpc("reload_weights", kwargs={"weights_path": str(weights.model)})
            # Keys and values of the old weights are worth nothing under the new ones.
            if not await self._engine.reset_prefix_cache():
                raise RuntimeError(
                    "vLLM still holds blocks of requests that have ended, so its prefix cache cannot be emptied"
                )
        self._weights, self._half_read = weights, False

    @property
    def _must_start(self) -> bool:
        """Whether the engine is dead, or failed while it read other weights and holds neither."""
        return self._half_read or self._engine.errored

    async def _answer(self, row: Any) -> Completion | Talk:
        if "turns" in row:
            async with self._room.booked(tokens_of(row, self._config.max_model_len)):
                answer: Completion | Talk = await (self._follow(row) if "lines" in row else self._converse(row))
        else:
            answer = await self._complete(row)
        if not answer["error"]:
            self._deadly_rows = 0
        return answer

    async def _follow(self, row: Scripted) -> Talk:
        said: list[Message] = []
        num_tokens, num_cut, reason, error = 0, 0, "", ""
        try:
            for number, line in enumerate(row["lines"]):
                said.append(Message(role="user", content=line))
                turn_id = f"{row['row_id']}-{number}"
                seed = int(content_hash(turn_id), 16) % 2**31
                output = await self._say(turn_id, [*row["context"], *said], row["sampling"] | {"seed": seed})
                text = without_thoughts(output.text)
                said.append(Message(role="assistant", content=text))
                num_tokens += len(output.token_ids)
                num_cut += output.finish_reason == "length"
                if not text:  # an answer too, but nobody goes on talking to it
                    break
        except TooLongError:
            reason = "too_long_for_engine"
        except Exception as cause:  # one broken conversation must not end the others
            error = self._reason(cause)
        return _talk(row, said, num_tokens, num_cut, reason, error)

    async def _complete(self, row: Request) -> Completion:
        text, num_tokens, finish_reason, error = "", 0, "error", ""
        try:
            # What is too long is refused by vLLM, in the same words as where Ray Data asks it.
            output = await self._say(row["row_id"], row["messages"], row["sampling"], checked=False)
            text, num_tokens, finish_reason = output.text.strip(), len(output.token_ids), str(output.finish_reason)
        except Exception as cause:  # one broken row must not end the others
            error = self._reason(cause)
        return Completion(
            row_id=row["row_id"],
            prompt_id=row["prompt_id"],
            sample=row["sample"],
            completion=text,
            num_tokens=num_tokens,
            finish_reason=finish_reason,
            error=error,
        )

    async def _converse(self, row: Dialogue) -> Talk:
        turns, num_tokens, num_cut, reason, error = [row["opening"]], 0, 0, "", ""
        try:
            while len(turns) < row["turns"]:
                turn_id = f"{row['row_id']}-{len(turns)}"
                seed = int(content_hash(turn_id), 16) % 2**31
                messages = view_of(len(turns) % 2, row["system"], turns)
                turn = whole_turn(await self._say(turn_id, messages, row["sampling"] | {"seed": seed}))
                num_tokens += turn.num_tokens
                if not turn.text:
                    reason = "empty"
                    break
                turns.append(turn.text)
                num_cut += turn.is_cut
        except TooLongError:
            reason = "too_long_for_engine"
        except Exception as cause:  # one broken conversation must not end the others
            error = self._reason(cause)
        # The opener's side is dropped: the row is what the second speaker saw and said.
        return _talk(row, view_of(1, row["system"], turns)[1:], num_tokens, num_cut, reason, error)

    async def _say(
        self, request_id: str, messages: Sequence[Message], sampling: dict[str, Any], *, checked: bool = True
    ) -> Any:
        if self._deadly_rows >= HOPELESS:
            raise NotAskedError(
                f"not asked, since {HOPELESS} rows before it ended the engine, each on its own, and none was answered between them"
            )
        prompt, room = self._prompt(messages), self._config.max_model_len
        if checked and len(prompt) >= room:
            raise TooLongError(
                f"a prompt of {len(prompt)} tokens leaves no room for a completion in max_model_len={room}"
            )
        return await self._generate(request_id, prompt, sampling)

    def _prompt(self, messages: Sequence[Message]) -> list[int]:
        said = [{**turn, "content": neutralize(turn["content"], self._weights.special_tokens)} for turn in messages]
        begun = messages[-1]["role"] == "assistant"
        return list(
            self._tokenizer.apply_chat_template(
                said, add_generation_prompt=not begun, continue_final_message=begun, return_dict=True
            )["input_ids"]
        )

    async def _generate(self, request_id: str, prompt: list[int], sampling: dict[str, Any]) -> Any:
        import vllm

        lora = None
        if self._weights.adapter is not None:
            from vllm.lora.request import LoRARequest

            name = str(self._weights.adapter)
            # vLLM tells adapters apart by their number.
            lora = LoRARequest(name, int(content_hash(name), 16) % (2**31 - 1) + 1, name)
        # Only the finished answer is read; an output for every token would cost the front end three times as much.
        kind = vllm.sampling_params.RequestOutputKind.FINAL_ONLY
        final = None
        async for output in self._engine.generate(
            {"prompt_token_ids": prompt},
            vllm.SamplingParams(**sampling, output_kind=kind),
            request_id,
            lora_request=lora,
        ):
            final = output
        assert final is not None, "vLLM yields at least one output"
        return final.outputs[0]


def _talk(
    row: Dialogue | Scripted, messages: list[Message], num_tokens: int, num_cut: int, reason: str, error: str
) -> Talk:
    return Talk(
        row_id=row["row_id"], messages=messages, num_tokens=num_tokens, num_cut=num_cut, drop_reason=reason, error=error
    )
