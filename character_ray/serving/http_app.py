"""The HTTP application below the ingress, and every refusal in OpenAI's form: no client sees a stack trace."""

import logging
import math

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as HttpError
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

from character_ray.config import ServeConfig
from character_ray.serving.keys import Refusal
from character_ray.serving.limits import BodyLimit, error_body
from character_ray.serving.sites import SiteGuard

__all__ = ["error_response", "internal_error", "make_app", "refused"]

# Ray Serve writes what goes to this logger into the replica's log file.
logger = logging.getLogger("ray.serve")


def make_app(serve: ServeConfig, *, keyed: bool) -> FastAPI:
    """The HTTP application that the ingress's routes are put on.

    Args:
        serve: Largest body, and the sites whose pages may read answers.
        keyed: Whether clients need a key; without one pages of other sites are refused.
    """
    # Without the middleware of Ray's own application: it passes every piece of a stream on through a queue and a task of its own.
    app = FastAPI()
    if serve.origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(serve.origins), allow_methods=["*"], allow_headers=["*"])
    app.add_exception_handler(Exception, _failed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HttpError, _refused_by_framework)
    # The endpoints catch all that goes wrong in them: what is left comes from vLLM's validators, which take shapes for granted.
    for kind in (TypeError, AttributeError, LookupError, ValueError, RecursionError, *_vllm_client_errors()):
        app.add_exception_handler(kind, _malformed)
    app.add_middleware(BodyLimit, max_bytes=serve.max_request_bytes)
    if not keyed:
        app.add_middleware(SiteGuard, origins=serve.origins)
    return app


def _vllm_client_errors() -> tuple[type[Exception], ...]:
    """vLLM's errors about a request that are no ``ValueError``; older releases have none."""
    from vllm import exceptions

    found = getattr(exceptions, "VLLMClientError", None)
    return () if found is None else (found,)


def error_response(status: int, message: str, param: str, code: str) -> Response:
    """An error as OpenAI's API tells it."""
    return JSONResponse(error_body(message, param or None, code), status_code=status)


def internal_error() -> Response:
    """The answer to a request that failed for a reason that stays in the log."""
    return error_response(500, "The request failed; the reason is in the server's log.", "", "internal_error")


def refused(refusal: Refusal) -> Response:
    """The answer to a request that is not admitted."""
    response = error_response(refusal.status, refusal.message, "model", refusal.code)
    if refusal.retry_after_s:
        response.headers["Retry-After"] = str(math.ceil(refusal.retry_after_s))
    return response


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = (error.errors() or [{}])[0]
    place = ".".join(map(str, first.get("loc", ()))) or "body"
    return error_response(
        400, f"The request is not valid: {place}: {first.get('msg', 'unreadable')}.", place, "invalid_parameter"
    )


async def _malformed(request: Request, error: Exception) -> Response:
    logger.warning("a request could not be read: %r", error)
    return error_response(400, "The request is not valid: a field has the wrong form.", "", "invalid_parameter")


async def _failed(request: Request, error: Exception) -> Response:
    logger.error("a request failed", exc_info=error)
    return internal_error()


async def _refused_by_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HttpError)
    return error_response(error.status_code, str(error.detail), "", "invalid_request")
