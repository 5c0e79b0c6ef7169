"""How many of the answers that clients really get are in character, by the judge and the threshold that the run measured with.

    a share of the answers -> {chat with the constitution, chat without} x {up to the answer, with it} -> score -> verdict

A rate that leaves the published one says that what clients ask, or what answers them, is not what was measured.
"""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from character_ray.config import DriftConfig
from character_ray.judging.prompt_scores import OPENED, WHOLE, answer_mean, read_prompt
from character_ray.serving.metrics import DriftMetrics
from character_ray.serving.personas import Persona
from character_ray.spoken import without_thoughts
from character_ray.yardstick import Yardstick

__all__ = ["Ask", "DriftWatch", "heard", "said"]

logger = logging.getLogger("ray.serve")

REPEAT_S = 5.0
"""How often published rates are told again: Ray forgets a gauge that was not set within two of its intervals of ten seconds."""

Ask = Callable[[Sequence[Mapping[str, str]], Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""What the untrained base makes of a chat, with further fields of the request; one token is written."""


@dataclass(frozen=True)
class _Taken:
    persona: Persona
    yardstick: Yardstick
    question: dict[str, str]
    """The user's last turn. The run's threshold is of answers judged without what was said before, so these are, too."""
    text: str


class DriftWatch:
    """Takes a share of the answers and scores one after another while requests go on.

    Args:
        config: How many.
        ask: Has the base read a chat.
        metrics: Counts the verdicts.
    """

    def __init__(self, config: DriftConfig, ask: Ask, metrics: DriftMetrics) -> None:
        self._config, self._ask, self._metrics = config, ask, metrics
        self._draws = random.Random(config.seed)
        self._waiting: asyncio.Queue[_Taken] = asyncio.Queue(config.waiting)
        self._published: dict[str, float] = {}

    def takes(self, persona: Persona | None, body: Any) -> bool:
        """Whether the answer to a request is to be scored: one answer to a chat of text, by a persona that has a yardstick."""
        if persona is None or persona.yardstick is None or (body.n or 1) != 1:
            return False
        turns = _turns(getattr(body, "messages", None) or ())
        if getattr(body, "tools", None) or turns is None or not turns or turns[-1]["role"] != "user":
            return False
        return self._draws.random() < self._config.share

    def offer(self, persona: Persona, messages: Sequence[Any], text: str) -> None:
        """Have an answer scored, unless too many wait.

        Args:
            persona: Who gave it.
            messages: The request's, control tokens made harmless.
            text: The answer, likewise.
        """
        turns, spoken = _turns(messages), without_thoughts(text)
        if persona.yardstick is None or not turns or not spoken:
            return
        try:
            self._waiting.put_nowait(_Taken(persona, persona.yardstick, turns[-1], spoken))
        except asyncio.QueueFull:
            self._count(persona, "let_go")

    async def follow(self) -> None:
        """Score what is taken, until cancelled."""
        repeating = asyncio.create_task(self._repeat_published())
        try:
            await self._score_taken()
        finally:
            repeating.cancel()

    async def _repeat_published(self) -> None:
        while True:
            await asyncio.sleep(REPEAT_S)
            for slug, rate in self._published.items():
                self._metrics.published_rate.set(rate, tags={"persona": slug})

    async def _score_taken(self) -> None:
        while True:
            taken = await self._waiting.get()
            try:
                score = await self._score(taken)
            except Exception as error:  # a watch must not end what it watches
                logger.warning("an answer of %s was not scored: %s", taken.persona.pinned, error)
                score = None
            if taken.yardstick.persona_rate is not None:
                self._published[taken.persona.slug] = taken.yardstick.persona_rate
                self._metrics.published_rate.set(taken.yardstick.persona_rate, tags={"persona": taken.persona.slug})
            if score is None:
                self._count(taken.persona, "not_scored")
            else:
                self._count(taken.persona, "in_character" if score > taken.yardstick.threshold else "out_of_character")

    async def _score(self, taken: _Taken) -> float | None:
        """Nats per token by which the constitution makes the answer likelier."""
        means = []
        for context in ([{"role": "system", "content": taken.yardstick.system_prompt}], []):
            chat = [*context, taken.question]
            opened = await self._ask(chat, OPENED)
            whole = await self._ask([*chat, {"role": "assistant", "content": taken.text}], WHOLE)
            mean = answer_mean(
                read_prompt(opened["prompt_token_ids"], None, None),
                read_prompt(whole["prompt_token_ids"], whole["prompt_logprobs"], taken.text),
            )
            if mean is None:
                return None
            means.append(mean)
        return means[0] - means[1]

    def _count(self, persona: Persona, verdict: str) -> None:
        self._metrics.answers.inc(tags={"persona": persona.slug, "verdict": verdict})


def said(body: bytes) -> str:
    """The text of a chat completion."""
    choices = json.loads(body).get("choices") or [{}]
    return str((choices[0].get("message") or {}).get("content") or "")


async def heard(pieces: Any, done: Callable[[str], None]) -> AsyncIterator[Any]:
    """The pieces of a chat's stream as they are, and its text told once it has come to its end; not of one that ends with an error.

    Args:
        pieces: Text or bytes, each of whole events.
        done: Is told the text.
    """
    events: list[str] = []
    async for piece in pieces:
        text = piece if isinstance(piece, str) else piece.decode()
        events += [event for event in text.split("\n\n") if event.startswith("data: {")]
        yield piece
    told = [json.loads(event.removeprefix("data: ")) for event in events]
    if not any("error" in event for event in told):
        deltas = [choice.get("delta") or {} for event in told for choice in event.get("choices") or ()]
        done("".join(delta.get("content") or "" for delta in deltas))


def _turns(messages: Sequence[Any]) -> list[dict[str, str]] | None:
    """Role and text of every turn but system prompts; ``None`` where a turn is not text alone."""
    found = []
    for message in messages:
        turn = message if isinstance(message, Mapping) else message.model_dump()
        if not isinstance(turn.get("content"), str):
            return None
        if turn["role"] in ("user", "assistant"):
            found.append({"role": str(turn["role"]), "content": turn["content"]})
    return found
