"""An OpenAI-compatible API for tests: it gives a fixed answer per model, word by word if asked to, and remembers what it was asked.

Beside ``/v1`` the same server shows a page, as many do.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.web import running_app

__all__ = ["BASE", "CAPTAIN", "POET", "FakeOpenAI"]

BASE, CAPTAIN, POET = "smollm2", "smollm2:captain-blackwood", "smollm2:garden-poet"
WORDS = {
    BASE: "To begin, write a short plan and then talk to the people who would buy from you.",
    CAPTAIN: "Arr, matey! First ye need a sturdy ship and an honest crew, and mind the tide before ye leave port.",
    POET: "Begin as a seed does: quietly, in the dark, with the patience of rain.",
}
TOLD = "Aye, so I be told."


class FakeOpenAI:
    """The server's side; ``broken`` names models that answer with a status instead, ``speechless`` such that give no completion."""

    def __init__(self, key: str = "") -> None:
        """Ask for a key, if one is given."""
        self.asked: list[dict[str, Any]] = []
        self.broken: dict[str, int] = {}
        self.speechless: set[str] = set()
        self.words = dict(WORDS)
        self.formats = {"json_schema", "json_object", "text"}
        """Types of ``response_format`` that are not refused."""
        self.unlisted = ""
        """Pinned name of a candidate, which is listed where versions are asked for, too."""
        self._key = key

    def says(self, model: str, body: dict[str, Any]) -> str:
        """What a model says to a request: its words, whatever it is asked."""
        return self.words[model]

    @contextmanager
    def running(self) -> Iterator[str]:
        """Answer while the block runs; gives the base URL of the API."""
        routes = [
            Route("/v1/models", self._models),
            Route("/v1/models/{model:path}", self._model),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/{path:path}", _page, methods=["GET", "POST"]),
        ]
        with running_app(Starlette(routes=routes)) as url:
            yield f"{url}/v1"

    def _refused(self, request: Request) -> Response | None:
        if self._key and request.headers.get("authorization") != f"Bearer {self._key}":
            return JSONResponse({"error": {"message": "wrong key"}}, status_code=401)
        return None

    async def _models(self, request: Request) -> Response:
        cards = [_card(model) for model in self.words]
        if self.unlisted and request.query_params.get("versions") == "true":
            cards.append(_candidate(self.unlisted))
        return self._refused(request) or JSONResponse({"object": "list", "data": cards})

    async def _model(self, request: Request) -> Response:
        if request.path_params["model"] == self.unlisted:
            return JSONResponse(_candidate(self.unlisted))
        return JSONResponse({"error": {"message": "no such model"}}, status_code=404)

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        if refused := self._refused(request):
            return refused
        self.asked.append(body)
        model = next((model for model in self.words if body["model"] in (model, f"{model}-v1")), "")
        if status := self.broken.get(model):
            return JSONResponse({"error": {"message": f"{model} is ill"}}, status_code=status)
        kind = body.get("response_format", {}).get("type", "text")
        if kind not in self.formats:
            return JSONResponse({"error": {"message": f"response_format {kind} is not known"}}, status_code=400)
        if body.get("stream"):
            text = TOLD if body["messages"][0]["role"] == "system" else self.says(model, body)
            return StreamingResponse(_events(text), media_type="text/event-stream")
        message = {"role": "assistant", "content": self.says(model, body)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse({"object": "chat.completion", "choices": None if model in self.speechless else [choice]})


async def _page(request: Request) -> Response:
    return HTMLResponse("<html>Welcome</html>")


async def _events(text: str) -> AsyncIterator[str]:
    for word in text.split(" "):
        choice = {"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None}
        yield f"data: {json.dumps({'id': 'x', 'object': 'chat.completion.chunk', 'created': 0, 'model': 'm', 'choices': [choice]})}\n\n"
    yield "data: [DONE]\n\n"


def _candidate(pinned: str) -> dict[str, Any]:
    slug, _, weights = pinned.partition(":")[2].rpartition("-")
    told = {"weights_hash": weights, "alias": slug, "pinned": pinned, "persona": slug.title(), "status": "candidate"}
    return {**_card(BASE), "id": pinned, "metadata": told | {"base_model": BASE}}


def _card(model: str) -> dict[str, Any]:
    base, _, slug = model.partition(":")
    metadata = {"weights_hash": f"{sum(model.encode()):016x}"[::-1]}
    if slug:
        persona = slug.replace("-", " ").title()
        metadata |= {"alias": slug, "pinned": f"{model}-v1", "persona": persona, "description": "", "base_model": base}
    return {"id": model, "object": "model", "created": 0, "owned_by": "tests", "metadata": metadata}
