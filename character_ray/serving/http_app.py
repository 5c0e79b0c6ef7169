"""The HTTP application below the ingress, and every refusal in OpenAI's form: no client sees a stack trace."""

import logging
import math

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as HttpError
from starlette.responses import JSONResponse, Response

from character_ray.config import ServeConfig
from character_ray.serving.keys import Refusal
from character_ray.serving.limits import BodyLimit, error_body

__all__ = ["error_response", "make_app", "refused"]

# Ray Serve writes what goes to this logger into the replica's log file.
logger = logging.getLogger("ray.serve")


def make_app(serve: ServeConfig) -> FastAPI:
    """The HTTP application that the ingress's routes are put on."""
    from ray.llm._internal.serve.core.ingress.ingress import init

    app = init()
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HttpError, _refused_by_framework)
    # The endpoints catch all that goes wrong in them: what is left comes from vLLM's validators, which take shapes for granted.
    for kind in (TypeError, AttributeError, LookupError, ValueError, RecursionError, *_vllm_client_errors()):
        app.add_exception_handler(kind, _malformed)
    app.add_middleware(BodyLimit, max_bytes=serve.max_request_bytes)
    return app


def _vllm_client_errors() -> tuple[type[Exception], ...]:
    """vLLM's errors about a request that are no ``ValueError``; older releases have none."""
    from vllm import exceptions

    found = getattr(exceptions, "VLLMClientError", None)
    return () if found is None else (found,)


def error_response(status: int, message: str, param: str, code: str) -> Response:
    """An error as OpenAI's API tells it."""
    return JSONResponse(error_body(message, param or None, code), status_code=status)


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


async def _refused_by_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HttpError)
    return error_response(error.status_code, str(error.detail), "", "invalid_request")
