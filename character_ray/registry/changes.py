"""Who changes what is live, and when."""

import getpass
import os
from collections.abc import Sequence
from datetime import UTC, datetime

from character_ray.registry.entries import Action, Change, Entry

__all__ = ["demoted", "made_now", "now", "user"]


def made_now(action: Action, weights_hash: str, by: str = "", gate: Sequence[str] = ()) -> Change:
    """A change that is made now, by the user of this process unless another is named."""
    return Change(
        action=action,
        weights_hash=weights_hash,
        by=by or user(),
        at=datetime.now(UTC).replace(microsecond=0),
        gate=list(gate),
    )


def demoted(entry: Entry) -> Entry:
    """A version that is no longer live; a candidate stays one."""
    return entry.model_copy(update={"status": "retired"}) if entry.status == "live" else entry


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def user() -> str:
    """The user of this process; a container may run under a number that has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
