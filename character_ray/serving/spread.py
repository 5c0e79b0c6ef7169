"""How load spreads over replicas: when one more is started, and when a persona is answered by one more."""

from typing import Any

from character_ray.config import EngineConfig, ServeConfig

__all__ = ["replica_options", "target_requests"]

TARGET_SHARE = 0.7
"""Of the sequences an engine works on at once: what comes while another replica starts finds room in the rest."""


def target_requests(serve: ServeConfig, engine: EngineConfig) -> int:
    """Requests of a replica beyond which the load asks for one more."""
    return serve.target_requests or max(1, round(TARGET_SHARE * engine.max_num_seqs))


def replica_options(serve: ServeConfig, engine: EngineConfig) -> dict[str, Any]:
    """Ray Serve's options of the engine's deployment."""
    return {
        "autoscaling_config": {
            "min_replicas": serve.min_replicas,
            "max_replicas": serve.max_replicas,
            # Ray's own target for language models is 1e9 requests a replica, which no load reaches.
            "target_ongoing_requests": target_requests(serve, engine),
        },
        "ray_actor_options": {"num_cpus": 0},
        # What waits does so in vLLM, first come first served: a full replica is asked again and again, and by turns of chance.
        "max_ongoing_requests": engine.max_num_seqs + serve.max_queued_requests,
        "max_queued_requests": serve.max_queued_requests,
    }
