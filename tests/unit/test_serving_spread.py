"""When a replica is added."""

from math import ceil

import pytest
from ray.llm._internal.common.dict_utils import maybe_apply_llm_deployment_config_defaults
from ray.serve.config import AutoscalingConfig

from character_ray.config import EngineConfig, ServeConfig
from character_ray.serving.spread import replica_options

RAYS_DEFAULTS = {"autoscaling_config": {"target_ongoing_requests": int(1e9)}}


@pytest.mark.parametrize(
    ("settings", "requests", "replicas"),
    [({}, 60, 1), ({}, 140, 2), ({}, 1000, 4), ({"target_requests": 10}, 30, 3)],
)
def test_replicas_follow_the_load_up_to_their_limit(settings: dict[str, int], requests: int, replicas: int):
    options = replica_options(ServeConfig(max_replicas=4, **settings), EngineConfig(max_num_seqs=100))
    merged = maybe_apply_llm_deployment_config_defaults(RAYS_DEFAULTS, options)
    scaling = AutoscalingConfig(**merged["autoscaling_config"])
    assert min(ceil(requests / scaling.get_target_ongoing_requests()), scaling.max_replicas) == replicas
