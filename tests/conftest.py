"""What every layer of tests shares: the rule for tests that need a GPU."""

import os

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a GPU test where there is no GPU, or fail it where one was promised."""
    if item.get_closest_marker("gpu") is None:
        return
    import torch

    if torch.cuda.is_available():
        return
    if os.environ.get("REQUIRE_GPU") == "1":
        pytest.fail("REQUIRE_GPU=1, but torch sees no GPU. Check the driver and CUDA_VISIBLE_DEVICES.", pytrace=False)
    pytest.skip("needs a GPU; on a machine with one: REQUIRE_GPU=1 python -m pytest tests/gpu")
