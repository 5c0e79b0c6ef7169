"""When a replica is added, and when one that does not hold a persona answers as it."""

import asyncio
from collections import Counter
from math import ceil
from typing import Any

import pytest
from ray.llm._internal.common.dict_utils import maybe_apply_llm_deployment_config_defaults
from ray.serve._private.common import DeploymentHandleSource, DeploymentID, ReplicaID, RequestMetadata
from ray.serve.config import AutoscalingConfig, RequestRouterConfig
from ray.serve.request_router import PendingRequest

from character_ray.config import EngineConfig, ServeConfig
from character_ray.serving.spread import replica_options, settled, warm_replicas

RAYS_DEFAULTS = {"autoscaling_config": {"target_ongoing_requests": int(1e9)}}


@pytest.mark.parametrize(
    ("settings", "requests", "replicas"),
    [({}, 60, 1), ({}, 140, 2), ({}, 1000, 4), ({"target_requests": 10}, 30, 3)],
)
def test_replicas_follow_the_load_up_to_their_limit(settings: dict[str, int], requests: int, replicas: int):
    engine = EngineConfig(max_num_seqs=100)
    options = replica_options(settled(ServeConfig(max_replicas=4, **settings), engine), engine)
    merged = maybe_apply_llm_deployment_config_defaults(RAYS_DEFAULTS, options)
    scaling = AutoscalingConfig(**merged["autoscaling_config"])
    assert min(ceil(requests / scaling.get_target_ongoing_requests()), scaling.max_replicas) == replicas


class Replica:
    """A replica as the router sees it: one that holds some personas and has requests under way."""

    max_ongoing_requests = 50
    node_id, availability_zone = "node", None

    def __init__(self, name: str, *personas: str, ongoing: int = 0) -> None:
        self.replica_id = ReplicaID(name, DeploymentID("engine", "app"))
        self.multiplexed_model_ids = set(personas)
        self.ongoing = ongoing

    async def get_queue_len(self, *, deadline_s: float) -> int:
        return self.ongoing


async def routed(replicas: list[Replica], requests: int, persona: str = "pirate", method: str = "chat") -> Counter[str]:
    """How many of so many requests at once each replica gets; one that is asked holds the persona."""
    config = RequestRouterConfig(
        **replica_options(settled(ServeConfig(target_requests=20), ENGINE), ENGINE)["request_router_config"]
    )
    router = config.get_request_router_class()(
        deployment_id=DeploymentID("engine", "app"),
        handle_source=DeploymentHandleSource.UNKNOWN,
        use_replica_queue_len_cache=True,
    )
    router.initialize_state(**config.request_router_kwargs)
    router.update_replicas(replicas)
    await asyncio.sleep(0.1)  # they say how many requests they have
    found: Counter[str] = Counter()

    async def ask(number: int) -> None:
        metadata = RequestMetadata(str(number), str(number), call_method=method, multiplexed_model_id=persona)
        replica: Any = await router._choose_replica_for_request(PendingRequest([], {}, metadata))
        router.on_send_request(replica.replica_id)
        found[replica.replica_id.unique_id] += 1

    for start in range(0, requests, 4):
        await asyncio.wait_for(asyncio.gather(*map(ask, range(start, min(start + 4, requests)))), 30)
    return found


ENGINE = EngineConfig(max_num_seqs=100)


def test_a_hot_persona_spreads_over_the_replicas_long_before_the_one_that_holds_it_is_full():
    hot = asyncio.run(routed([Replica("a", "pirate"), Replica("b", "poet")], 30))
    assert hot["a"] + hot["b"] == 30
    assert 10 <= hot["a"] <= 22 and hot["b"] >= 8


def test_a_persona_that_few_ask_for_stays_where_it_is():
    assert asyncio.run(routed([Replica("a", "pirate"), Replica("b"), Replica("c")], 8)) == {"a": 8}


def test_a_persona_does_not_move_to_replicas_that_are_as_busy():
    assert asyncio.run(routed([Replica("a", "pirate", ongoing=14), Replica("b", ongoing=12)], 4)) == {"a": 4}


def test_a_full_replica_is_left_for_any_other():
    assert asyncio.run(routed([Replica("a", "pirate", ongoing=50), Replica("b", ongoing=30)], 1)) == {"b": 1}


@pytest.mark.parametrize(("asked", "expected"), [(1, {"c": 1}), (2, {"b": 1, "c": 1})])
def test_a_persona_is_loaded_beforehand_where_it_is_not_yet(asked: int, expected: dict[str, int]):
    replicas = [Replica("a", "pirate"), Replica("b", "poet", "tutor"), Replica("c", "poet")]
    assert asyncio.run(routed(replicas, asked, method="warm")) == expected


def test_a_version_is_loaded_by_as_many_replicas_as_its_requests_ask_for():
    serve = settled(ServeConfig(target_requests=20, max_replicas=4, ingresses=2, prewarm_replicas=2), ENGINE)
    assert [warm_replicas(serve, ongoing) for ongoing in (0, 15, 500)] == [2, 3, 4]


def test_a_persona_may_take_half_of_all_places_unless_the_recipe_says_how_many():
    assert settled(ServeConfig(), EngineConfig()).max_persona_requests == 256
    assert settled(ServeConfig(max_replicas=4), EngineConfig()).max_persona_requests == 1024
    assert settled(ServeConfig(max_replicas=4, max_persona_requests=9), EngineConfig()).max_persona_requests == 9
