"""Ctrl-C while Ray Train works, and after it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["interruptible"]


@contextmanager
def interruptible() -> Iterator[None]:
    """Hand Ctrl-C back as Python's own.

    Ray Train takes the signal over: it aborts the workers, which is right, but then ends the process as if all went well, and keeps
    the signal after the training, so that nothing later in the run could be stopped.

    Raises:
        KeyboardInterrupt: The training was interrupted; its workers are gone and its checkpoints are kept.
    """
    in_charge = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        if in_charge:
            signal.signal(signal.SIGINT, before)
