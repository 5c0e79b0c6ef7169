"""Skips everything without a GPU; where ``REQUIRE_GPU=1`` says there must be one, its absence is a failure."""

import os

import pytest
import ray


@pytest.fixture(scope="session", autouse=True)
def gpu():
    import torch

    if not torch.cuda.is_available():
        if os.environ.get("REQUIRE_GPU") == "1":
            pytest.fail("REQUIRE_GPU=1, but torch sees no GPU")
        pytest.skip("needs a GPU")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
