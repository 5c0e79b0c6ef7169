"""What a killed process had started is ended, and nothing else."""

import signal
import subprocess
import sys
import time

import psutil

from character_ray.pipeline.orphans import no_orphans

DRIVER = """
import os, signal, subprocess, time
from character_ray.pipeline.orphans import no_orphans
with no_orphans():
    # Of a session of its own, as an engine's processes are.
    sleeper = subprocess.Popen(["sleep", "600"], start_new_session=True)
    print(sleeper.pid, flush=True)
    time.sleep(600)
"""


def wait_until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_drivers_processes_are_ended():
    bystander = subprocess.Popen(["sleep", "600"])
    driver = subprocess.Popen([sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, text=True)
    try:
        orphan = psutil.Process(int(driver.stdout.readline()))
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        wait_until(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE)
        assert bystander.poll() is None
    finally:
        bystander.kill()


def test_what_is_started_afterwards_carries_no_mark(monkeypatch):
    monkeypatch.delenv("CHARACTER_RAY_SESSION", raising=False)
    with no_orphans():
        left = subprocess.Popen(["sleep", "600"], start_new_session=True)
    later = subprocess.Popen(["sleep", "600"])
    try:
        wait_until(lambda: left.poll() is not None)
        assert later.poll() is None
    finally:
        later.kill()
