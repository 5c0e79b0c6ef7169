"""Ctrl-C is Python's own again after Ray Train has held it."""

import signal
import sys
from collections.abc import Iterator

import pytest

from character_ray.training.interrupts import interruptible


@pytest.fixture(autouse=True)
def pythons_own() -> Iterator[None]:
    """A test run in the background of a shell ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def take_over() -> None:
    """As Ray Train does."""
    signal.signal(signal.SIGINT, lambda _signal, _frame: sys.exit(0))


def test_an_interruption_is_no_success():
    with pytest.raises(KeyboardInterrupt), interruptible():
        take_over()
        signal.raise_signal(signal.SIGINT)


def test_what_comes_after_can_be_stopped():
    with interruptible():
        take_over()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_an_error_is_passed_on_and_the_signal_is_handed_back():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="of the training"), interruptible():
        take_over()
        raise ValueError("of the training")
    assert signal.getsignal(signal.SIGINT) is before
