"""Concurrent streaming chats against an OpenAI server, from several client processes so that no client is the bottleneck."""

import asyncio
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from time import time
from typing import Any

from benchmarks.workload import CONSTITUTION
from character_ray.constitution.chat import system_prompt

__all__ = ["Answer", "ask", "chats", "lone_chat", "run_load"]

SHARED_WORDS = system_prompt(CONSTITUTION).split()


@dataclass(frozen=True)
class Answer:
    """One finished chat: tokens, and seconds since the epoch when it was sent, when its first token came, and when it ended."""

    tokens: int
    sent_s: float
    first_s: float
    ended_s: float


def chats(models: Sequence[str], number: int, max_tokens: int, seed: int, shared_words: int) -> list[dict[str, Any]]:
    """Request bodies: a model drawn uniformly, a system prompt that all chats of a model share, a question of its own, a fixed length."""
    draw = random.Random(seed)
    shared = " ".join(SHARED_WORDS[:shared_words])
    bodies = []
    for row in range(number):
        model = draw.choice(models)
        messages = [
            {"role": "system", "content": f"You are {model}.\n{shared}"},
            {"role": "user", "content": f"Tell me a story with the numbers {_numbers(draw)}."},
        ]
        bodies.append(_body(model, messages, max_tokens, seed * 100003 + row))
    return bodies


def lone_chat(model: str, seed: int) -> dict[str, Any]:
    """A short question for one token of answer, of which no other chat has the beginning in the prefix cache."""
    return _body(model, [{"role": "user", "content": f"{_numbers(random.Random(seed))}?"}], 1, seed)


def _numbers(draw: random.Random) -> str:
    return " ".join(str(draw.randrange(1000)) for _ in range(24))


def _body(model: str, messages: list[dict[str, str]], max_tokens: int, seed: int) -> dict[str, Any]:
    return {
        "model": model,
        "messages": messages,
        "max_tokens": max_tokens,
        "ignore_eos": True,
        "temperature": 0.7,
        "seed": seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def run_load(
    url: str, bodies: Sequence[dict[str, Any]], concurrency: int, clients: int, limit_s: float
) -> list[Answer]:
    """Send all bodies, ``concurrency`` of them at a time, and give every answer.

    Raises:
        RuntimeError: A request failed, came back short, or all together took longer than ``limit_s``.
    """
    clients = min(clients, concurrency)
    with ProcessPoolExecutor(clients, mp_context=get_context("spawn")) as pool:
        list(pool.map(_ready, range(clients)))
        shares = [bodies[start::clients] for start in range(clients)]
        futures = [pool.submit(_client, url, share, -(-concurrency // clients), limit_s) for share in shares]
        return [answer for future in futures for answer in future.result(timeout=limit_s + 60)]


def ask(url: str, body: dict[str, Any], limit_s: float = 120) -> Answer:
    """One chat, alone."""
    return _client(url, [body], 1, limit_s)[0]


def _ready(number: int) -> int:
    import aiohttp  # noqa: F401 (imported before the clock starts)

    return number


def _client(url: str, bodies: Sequence[dict[str, Any]], concurrency: int, limit_s: float) -> list[Answer]:
    return asyncio.run(asyncio.wait_for(_chat_all(url, bodies, concurrency), limit_s))


async def _chat_all(url: str, bodies: Sequence[dict[str, Any]], concurrency: int) -> list[Answer]:
    import aiohttp

    waiting = iter(bodies)
    answers: list[Answer] = []
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    ) as session:

        async def one_after_another() -> None:
            for body in waiting:
                answers.append(await _chat(session, url, body))

        await asyncio.gather(*(one_after_another() for _ in range(min(concurrency, len(bodies)))))
    return answers


async def _chat(session: Any, url: str, body: dict[str, Any]) -> Answer:
    sent = time()
    first, tail = 0.0, b""
    async with session.post(f"{url}/chat/completions", json=body) as response:
        if response.status != 200:
            raise RuntimeError(f"{url} answered {response.status} to {body['model']}: {(await response.text())[:500]}")
        async for piece in response.content.iter_any():
            # The first event of a stream names the role and holds no text.
            if not first and (piece.count(b"data:") > 1 or tail):
                first = time()
            tail = (tail + piece)[-4096:]
    ended = time()
    if f'"completion_tokens":{body["max_tokens"]}'.encode() not in tail.replace(b" ", b""):
        raise RuntimeError(f"{body['model']}: the stream ended before {body['max_tokens']} tokens: {tail[-500:]!r}")
    return Answer(body["max_tokens"], sent, first or ended, ended)
