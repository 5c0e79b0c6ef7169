"""A local Ray cluster that takes jobs and asks for a token, as one that is shared does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["running_cluster"]

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
TOKEN = "0123456789abcdef0123456789abcdef0123456789abcdef"


@contextmanager
def running_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """A Ray head with a dashboard for the length of the block; gives the environment of its clients.

    Args:
        folder: For its token.
    """
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
