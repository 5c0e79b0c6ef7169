"""Ask a running deployment for what :mod:`character_ray.serving.interference` compares."""

import asyncio
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from character_ray.canary import TOLERANCE_NATS
from character_ray.errors import ServingError
from character_ray.manifest import AUTO, JUDGE
from character_ray.serving.interference import Mixed, Step, Trace, Verdict, judge

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["PROMPTS", "measure_interference", "trace_of"]

PROMPTS = (
    "Who are you, and what do you care about most?",
    "Write two sentences about the sea.",
    "A friend has lied to me. What should I do?",
    "Explain why the sky is blue.",
)
TOP = 10
LIMIT_S = 300


async def measure_interference(
    url: str,
    api_key: str = "none",
    *,
    prompts: Sequence[str] = PROMPTS,
    personas: Sequence[str] = (),
    repeats: int = 4,
    concurrency: int = 32,
    max_tokens: int = 12,
    seed: int = 0,
    tolerance: float = TOLERANCE_NATS,
) -> Verdict:
    """Every persona and the base answer every prompt alone, twice, then all together in an order drawn from ``seed``.

    Args:
        url: The API, such as ``http://127.0.0.1:8000/v1``.
        api_key: One that may ask every persona.
        prompts: What is asked.
        personas: Whom; all that the API lists by default.
        repeats: How often each prompt is asked of each under mixed load.
        concurrency: Requests at a time under mixed load.
        max_tokens: Of an answer.
        seed: Of the order.
        tolerance: Distance in nats up to which an answer is its persona's own.

    Raises:
        ServingError: The API does not answer, knows fewer than two models, or returns no log-probabilities.
    """
    from openai import AsyncOpenAI, OpenAIError

    try:
        async with AsyncOpenAI(base_url=url, api_key=api_key, timeout=LIMIT_S, max_retries=2) as client:
            names = await _names(client, personas)

            async def ask(name: str, prompt: int) -> Trace:
                return await trace_of(client, name, prompts[prompt], max_tokens)

            alone = {name: [await ask(name, prompt) for prompt in range(len(prompts))] for name in names}
            again = {name: [await ask(name, prompt) for prompt in range(len(prompts))] for name in names}
            order = [(name, prompt) for name in names for prompt in range(len(prompts)) for _ in range(repeats)]
            random.Random(seed).shuffle(order)
            room = asyncio.Semaphore(concurrency)

            async def mixed(name: str, prompt: int) -> Mixed:
                async with room:
                    return Mixed(name, prompt, await ask(name, prompt))

            answers = await asyncio.gather(*(mixed(*each) for each in order))
    except OpenAIError as cause:
        raise ServingError(
            f"{url} does not answer ({cause}). Is the deployment running, and may this key ask?"
        ) from cause
    return judge(alone, again, answers, tolerance)


async def _names(client: "AsyncOpenAI", wanted: Sequence[str]) -> list[str]:
    # The server's choice answers as one of the others, and the judge is another model, with which no persona shares an engine.
    listed = [alias for model in (await client.models.list()).data if (alias := _alias(model)) not in (AUTO, JUDGE)]
    if unknown := [name for name in wanted if name not in listed]:
        raise ServingError(f"{client.base_url} has no {', '.join(unknown)}; it has {', '.join(listed)}.")
    # The base, first in the list, is what an adapter that is not applied would answer as.
    names = [listed[0], *(name for name in wanted if name != listed[0])] if wanted else listed
    if len(names) < 2:
        raise ServingError(f"{client.base_url} serves {', '.join(names) or 'nothing'}, and a comparison takes two.")
    return names


def _alias(model: Any) -> str:
    return str((getattr(model, "metadata", None) or {}).get("alias") or model.id)


async def trace_of(client: "AsyncOpenAI", name: str, prompt: str, max_tokens: int) -> Trace:
    """A model's greedy answer with the log-probabilities of its likeliest tokens.

    Raises:
        ServingError: The answer carries none.
        openai.OpenAIError: The request failed.
    """
    answer = await client.chat.completions.create(
        model=name,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=max_tokens,
        temperature=0,
        logprobs=True,
        top_logprobs=TOP,
        # vLLM's: two tokens may have the same text.
        extra_body={"return_tokens_as_token_ids": True, "ignore_eos": True},
    )
    steps = answer.choices[0].logprobs
    if steps is None or not steps.content:
        raise ServingError(f"{name} answers without log-probabilities, so its answers cannot be compared.")
    return [Step(each.token, {top.token: top.logprob for top in each.top_logprobs}) for each in steps.content]
