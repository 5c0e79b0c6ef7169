"""Where a deployment's API keys come from, and what is revoked or added while it runs.

The keys of the environment are those of the process that starts the deployment. The file is read again when it changes, by every ingress.
"""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from character_ray.errors import ServingError
from character_ray.serving.keys import ApiKey, KeyFile, KeyRing, load_keys, parse_keys

__all__ = ["ENVIRONMENT", "KeyWatch", "gather_keys", "keys_of_environment"]

ENVIRONMENT = "CHARACTER_RAY_KEYS"
"""Holds what a key file does: YAML or JSON with the hashes of keys."""

# Ray Serve writes what goes to this logger into the replica's log file.
logger = logging.getLogger("ray.serve")

LOOK_EVERY_S = 2.0


def keys_of_environment(environment: Mapping[str, str] = os.environ) -> tuple[ApiKey, ...]:
    """The keys in the variable; none where it is not set.

    Raises:
        ServingError: It does not hold what a key file does.
    """
    text = environment.get(ENVIRONMENT, "")
    return parse_keys(text, ENVIRONMENT) if text.strip() else ()


def gather_keys(path: Path | None, others: Sequence[ApiKey], *, may_be_none: bool = False) -> tuple[ApiKey, ...]:
    """The keys of a file, if there is one, and others.

    Args:
        path: The file.
        others: The keys of the environment.
        may_be_none: Whether the file may hold no key, as when the last one was revoked.

    Raises:
        ServingError: The file is missing or not valid, or two keys have the same name or are the same.
    """
    keys = (*(load_keys(path, may_be_none=may_be_none or bool(others)) if path else ()), *others)
    try:
        return KeyFile(keys=keys).keys
    except ValidationError as failure:
        raise ServingError(f"{path} and {ENVIRONMENT}: {failure.errors()[0]['msg']}") from None


class KeyWatch:
    """Gives a ring the keys of a file whenever it changed.

    Args:
        ring: Decides by them.
        path: The file; without one nothing changes.
        others: The keys of the environment, which stay.
    """

    def __init__(self, ring: KeyRing, path: Path | None, others: Sequence[ApiKey] = ()) -> None:
        self._ring, self._path, self._others = ring, path, tuple(others)
        self._seen: tuple[int, ...] | None = ()

    async def follow(self) -> None:
        """Look again and again."""
        while self._path is not None:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Read the file if it is not as it was; what cannot be read leaves the keys as they are, which is logged once."""
        if self._path is None:
            return
        try:
            there = self._path.stat()
            found = (there.st_mtime_ns, there.st_size, there.st_ino)
        except OSError:
            found = None
        if found == self._seen:
            return
        self._seen = found
        try:
            self._ring.replace(gather_keys(self._path, self._others, may_be_none=True))
        except ServingError as error:
            logger.error("the API keys stay as they were, since their file cannot be read: %s", error)
