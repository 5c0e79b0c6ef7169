"""How load spreads over replicas: when one more is started, and when a persona is answered by one more."""

import math
from typing import Any

from character_ray.config import EngineConfig, ServeConfig

__all__ = ["replica_options", "settled", "warm_replicas"]

TARGET_SHARE = 0.7
"""Of the sequences an engine works on at once: what comes while another replica starts finds room in the rest."""


def settled(serve: ServeConfig, engine: EngineConfig) -> ServeConfig:
    """The settings with those filled in that follow from the engine's: ``target_requests`` and ``max_persona_requests``."""
    places = (engine.max_num_seqs + serve.max_queued_requests) * serve.max_replicas
    return serve.model_copy(
        update={
            "target_requests": serve.target_requests or max(1, round(TARGET_SHARE * engine.max_num_seqs)),
            "max_persona_requests": serve.max_persona_requests or max(1, places // 2),
        }
    )


def spill_at(serve: ServeConfig) -> int:
    """Requests of a replica from which on its personas may be answered by another one, too; of settled settings."""
    assert serve.target_requests is not None
    return max(1, serve.target_requests // 2)


def warm_replicas(serve: ServeConfig, ongoing: int) -> int:
    """Replicas that are to load a persona at once.

    Args:
        serve: Settled settings.
        ongoing: Requests to the persona that the ingress carries; the others are taken to carry as many.
    """
    share = math.ceil(ongoing * serve.ingresses / spill_at(serve))
    return min(max(serve.prewarm_replicas, share), serve.max_replicas)


def replica_options(serve: ServeConfig, engine: EngineConfig) -> dict[str, Any]:
    """Ray Serve's options of the engine's deployment; of settled settings."""
    return {
        "autoscaling_config": {
            "min_replicas": serve.min_replicas,
            "max_replicas": serve.max_replicas,
            # Ray's own target for language models is 1e9 requests a replica, which no load reaches.
            "target_ongoing_requests": serve.target_requests,
        },
        "request_router_config": {
            "request_router_class": "character_ray.serving.router:PersonaRouter",
            "request_router_kwargs": {"spill_at": spill_at(serve)},
        },
        "ray_actor_options": {"num_cpus": 0},
        # What waits does so in vLLM, first come first served: a full replica is asked again and again, and by turns of chance.
        "max_ongoing_requests": engine.max_num_seqs + serve.max_queued_requests,
        "max_queued_requests": serve.max_queued_requests,
    }
