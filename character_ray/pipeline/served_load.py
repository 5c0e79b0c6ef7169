"""What the personas of several runs say while one running application serves them together.

    evaluation prompts of the runs x their personas and the base -> one shuffled load -> each answer beside what the run's own arm said

Prompts that try to override the character are left out. Sampling and seeds are the runs', so an answer differs from the arm's by the noise
of the engines, or because something went wrong.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_ray.adapters import load_manifest
from character_ray.chat_answers import fault_in
from character_ray.config import EndpointConfig
from character_ray.errors import ReportError, ServingError
from character_ray.evaluation.bleed import AnswerPair
from character_ray.evaluation.multiclass import NONE
from character_ray.inference.chat_body import chat_body
from character_ray.log import describe_counts, stage_progress
from character_ray.pipeline.finished import FinishedRun
from character_ray.rows import Message, Request
from character_ray.spoken import without_thoughts
from character_ray.stages.requests import build_request

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["Served", "Together", "ask_together"]

LIMIT_S = 300.0
RETRIES = 3
# With more of them missing, what arrived may not be what clients get.
MAX_FAILED_SHARE = 0.05


@dataclass(frozen=True)
class Served:
    """A running application and how it is asked."""

    url: str
    """The API, such as ``http://127.0.0.1:8000/v1``."""
    key: str = "none"
    """One that may ask every persona."""
    concurrency: int = 32
    """Requests at a time."""


@dataclass(frozen=True)
class Together:
    """What was said under mixed load."""

    answers: list[AnswerPair]
    models: dict[str, str]
    """By class the name of the version that answered."""
    failed: int
    """Requests without an answer, or with an empty one; their pairs are left out."""


@dataclass(frozen=True)
class _Question:
    asked: str
    prompt_id: str
    alone: str
    request: Request


def ask_together(folders: Sequence[Path], served: Served, seed: int) -> Together:
    """Ask the application for every persona's answers, and the base's, all in one order drawn from the seed.

    Args:
        folders: Finished runs, one persona each.
        served: Where they are served.
        seed: Seed of the order.

    Raises:
        ReportError: A run is not finished, there are fewer than two personas, or no run answered a plain prompt.
        ServingError: The API does not answer, lacks a persona or serves another version of it, or too many requests failed.
    """
    runs = {run.persona.constitution.slug: run for run in map(FinishedRun.open, folders)}
    if len(runs) < len(folders) or len(runs) < 2:
        raise ReportError(
            f"--served compares personas with each other, but {', '.join(map(str, folders))} hold {', '.join(runs)}. Give two runs or "
            "more, one for each persona."
        )
    return asyncio.run(_ask_all(runs, served, seed))


async def _ask_all(runs: dict[str, FinishedRun], served: Served, seed: int) -> Together:
    from openai import AsyncOpenAI, OpenAIError

    client = AsyncOpenAI(base_url=served.url, api_key=served.key, timeout=LIMIT_S, max_retries=RETRIES)
    async with client:
        try:
            cards = list((await client.models.list()).data)
        except (OpenAIError, AttributeError, TypeError, ValueError) as cause:
            raise ServingError(
                f"{served.url} lists no models ({cause}). Is the application running, does --served end in /v1, and may this key ask?"
            ) from cause
        models = _find_models(cards, runs, served.url)
        questions = _questions(runs, models)
        random.Random(seed).shuffle(questions)
        endpoint, room = EndpointConfig(url=served.url), asyncio.Semaphore(served.concurrency)
        with stage_progress("served together", len(questions), "answers") as progress:

            async def answer(question: _Question) -> tuple[str, str]:
                async with room:
                    said = await _say(client, models[question.asked], question.request, endpoint)
                progress.advance(1)
                return said

            said = await asyncio.gather(*map(answer, questions))
    errors = Counter(error for _, error in said if error)
    if errors.total() > MAX_FAILED_SHARE * len(said):
        raise ServingError(
            f"{errors.total():,} of {len(said):,} requests to {served.url} failed ({describe_counts(errors)}), so the others are not what "
            "its clients get. Mend it, or lower --concurrency."
        )
    pairs = [
        AnswerPair(question.asked, question.prompt_id, question.alone, text)
        for question, (text, error) in zip(questions, said, strict=True)
        if not error
    ]
    return Together(sorted(pairs, key=lambda pair: (pair.asked, pair.prompt)), models, errors.total())


async def _say(client: "AsyncOpenAI", model: str, request: Request, endpoint: EndpointConfig) -> tuple[str, str]:
    """The answer, or what kept it away."""
    from openai import APIStatusError, OpenAIError

    body: dict[str, Any] = chat_body(request, endpoint, {})
    try:
        answer = await client.chat.completions.create(model=model, **body)
    except APIStatusError as failure:
        return "", f"HTTP {failure.status_code}"
    except (OpenAIError, ValueError) as failure:  # what is declared as JSON is none
        return "", type(failure).__name__
    if fault := fault_in(answer):
        return "", fault
    text = without_thoughts(answer.choices[0].message.content or "")
    return text, "" if text else "empty answer"


def _find_models(cards: Sequence[Any], runs: dict[str, FinishedRun], url: str) -> dict[str, str]:
    """By class the model to ask: of each persona the version that answers now, of ``none`` their base, where it is listed."""
    told = {_alias(card): (card, getattr(card, "metadata", None) or {}) for card in cards}
    found: dict[str, str] = {}
    for slug, run in runs.items():
        if slug not in told:
            raise ServingError(
                f"{url} serves no {slug}, the persona of {run.folder}; it has {', '.join(told) or 'none'}."
            )
        card, about = told[slug]
        _check_version(run, slug, about, url)
        found[slug] = str(about.get("pinned") or card.id)
        if (base := about.get("base_model")) in told:
            found[NONE] = str(base)
    return found


def _check_version(run: FinishedRun, slug: str, about: dict[str, Any], url: str) -> None:
    """Refuse a persona that another training made: what it says differently would not be the deployment's doing."""
    served, adapter = about.get("weights_hash"), run.folder / "adapter"
    if served and adapter.is_dir() and served != (own := load_manifest(adapter).weights_hash):
        raise ServingError(
            f"{url} serves {slug} with the weights {served}, but those of {run.folder} are {own}, so its answers differ from the run's own "
            "for another reason than the load. Give the run that was published, or serve this one."
        )


def _alias(card: Any) -> str:
    return str((getattr(card, "metadata", None) or {}).get("alias") or card.id)


def _questions(runs: dict[str, FinishedRun], models: dict[str, str]) -> list[_Question]:
    """The held-out prompts without a hint, to the persona whose run answered them and, each once, to the base."""
    found: dict[tuple[str, str], _Question] = {}
    for slug, run in runs.items():
        classes = {"full": slug} | ({"base": NONE} if NONE in models else {})
        for answer in run.answers:
            asked, prompt_id = classes.get(answer["arm"]), answer["prompt_id"]
            if asked is None or answer["hint"] or answer["sample"]:
                continue
            chat = [Message(role="user", content=answer["prompt"])]
            sampling, own_seed = run.recipe.evaluate.sampling, run.recipe.seed
            request = build_request("answer", prompt_id, chat, sampling, seed=own_seed)
            found.setdefault((asked, prompt_id), _Question(asked, prompt_id, answer["completion"], request))
    if not any(question.asked != NONE for question in found.values()):
        raise ReportError(
            f"{', '.join(str(run.folder) for run in runs.values())}: no trained persona answered a plain prompt. Lower "
            "evaluate.override_share."
        )
    return list(found.values())
