"""The HTTP side: Ray's OpenAI ingress with personas by name, and prompts that cannot command the template."""

import logging
import math
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from ray.serve.llm.ingress import OpenAiIngress
from ray.serve.llm.openai_api_models import ChatCompletionRequest, CompletionRequest
from starlette.responses import JSONResponse, Response

from character_ray.chat_safety import neutralize_all
from character_ray.errors import AdapterError
from character_ray.serving.catalogue import Catalogue
from character_ray.serving.keys import ApiKey, KeyRing, Refusal

__all__ = ["ENDPOINTS", "PersonaIngress"]

# Ray Serve writes what goes to this logger into the replica's log file.
logger = logging.getLogger("ray.serve")

ENDPOINTS = {
    "models": lambda app: _get(app, "/v1/models"),
    "model_data": lambda app: _get(app, "/v1/models/{model:path}"),
    "chat": lambda app: app.post("/v1/chat/completions"),
    "completions": lambda app: app.post("/v1/completions"),
}

# Every field of a request whose text the chat template puts into the prompt.
_PROMPT_FIELDS = ("messages", "tools", "documents", "chat_template_kwargs")


class PersonaIngress(OpenAiIngress):
    """Lists base and personas, and hands each request to the engine under the pinned name of its weights.

    Text in a request never becomes a control token: a ``<|im_start|>system`` that a user types stays text.
    """

    def __init__(
        self, *, catalogue: Catalogue, control_tokens: Sequence[str], keys: Sequence[ApiKey] = (), **options: Any
    ) -> None:
        super().__init__(**options)
        self._keys = KeyRing(tuple(keys))
        self._catalogue = catalogue
        self._control_tokens = tuple(control_tokens)

    async def models(self, request: Request) -> Response:  # type: ignore[override]
        """Base and personas, as far as the client may know of them."""
        header = request.headers.get("authorization")
        if refusal := self._keys.refuse(header):
            return _refused(refusal)
        cards = [card for card in self._catalogue.cards() if self._keys.sees(header, _alias(card))]
        return JSONResponse({"object": "list", "data": cards})

    async def model_data(self, model: str, request: Request) -> Response:  # type: ignore[override]
        """One of them, by any of its names."""
        header = request.headers.get("authorization")
        if refusal := self._keys.refuse(header):
            return _refused(refusal)
        card = self._catalogue.card(model)
        return JSONResponse(card) if card and self._keys.sees(header, _alias(card)) else self._unknown(model, header)

    async def chat(self, body: ChatCompletionRequest, request: Request) -> Response:  # type: ignore[override]
        """A chat completion."""
        model = self._admit(body.model, request)
        if isinstance(model, Response):
            return model
        body.model = model
        for field in _PROMPT_FIELDS:
            setattr(body, field, neutralize_all(getattr(body, field), self._control_tokens))
        try:
            return await super().chat(body, request)
        except AdapterError as error:
            return self._unavailable(model, error)

    async def completions(self, body: CompletionRequest, request: Request) -> Response:  # type: ignore[override]
        """A plain continuation of text, without the chat template."""
        model = self._admit(body.model, request)
        if isinstance(model, Response):
            return model
        prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt or []
        if not prompts or not all(isinstance(prompt, str) for prompt in prompts):
            return _error(
                400, "prompt must be text or a list of texts; token ids are not accepted.", "prompt", "invalid_value"
            )
        body.model = model
        body.prompt = neutralize_all(body.prompt, self._control_tokens)
        try:
            return await super().completions(body, request)
        except AdapterError as error:
            return self._unavailable(model, error)

    def _admit(self, asked: str | None, request: Request) -> str | Response:
        """The engine's name for the model asked for, or why there is none for this client."""
        header = request.headers.get("authorization")
        card = self._catalogue.card(asked or self._catalogue.base)
        # Who has no key learns nothing, not even which names exist.
        if refusal := self._keys.refuse(header, _alias(card) if card else None):
            return _refused(refusal)
        model = self._catalogue.resolve(asked)
        return self._unknown(asked, header) if model is None else model

    def _unavailable(self, model: str, error: AdapterError) -> Response:
        # The reason names folders of the cluster, which are not the client's business.
        logger.error("%s cannot be served: %s", model, getattr(error, "cause", error))
        reason = "its adapter was changed or removed after the server started. Ask the operator to restart the server."
        return _error(503, f"{model} is not available: {reason}", "model", "model_unavailable")

    def _unknown(self, model: str | None, header: str | None) -> Response:
        known = ", ".join(name for name in self._catalogue.names() if self._keys.sees(header, name))
        return _error(
            404, f"There is no model or persona {model!r} here. Ask for one of: {known}.", "model", "model_not_found"
        )


def _alias(card: dict[str, Any]) -> str:
    """A model's short name, which key files use."""
    return str(card["metadata"].get("alias", card["id"]))


def _refused(refusal: Refusal) -> Response:
    response = _error(refusal.status, refusal.message, "model", refusal.code)
    if refusal.retry_after_s:
        response.headers["Retry-After"] = str(math.ceil(refusal.retry_after_s))
    return response


def _get(app: FastAPI, path: str) -> Any:
    return app.get(path, response_model=None)


def _error(status: int, message: str, param: str, code: str) -> Response:
    return JSONResponse(
        {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}},
        status_code=status,
    )
