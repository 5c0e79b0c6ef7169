"""One miniature run on the embedded model, submitted as a user would, shared by every test of this layer."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ray_cluster import running_cluster

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment of a client of a local Ray cluster that asks for a token."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as client:
        yield client


@pytest.fixture(scope="session")
def submit(cluster: dict[str, str]):
    """Submits the pipeline with a recipe and waits for it."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [
            str(BIN / "ray"),
            "job",
            "submit",
            "--",
            sys.executable,
            str(ROOT / "jobs" / "full_pipeline.py"),
            *arguments,
        ]
        return subprocess.run(command, env=cluster, cwd=ROOT, capture_output=True, text=True, timeout=2400, check=False)

    return run


@pytest.fixture(scope="session")
def miniature(submit, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The finished run's folder and what it printed."""
    output = tmp_path_factory.mktemp("runs")
    absolute = [f"constitution={ROOT}/constitutions/captain-blackwood.yaml", f"output={output}"]
    finished = submit(str(ROOT / "tests" / "engine" / "miniature.yaml"), *absolute)
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-2000:]
    return output / "miniature", finished.stdout
