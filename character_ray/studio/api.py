"""The OpenAI-compatible API that the studio shows: which models it has, and what they say, piece by piece."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from character_ray.errors import StudioError
from character_ray.rows import Message

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["ApiFailure", "Model", "PersonaApi", "Sampling"]

CONNECT_S, ANSWER_S = 10.0, 600.0
VERSIONS = {"versions": "true"}
"""Lets a server of character-ray list versions that are not live, too; others do not look at it."""


class ApiFailure(StudioError):
    """The API did not answer as it should; ``args`` are the message for people and the HTTP status to pass on."""

    @property
    def status(self) -> int:
        """401, 404, 429 as the API gave it, else 502."""
        return int(self.args[1]) if len(self.args) > 1 else 502

    def __str__(self) -> str:
        """The message alone."""
        return str(self.args[0])


@dataclass(frozen=True)
class Model:
    """One entry of ``/v1/models``."""

    id: str
    name: str
    """Short name: a persona's alias where the API gives one."""
    pinned: str
    """Name of exactly these weights where the API gives one, else ``id``."""
    persona: str = ""
    description: str = ""
    weights_hash: str = ""
    status: str = ""
    """``candidate`` or ``retired`` of a version that is not live, which answers to its pinned name alone."""

    @property
    def label(self) -> str:
        """Whom it plays, and which version of it where it is not the live one."""
        named = self.persona or self.name
        return f"{named} · {self.weights_hash[:8]} ({self.status})" if self.status else named

    @property
    def key(self) -> str:
        """Name and weights, so that a new version of a persona is another contestant."""
        return f"{self.name}@{self.weights_hash[:8]}" if self.weights_hash else self.name


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn."""

    temperature: float
    max_tokens: int
    seed: int


class PersonaApi:
    """Asks the API, with the studio's key or a visitor's own."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self._key = url, key

    async def models(self, key: str = "") -> list[Model]:
        """What may be asked for, in the order of the API.

        Raises:
            ApiFailure: It does not answer, or refuses.
        """
        async with self._client(key) as client:
            try:
                return [_to_model(card.model_dump()) for card in (await client.models.list(extra_query=VERSIONS)).data]
            except Exception as cause:
                raise self._failure(cause, "") from cause

    async def stream(
        self, model: str, messages: Sequence[Message], sampling: Sampling, key: str = ""
    ) -> AsyncIterator[str]:
        """The answer as it is written.

        Raises:
            ApiFailure: The API does not answer, refuses, or breaks off.
        """
        async with self._client(key) as client:
            try:
                chunks: Any = await client.chat.completions.create(
                    model=model,
                    messages=list(messages),  # type: ignore[arg-type]
                    temperature=sampling.temperature,
                    max_tokens=sampling.max_tokens,
                    seed=sampling.seed,
                    stream=True,
                )
                async for chunk in chunks:
                    if chunk.choices and chunk.choices[0].delta.content:
                        yield chunk.choices[0].delta.content
            except Exception as cause:
                raise self._failure(cause, model) from cause

    def _client(self, key: str) -> "AsyncOpenAI":
        from openai import AsyncOpenAI, Timeout

        timeout = Timeout(ANSWER_S, connect=CONNECT_S)
        return AsyncOpenAI(base_url=self.url, api_key=key or self._key or "none", timeout=timeout, max_retries=1)

    def _failure(self, cause: Exception, model: str) -> ApiFailure:
        import openai

        what = f"{model}: " if model else ""
        match cause:
            case openai.APITimeoutError():
                return ApiFailure(f"{what}{self.url} gave no answer in time. It may be overloaded; try again.", 504)
            case openai.APIConnectionError():
                return ApiFailure(
                    f"{self.url} does not answer. Start it with character-ray serve RUN, or name another with --api.",
                    502,
                )
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                return ApiFailure(
                    f"{self.url} wants an API key that may ask for this. Enter yours under Settings.", 401
                )
            case openai.APIStatusError():
                return ApiFailure(
                    f"{what}the API answered with status {cause.status_code}: {_told(cause)}", cause.status_code
                )
            case _:
                return ApiFailure(f"{what}the answer of {self.url} could not be read ({cause}).", 502)


def _told(cause: Any) -> str:
    body = cause.body if isinstance(cause.body, dict) else {}
    return str(body.get("message") or cause.message)[:500]


def _to_model(card: dict[str, Any]) -> Model:
    metadata = card.get("metadata") or {}
    status = str(metadata.get("status") or "live")
    return Model(
        id=card["id"],
        name=str(metadata.get("alias") or card["id"]),
        pinned=str(metadata.get("pinned") or card["id"]),
        persona=str(metadata.get("persona") or ""),
        description=str(metadata.get("description") or ""),
        weights_hash=str(metadata.get("weights_hash") or ""),
        status="" if status == "live" else status,
    )
