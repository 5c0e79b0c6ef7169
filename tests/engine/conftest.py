"""One miniature run on the embedded model, submitted as a user would, shared by every test of this layer."""

import os
import signal
import subprocess
import sys
import time
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
    address = "http://127.0.0.1:8299"
    head = [
        "start",
        "--head",
        "--block",
        "--port=6399",
        "--dashboard-port=8299",
        "--num-cpus=4",
        "--include-dashboard=true",
        # Another Ray on the machine holds the default one, and a node without an agent takes no job.
        "--dashboard-agent-listen-port=8298",
    ]
    # Ended by its handle: `ray stop` would end every Ray on the machine.
    process = subprocess.Popen(
        [str(BIN / "ray"), *head, "--disable-usage-stats"], env=environment, stdout=subprocess.DEVNULL
    )
    client = environment | {"RAY_API_SERVER_ADDRESS": address}
    try:
        _wait_for_jobs(client, process)
        yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        # Else whoever starts Ray without an address would look for this cluster.
        Path("/tmp/ray/ray_current_cluster").unlink(missing_ok=True)


def _wait_for_jobs(client: dict[str, str], process: subprocess.Popen[bytes], timeout_s: float = 300) -> None:
    """Returns when a job ends well: the dashboard answers some seconds before the node's agent takes a job."""
    deadline = time.monotonic() + timeout_s
    while True:
        assert process.poll() is None, "the Ray head ended before it took a job"
        job = [str(BIN / "ray"), "job", "submit", "--", "true"]
        probe = subprocess.run(job, env=client, capture_output=True, text=True, timeout=timeout_s, check=False)
        if probe.returncode == 0:
            return
        assert time.monotonic() < deadline, f"no job in {timeout_s} s: {probe.stdout}{probe.stderr}"
        time.sleep(1)


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
