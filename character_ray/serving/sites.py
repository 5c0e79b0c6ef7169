"""Which web pages may use a server without keys: any site that a user visits can send requests to the user's own machine.

A page of another site is known by its ``Origin``; one whose foreign name resolves to this machine by its ``Host``. The address that a
request came in by says whether it is loopback, since the one that Ray Serve listens on may be a config file's.
"""

import ipaddress
import json
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from character_ray.serving.limits import error_body

__all__ = ["SiteGuard"]


class SiteGuard:
    """ASGI middleware that answers requests of foreign pages with 403.

    Args:
        app: What answers the others.
        origins: Sites that may ask (``https://chat.example.org``; ``*`` for all), and by whose names the server may be called.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str] = ()) -> None:
        self._app = app
        self._origins = {origin.lower() for origin in origins}
        self._names = {_name(urlsplit(origin).netloc) for origin in self._origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse or hand on."""
        problem = self._problem(scope) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
            return
        payload = json.dumps(error_body(problem, None, "site_not_allowed")).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(payload)).encode())]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": payload})

    def _problem(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin", "").lower()
        remedy = "Name it in serve.origins (--origin), or give clients keys (--keys)."
        here, _ = scope.get("server") or ("", None)
        name = _name(host)
        if _is_loopback(here) and not _is_loopback(name) and name not in self._names:
            return f"Without keys this server answers by the names of this machine only, not by {host!r}. {remedy}"
        if not origin or "*" in self._origins or origin in self._origins or urlsplit(origin).netloc == host.lower():
            return None
        return f"Without keys a page of {origin!r} may not use this server. {remedy}"


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
