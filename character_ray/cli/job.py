"""How a script of ``jobs/`` ends: errors raised on purpose in one line, an interruption with what to do next."""

import sys
from collections.abc import Callable

from character_ray.errors import CharacterRayError

__all__ = ["exit_code"]


def exit_code(work: Callable[[], object]) -> int:
    """Do the work; returns 0, 1 after an error raised on purpose, or 130 after Ctrl-C."""
    try:
        work()
    except CharacterRayError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Finished stages and rows are kept; run the same command to continue.", file=sys.stderr)
        return 130
    return 0
