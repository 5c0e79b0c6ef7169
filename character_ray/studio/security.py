"""What stands between the network and the pages: who may ask, from which page, and how much.

The studio writes files and publishes to a registry, so a page of another site must not be able to use it through a visitor's browser:
only the studio's own names are answered (a foreign name that resolves to this machine is not), and what changes something must be
JSON from the studio's own pages.
"""

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from character_ray.studio.settings import LOOPBACK, Settings

__all__ = ["COOKIE", "Guard"]

COOKIE = "character_ray_studio"
MAX_BODY_BYTES = 1_000_000
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """The middleware of a studio; it passes streams through as they come."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, let in, or hand on; every answer gets the headers."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        answer = _refusal(request, self._settings) or _entry(request, self._settings) or self._app
        await answer(scope, receive, send_guarded)


def _refusal(request: Request, settings: Settings) -> Response | None:
    """Why a request is not answered, if it is not."""
    if settings.is_local and _host_name(request.headers.get("host", "")) not in LOOPBACK:
        return _no(403, f"This studio answers at {settings.url} only, not by the name {request.headers.get('host')!r}.")
    if request.method not in ("GET", "HEAD"):
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            return _no(403, f"A page of {origin} may not change anything here.")
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _no(415, "Send JSON, with Content-Type: application/json.")
        length = request.headers.get("content-length", "")
        if not length.isdigit():
            return _no(411, "Send the length of the body.")
        if int(length) > MAX_BODY_BYTES:
            return _no(413, f"The body has {int(length):,} bytes; {MAX_BODY_BYTES:,} are the most that is read.")
    if settings.token and not request.url.path.startswith("/static/"):
        given = request.cookies.get(COOKIE) or request.headers.get("authorization", "").removeprefix("Bearer ")
        given = given or request.query_params.get("token", "")
        if not _same(given, settings.token):
            return _no(401, "This studio asks for a token. Open the address that it printed when it started.")
    return None


def _entry(request: Request, settings: Settings) -> Response | None:
    """A visitor who brings the token in the address gets a cookie, and an address without it."""
    if not settings.token or request.method != "GET" or "token" not in request.query_params:
        return None
    if not _same(request.query_params["token"], settings.token):
        return None
    response = RedirectResponse(request.url.path, status_code=303)
    response.set_cookie(COOKIE, settings.token, httponly=True, samesite="strict", max_age=30 * 24 * 3600)
    return response


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _no(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)
