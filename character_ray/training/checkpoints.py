"""Which checkpoint an interrupted training goes on from."""

import json
from pathlib import Path

__all__ = ["last_complete"]


def last_complete(folder: Path) -> str | None:
    """The newest checkpoint in the folder that was written to its end.

    The trainer writes ``trainer_state.json`` last. A worker that is killed while it saves leaves a folder without it, which
    cannot be resumed from and is written anew when its step comes again.

    Returns:
        Path of the checkpoint, or ``None``: training starts from the beginning.
    """
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return next((str(path) for path in found if _readable(path / "trainer_state.json")), None)


def _readable(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return True
