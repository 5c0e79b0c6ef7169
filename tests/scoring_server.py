"""An application that answers, lists versions and scores, over a language model that is one rule; it remembers what it was asked.

Every byte is a token. A token of an answer that begins as a pirate's costs one nat less under a system prompt than without one.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.finished_run import PIRATE
from tests.web import running_app

__all__ = ["BASE", "ScoringServer"]

BASE = "tiny"


class ScoringServer:
    """The server's side.

    Args:
        answers: By persona, what it says to a prompt.
        key: Asked for, if given.
    """

    def __init__(self, answers: dict[str, Callable[[str], str]], key: str = "") -> None:
        self.answers, self.key = answers, key
        self.versions = dict.fromkeys(answers, "v1")
        self.scores: bool | None = True
        """``False``: not for this key. ``None``: knows nothing of scores."""
        self.asked: list[dict[str, Any]] = []
        self.hashes = True
        """Whether it tells the hashes of its weights."""
        self.judge = ""
        """Model behind the name ``judge``, if it has one."""
        self.break_after: int | None = None
        """Chats that are answered before every other fails."""

    @contextmanager
    def running(self) -> Iterator[str]:
        """Answer while the block runs; gives the base URL of the API."""
        routes = [Route("/v1/models", self._models), Route("/v1/chat/completions", self._chat, methods=["POST"])]
        with running_app(Starlette(routes=routes)) as url:
            yield f"{url}/v1"

    def _refused(self, request: Request) -> Response | None:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return _error(401, "A valid API key is needed")
        return None

    async def _models(self, request: Request) -> Response:
        cards = [_card(BASE, {"weights_hash": "base"})]
        for alias, version in self.versions.items():
            pinned = f"{BASE}:{alias}-{version}"
            about = {"alias": alias, "pinned": pinned, "base_model": BASE, "weights_hash": f"{alias}-{version}"}
            cards.append(_card(f"{BASE}:{alias}", about))
        if self.judge:
            cards.append(_card("judge", {"alias": "judge", "model": self.judge, "weights_hash": f"of {self.judge}"}))
        if not self.hashes:
            for card in cards:
                del card["metadata"]["weights_hash"]
        return self._refused(request) or JSONResponse({"object": "list", "data": cards})

    async def _chat(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        body = await request.json()
        scored = body.get("prompt_logprobs") is not None
        if scored and self.scores is False:
            return _error(403, "This key may not have given text scored.")
        if self.break_after is not None and len(self.asked) >= self.break_after:
            return _error(400, "broken")
        self.asked.append(body)
        alias = body["model"].removeprefix(f"{BASE}:").rpartition("-")[0]
        say = self.answers.get(alias, lambda prompt: "Hello")
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": say(body["messages"][-1]["content"])},
        }
        answer = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice]}
        ids, logprobs = _render(body["messages"], opened=body.get("add_generation_prompt", True))
        if body.get("return_token_ids") and self.scores is not None:
            answer["prompt_token_ids"] = ids
        if scored and self.scores is not None:
            answer["prompt_logprobs"] = [
                None if place == 0 else {str(token): {"logprob": logprob, "rank": 1, "decoded_token": ""}}
                for place, (token, logprob) in enumerate(zip(ids, logprobs, strict=True))
            ]
        return JSONResponse(answer)


def _render(messages: Sequence[dict[str, str]], *, opened: bool) -> tuple[list[int], list[float]]:
    ids: list[int] = []
    logprobs: list[float] = []
    told = messages[0]["role"] == "system"
    for turn in messages:
        header, content = f"<{turn['role']}>".encode(), f"{turn['content']}</>".encode()
        cheap = told and turn["role"] == "assistant" and turn["content"].startswith(PIRATE)
        ids += [*header, *content]
        logprobs += [-9.0] * len(header) + [-1.0 if cheap else -2.0] * len(content)
    if opened:
        ids += b"<assistant>"
        logprobs += [-9.0] * len(b"<assistant>")
    return ids, logprobs


def _card(model: str, metadata: dict[str, str]) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": 0, "owned_by": "tests", "metadata": metadata}


def _error(status: int, message: str) -> Response:
    return JSONResponse(json.loads(json.dumps({"error": {"message": message}})), status_code=status)
