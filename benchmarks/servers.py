"""A server in a process of its own for as long as it is measured: ended by its handle, with what it said if it does not start."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["free_port", "served"]


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(
    command: Sequence[str],
    port: int,
    log: Path,
    limit_s: float,
    environment: Mapping[str, str] | None = None,
    ready: str = "/v1/models",
) -> Iterator[str]:
    """The URL of an OpenAI API on loopback, once it answers at ``ready``, which it must not before its engine does.

    The server ends with the block, also when this process is asked to end (``timeout`` does so).

    Raises:
        RuntimeError: The process ended, or did not answer within ``limit_s``; the end of its log is in the message.
    """
    url = f"http://127.0.0.1:{port}"
    log.parent.mkdir(parents=True, exist_ok=True)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            list(command),
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        _wait(process, url + ready, log, time.monotonic() + limit_s, limit_s)
        yield f"{url}/v1"
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end(process)
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path, deadline: float, limit_s: float) -> None:
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode} before it answered:\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"the server did not answer at {url} within {limit_s:g} s:\n{_tail(log)}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask the server to end, then end its whole process group: an engine left behind would keep the device's memory."""
    for number, patience_s in ((signal.SIGINT, 45), (signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        if process.poll() is not None:
            break
        os.kill(process.pid, number)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-3000:]
