"""What every layer of tests shares: the rule for tests that need a GPU, and a bucket on this machine."""

import os
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.places import BucketPlace, FolderPlace, Place
from tests.s3_server import S3Server

_NUMBERS = count(1)

# A shell that starts the tests in the background has them ignore an interrupt, which some of them send.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A server on this machine that speaks S3; it starts when a test asks for it."""
    with S3Server() as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> BucketPlace:
    """A bucket of the test's own, with the environment that leads there."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server.new_bucket(f"test-{next(_NUMBERS)}")


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Where a registry may lie: a folder, then a bucket."""
    monkeypatch.setenv("CHARACTER_RAY_CACHE", str(tmp_path / "cache"))
    if request.param == "folder":
        return FolderPlace(tmp_path / "registry")
    found: BucketPlace = request.getfixturevalue("bucket")
    return found


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
