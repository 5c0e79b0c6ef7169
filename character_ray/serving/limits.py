"""Limits of an ingress that are not a client's own: size of a request, requests to one persona at once."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from character_ray.serving.keys import Refusal

__all__ = ["BodyLimit", "PersonaGate", "error_body"]

RETRY_AFTER_S = 1.0


def error_body(message: str, param: str | None, code: str) -> dict[str, Any]:
    """An error in OpenAI's form."""
    kind = "server_error" if code in ("internal_error", "model_unavailable") else "invalid_request_error"
    # A client's text comes back in some messages, and may hold halves of characters that UTF-8 cannot write.
    said = message.encode("utf-8", "replace").decode()
    where = param.encode("utf-8", "replace").decode() if param else None
    return {"error": {"message": said, "type": kind, "param": where, "code": code}}


class PersonaGate:
    """Counts answers under way, so that one persona cannot take every place; without a limit it only counts.

    Args:
        at_once: Answers of one persona.
        others: Those of models that have another limit, by name.
    """

    def __init__(self, at_once: int | None, others: Mapping[str, int] | None = None) -> None:
        self._at_once, self._others = at_once, dict(others or {})
        self.ongoing: Counter[str] = Counter()

    def enter(self, persona: str, answers: int = 1) -> Refusal | None:
        """Take a place for each answer that is asked for; :meth:`leave` gives them back. A refusal took none."""
        at_once = self._others.get(persona, self._at_once)
        if at_once is not None and answers > at_once:
            text = f"The request asks for {answers} answers; {persona} gives {at_once} at once. Send several requests."
            return Refusal(400, "too_many_choices", text)
        if at_once is not None and self.ongoing[persona] + answers > at_once:
            text = f"{persona} gives {self.ongoing[persona]} answers already, of {at_once} at most."
            return Refusal(429, "persona_overloaded", text, RETRY_AFTER_S)
        self.ongoing[persona] += answers
        return None

    def leave(self, persona: str, answers: int = 1) -> None:
        """Give the places back."""
        self.ongoing[persona] -= answers


class BodyLimit:
    """ASGI middleware that answers a body above a size with 413, whether its length was announced or not."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body up to the limit, then hand it on."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        body = b""
        more = not (announced.isdigit() and int(announced) > self._max_bytes)
        too_large = not more
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            too_large = len(body) > self._max_bytes
            more = message.get("more_body", False) and not too_large
        if too_large:
            await self._refuse(send)
            return
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self._app(scope, replay, send)

    async def _refuse(self, send: Send) -> None:
        text = f"The request is larger than {self._max_bytes:,} bytes. Shorten the conversation."
        payload = json.dumps(error_body(text, None, "request_too_large")).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(payload)).encode())]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": payload})
