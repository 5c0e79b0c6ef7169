"""CPU time of a server's front, from real processes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.front_time import front_cpu_s

BUSY = """
import sys, time
while time.process_time() < 0.6: pass
print('done', flush=True)
sys.stdin.read()
"""


@contextmanager
def busy(*arguments: str) -> Iterator[None]:
    """A child that has used 0.6 s of CPU time and is still there."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "done\n"
        yield
    finally:
        process.kill()
        process.wait()


def test_the_front_is_every_process_below_but_the_engine():
    before = front_cpu_s()
    with busy(), busy("VLLM::EngineCore"):
        spent = front_cpu_s() - before
    assert 0.5 < spent < 1.1


def test_a_process_that_ended_counts_no_more():
    with busy():
        with_it = front_cpu_s()
    assert front_cpu_s() < with_it
