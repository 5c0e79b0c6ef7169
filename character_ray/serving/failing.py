"""The answer to a request that could not be answered."""

import logging

from fastapi import HTTPException
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError
from starlette.responses import Response

from character_ray.errors import AdapterError
from character_ray.serving.http_app import error_response, internal_error, refused
from character_ray.serving.keys import Refusal
from character_ray.serving.limits import RETRY_AFTER_S
from character_ray.serving.metrics import IngressMetrics

__all__ = ["failed"]

# Ray Serve writes what goes to this logger into the replica's log file.
logger = logging.getLogger("ray.serve")


def failed(model: str, persona: str, error: Exception, metrics: IngressMetrics) -> Response:
    """What the client is told; the reason may name folders, which stay in the log.

    Args:
        model: What was asked, by the engine's name.
        persona: By its short name.
        error: What went wrong.
        metrics: Counts a refusal of the engines.
    """
    cause = getattr(error, "cause", error)
    if isinstance(error, AdapterError) or isinstance(cause, AdapterError):
        logger.error("%s cannot be served: %s", model, cause)
        reason = "its adapter was changed or removed after the server started, or does not answer as when published."
        return error_response(
            503, f"{model} is not available: {reason} Ask the operator.", "model", "model_unavailable"
        )
    if isinstance(error, BackPressureError):
        metrics.refusals.inc(tags={"persona": persona, "reason": "overloaded"})
        return refused(Refusal(429, "overloaded", "Too many requests are waiting. Try again.", RETRY_AFTER_S))
    if isinstance(error, RayActorError):
        logger.error("a request to %s met dead replicas only", model, exc_info=error)
        return refused(Refusal(503, "replica_died", "The replica that answered died. Try again.", RETRY_AFTER_S))
    status = int(getattr(error, "status_code", 500))
    if 400 <= status < 500:
        said = error.detail if isinstance(error, HTTPException) else getattr(error, "message", None)
        return error_response(status, str(said or "The request is not valid."), "", "invalid_request")
    logger.error("a request to %s failed", model, exc_info=error)
    return internal_error()
