"""One miniature run on the embedded model, submitted as a user would, shared by every test of this layer."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TOKEN = "0123456789abcdef0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment of a client of a local Ray cluster that asks for a token."""
    folder = tmp_path_factory.mktemp("cluster")
    token = folder / "token"
    token.write_text(TOKEN)
    environment = {
        **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "PYTHONPATH": str(ROOT),
    }
    head = ["start", "--head", "--port=6399", "--dashboard-port=8299", "--num-cpus=4", "--include-dashboard=true"]
    ray = [str(BIN / "ray")]
    subprocess.run(
        [*ray, *head, "--disable-usage-stats", f"--temp-dir=/tmp/cr-{os.getpid()}"],
        env=environment,
        check=True,
        capture_output=True,
    )
    try:
        yield environment | {"RAY_API_SERVER_ADDRESS": "http://127.0.0.1:8299"}
    finally:
        subprocess.run([*ray, "stop"], env=environment, check=False, capture_output=True)


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
        return subprocess.run(command, env=cluster, cwd=ROOT, capture_output=True, text=True, timeout=1500, check=False)

    return run


@pytest.fixture(scope="session")
def miniature(submit, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The finished run's folder and what it printed."""
    output = tmp_path_factory.mktemp("runs")
    absolute = [f"constitution={ROOT}/constitutions/captain-blackwood.yaml", f"output={output}"]
    finished = submit(str(ROOT / "tests" / "engine" / "miniature.yaml"), *absolute)
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-2000:]
    return output / "miniature", finished.stdout
