"""What a user sees while a run goes on: one live line per stage, one summary line when it ends."""

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.text import Text

__all__ = ["StageProgress", "console", "describe_counts", "stage_progress"]

# A log file has no width of its own; tables with an interval in every cell need more than the 80 columns assumed otherwise.
LOG_WIDTH = 160
console = Console(
    highlight=False,
    soft_wrap=True,
    width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else LOG_WIDTH,
)

# A log file gets a line this often instead of a moving one.
LOG_EVERY_S = 15.0


class _RateColumn(TextColumn):
    """Rows per second since the first row, so that engine start-up does not dilute the rate."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: RichTask) -> Text:
        rate = task.finished_speed or task.speed
        return Text(f"{rate:.1f}/s" if rate else "", style="cyan")


class StageProgress:
    """Counts rows of one stage and shows rate and time left."""

    def __init__(self, stage: str, total: int, unit: str, progress: Progress | None) -> None:
        self._stage, self._total, self._unit, self._progress = stage, total, unit, progress
        self._done = 0
        self._first_row: tuple[float, int] | None = None
        self._last_line = self._start = time.monotonic()
        self._task = progress.add_task(stage, total=total, unit=unit, note="") if progress else None

    def note(self, text: str) -> None:
        """Show what the stage is doing while nothing is counted, such as an engine starting."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, note=text)
        else:
            console.print(f"{self._stage}: {text}", markup=False)

    def advance(self, num: int = 1, note: str = "") -> None:
        """Count ``num`` more rows."""
        self._done += num
        now = time.monotonic()
        if self._first_row is None:
            self._first_row = (now, self._done)
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=num, note=note)
        elif now - self._last_line >= LOG_EVERY_S or self._done >= self._total:
            self._last_line = now
            console.print(self._line(now, note), markup=False)

    def close(self) -> None:
        """Take the line off the terminal."""
        if self._progress is not None and self._task is not None:
            self._progress.remove_task(self._task)

    def _line(self, now: float, note: str) -> str:
        line = f"{self._stage}: {self._done:,}/{self._total:,} {self._unit}"
        if self._first_row is not None and now > self._first_row[0] and self._done > self._first_row[1]:
            rate = (self._done - self._first_row[1]) / (now - self._first_row[0])
            line += f", {rate:.1f}/s, {max(self._total - self._done, 0) / rate:.0f} s left"
        return f"{line} {note}".rstrip()


@contextmanager
def stage_progress(stage: str, total: int, unit: str = "rows") -> Iterator[StageProgress]:
    """A live line on a terminal, a line every few seconds in a log; stages that go on side by side have a line each."""
    if not sys.stdout.isatty():
        yield StageProgress(stage, total, unit, None)
        return
    with _display.shared() as progress:
        line = StageProgress(stage, total, unit, progress)
        try:
            yield line
        finally:
            line.close()


class _Display:
    """The one live display that a terminal has, up while any stage goes on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._stages = 0

    @contextmanager
    def shared(self) -> Iterator[Progress]:
        """The display, made for the first stage and taken down with the last."""
        with self._lock:
            if self._progress is None:
                self._progress = _new_display()
                self._progress.start()
            progress = self._progress
            self._stages += 1
        try:
            yield progress
        finally:
            with self._lock:
                self._stages -= 1
                if not self._stages:
                    progress.stop()
                    self._progress = None


def _new_display() -> Progress:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        _RateColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    return Progress(*columns, console=console, transient=True)


_display = _Display()


def describe_counts(counts: Mapping[str, int]) -> str:
    """``201 identical, 64 empty`` in falling order; empty when nothing was counted."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number:,} {reason}" for reason, number in ordered if number)
