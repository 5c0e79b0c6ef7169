"""A server in a process of its own, as a user starts one."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["START_LIMIT_S", "Started", "started"]

ROOT = Path(__file__).parents[2]
START_LIMIT_S = 400


@dataclass(frozen=True)
class Started:
    """The process, where it answers, and what it prints."""

    process: "subprocess.Popen[str]"
    port: int
    log: Path


@contextmanager
def started(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Started]:
    """``python -m jobs.serve`` with these arguments, once it answers; in the end it is told to stop, if it still runs.

    Args:
        folder: Where its log goes.
        arguments: Beside ``--port``.
        environment: What is set beside this process's own environment.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command, log = [sys.executable, "-m", "jobs.serve", *arguments, "--port", str(port)], folder / "log.txt"
    variables = {**os.environ, **(environment or {})}
    # A shell ignores Ctrl-C for what it runs in the background, and a server started by it would, too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=stream, stderr=subprocess.STDOUT, text=True)
    signal.signal(signal.SIGINT, before)
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while "Ctrl-C stops the server." not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        yield Started(process, port, log)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)
