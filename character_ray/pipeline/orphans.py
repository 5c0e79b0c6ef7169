"""Ends what a killed run would leave behind.

Killed outright, a driver takes its local Ray with it, but not the engines that Ray's workers had started: those would go on holding
their memory, and the run that continues would find none. So a watcher waits beside the driver, and when the driver is gone, however
it went, ends every process that still carries its mark.
"""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

__all__ = ["no_orphans"]

MARK = "CHARACTER_RAY_SESSION"
GRACE_S = 2.0  # for processes that are ending by themselves


@contextmanager
def no_orphans() -> Iterator[None]:
    """Marks whatever is started within the block, and sees to it that none of it outlives the block or this process."""
    mark, outer = uuid.uuid4().hex, os.environ.get(MARK)
    os.environ[MARK] = mark
    # Waits for the end of its input, which comes when this process closes it or dies.
    watcher = subprocess.Popen([sys.executable, __file__, mark], stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        if outer is None:
            del os.environ[MARK]
        else:
            os.environ[MARK] = outer
        assert watcher.stdin is not None
        watcher.stdin.close()


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.pid != os.getpid():
                found.append(process)
        except (psutil.Error, OSError):  # ended meanwhile, or another user's
            continue
    return found


def _watch(mark: str) -> None:
    sys.stdin.buffer.read()
    time.sleep(GRACE_S)
    for process in _marked(mark):
        try:
            process.kill()
        except psutil.Error:
            continue


if __name__ == "__main__":
    _watch(sys.argv[1])
