"""Tokens of a stream as vLLM counts them: an event holds several where the client or the front is slower than the engine."""

import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from ray.serve.llm.openai_api_models import ChatCompletionRequest
from starlette.responses import Response

__all__ = ["Tokens", "ask_usage", "counted", "tokens_of"]

logger = logging.getLogger("ray.serve")

# vLLM's class, whose module is another in every release.
_StreamOptions: Any = get_args(ChatCompletionRequest.model_fields["stream_options"].annotation)[0]

# What the event with the usage has and no other; in a text of the model the quotes would be escaped.
_NO_CHOICES = '"choices":[]'


@dataclass(frozen=True)
class Tokens:
    """Tokens of a request."""

    written: int = 0
    """Of its answer."""

    read: int = 0
    """Of its prompt."""

    cached: int = 0
    """Of its prompt, found in the prefix cache; vLLM says it of one prompt of a list."""


def _tokens(usage: Mapping[str, Any]) -> Tokens:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    return Tokens(usage.get("completion_tokens") or 0, usage.get("prompt_tokens") or 0, cached or 0)


def ask_usage(body: Any) -> bool:
    """Let a streaming request's last event tell its usage; returns whether the client asked for that event."""
    options = body.stream_options
    if not body.stream or (options and options.include_usage):
        return True
    body.stream_options = (
        options.model_copy(update={"include_usage": True}) if options else _StreamOptions(include_usage=True)
    )
    return False


def tokens_of(response: Response) -> Tokens:
    """What the usage of a whole answer says; nothing of a refusal."""
    if response.status_code != 200:
        return Tokens()
    return _tokens(json.loads(bytes(response.body)).get("usage") or {})


async def counted(pieces: Any, shown: bool, end: Callable[[int, Tokens], None]) -> AsyncIterator[str]:
    """The pieces of a stream, with its end told however it ends.

    Args:
        pieces: Text or bytes, each of whole events.
        shown: Whether the event with the usage is passed on.
        end: Is told the HTTP status that the stream came to (499: the client left, 500: it broke off) and its tokens; of a stream that did
            not reach its end, as many written as there were events, which is at most the number of tokens.
    """
    status, events, tokens = 499, 0, Tokens()
    try:
        async for piece in pieces:
            text = piece if isinstance(piece, str) else piece.decode()
            events += text.count("\n\n")
            if _NO_CHOICES in text:
                told, others = _split_usage(text)
                tokens, text = told or tokens, text if shown else others
            if text:
                yield text
        status = 200
    except Exception as error:
        status = 500
        logger.error("a stream broke off", exc_info=error)
        raise
    finally:
        # The first event of a chat names the role and holds no text.
        end(status, tokens if tokens.written else replace(tokens, written=max(0, events - 1)))


def _split_usage(text: str) -> tuple[Tokens | None, str]:
    """The tokens that the event with the usage tells, and the events beside it."""
    tokens, others = None, []
    for event in text.split("\n\n"):
        if _NO_CHOICES in event and (usage := json.loads(event.removeprefix("data: ")).get("usage")):
            tokens = _tokens(usage)
        else:
            others.append(event)
    return tokens, "\n\n".join(others)
