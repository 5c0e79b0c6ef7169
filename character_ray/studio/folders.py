"""Names that come from a browser become paths here, and never leave their folder."""

import re
from pathlib import Path

from character_ray.errors import StudioError

__all__ = ["inside"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def inside(folder: Path, name: str, suffix: str = "") -> Path:
    """The path of an entry of a folder, itself and not what lies below it.

    Args:
        folder: The folder.
        name: Name of the entry, without its suffix.
        suffix: ``.yaml`` and the like.

    Raises:
        StudioError: The name is not a plain one, or leads out of the folder by a link.
    """
    if not _NAME.fullmatch(name):
        raise StudioError(
            f"{name!r} is not a name that can be used here. Use letters, digits, dots, dashes and underscores, beginning with a "
            "letter or digit, at most 100."
        )
    path = folder / f"{name}{suffix}"
    if path.resolve().parent != folder.resolve():
        raise StudioError(
            f"{name!r} leads out of {folder} by a link, and what lies there is not shown or changed here."
        )
    return path
