"""Who asked whom, when, and how it ended: one JSON line for each request, without its text unless that is asked for."""

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["AuditLog"]


class AuditLog:
    """A file of its own for every process, in a folder that all may write to.

    Args:
        folder: Made when it is not there; ``None`` keeps no log.
        with_text: Whether lines hold what was asked.
    """

    def __init__(self, folder: Path | None, with_text: bool = False) -> None:
        self._with_text = with_text
        self._stream = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"audit-{socket.gethostname()}-{os.getpid()}.jsonl"
            self._stream = open(path, "a", encoding="utf-8", opener=_only_owner)  # noqa: SIM115

    def write(self, *, text: Any, **fields: Any) -> None:
        """Add a line; ``text`` is what was asked."""
        if self._stream is None:
            return
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
        if self._with_text:
            line["text"] = text
        self._stream.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
        self._stream.flush()


def _only_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
