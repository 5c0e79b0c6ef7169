"""Tokens of a stream: as its usage says, without a client seeing what it did not ask for."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest
from ray.serve.llm.openai_api_models import ChatCompletionRequest
from starlette.responses import JSONResponse

from character_ray.serving.usage import Tokens, ask_usage, counted, tokens_of

ROLE = {"choices": [{"delta": {"role": "assistant", "content": ""}}]}
# One event with three tokens, as vLLM sends where nobody took the first two in time, and a text that looks like the last event.
THREE = {"choices": [{"delta": {"content": 'aye "choices":[] aye'}}]}
COUNTS = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 8}}
USAGE = {"choices": [], "usage": COUNTS}


def event(data: object) -> str:
    return f"data: {json.dumps(data, separators=(',', ':'))}\n\n"


DONE = "data: [DONE]\n\n"


async def stream(pieces: Sequence[str | Exception]) -> AsyncIterator[str]:
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        yield piece


def passed_on(pieces: Sequence[str | Exception], shown: bool) -> tuple[str, list[tuple[int, Tokens]]]:
    """What a client reads, and what the end was told."""
    told: list[tuple[int, Tokens]] = []
    read: list[str] = []

    async def run() -> None:
        async for piece in counted(stream(pieces), shown, lambda status, tokens: told.append((status, tokens))):
            read.append(piece)

    try:
        asyncio.run(run())
    except ConnectionError:
        read.append("broken")
    return "".join(read), told


@pytest.mark.parametrize("together", [True, False])
def test_tokens_are_counted_by_the_usage_which_is_taken_out(together):
    pieces = [event(ROLE), event(THREE), event(USAGE), DONE]
    text, told = passed_on(["".join(pieces)] if together else pieces, shown=False)
    assert told == [(200, Tokens(written=3, read=9, cached=8))]
    assert text == event(ROLE) + event(THREE) + DONE


def test_a_client_that_asked_for_the_usage_gets_it():
    text, told = passed_on([event(ROLE), event(THREE) + event(USAGE) + DONE], shown=True)
    assert told == [(200, Tokens(written=3, read=9, cached=8))]
    assert text == event(ROLE) + event(THREE) + event(USAGE) + DONE


def test_of_a_stream_that_broke_off_its_events_count():
    text, told = passed_on([event(ROLE), event(THREE), event(THREE), ConnectionError()], shown=False)
    assert told == [(500, Tokens(written=2))]
    assert text.endswith("broken")


def test_a_whole_answer_says_what_it_found_in_the_cache():
    assert tokens_of(JSONResponse({"usage": COUNTS})) == Tokens(written=3, read=9, cached=8)
    assert tokens_of(JSONResponse({"usage": COUNTS | {"prompt_tokens_details": None}})) == Tokens(written=3, read=9)
    assert tokens_of(JSONResponse({"error": {}}, status_code=429)) == Tokens()


def request(**changes: object) -> ChatCompletionRequest:
    return ChatCompletionRequest(model="m", messages=[{"role": "user", "content": "hi"}], **changes)


def test_the_usage_of_a_stream_is_asked_for():
    body = request(stream=True)
    assert not ask_usage(body)
    assert body.stream_options.include_usage


def test_what_else_the_client_wants_of_its_stream_stays():
    body = request(stream=True, stream_options={"include_usage": False, "continuous_usage_stats": True})
    assert not ask_usage(body)
    assert body.stream_options.include_usage
    assert body.stream_options.continuous_usage_stats


@pytest.mark.parametrize("changes", [{}, {"stream": True, "stream_options": {"include_usage": True}}])
def test_nothing_is_hidden_of_what_was_asked_for(changes):
    body = request(**changes)
    assert ask_usage(body)
    assert body.stream_options == request(**changes).stream_options
