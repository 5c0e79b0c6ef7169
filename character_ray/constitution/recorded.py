"""Whether a constitution's file still says what a finished run was made with."""

import json
from pathlib import Path
from typing import Any

from character_ray.constitution.schema import Constitution
from character_ray.errors import ConstitutionError, ReportError

__all__ = ["check_same_as_recorded", "check_unedited"]


def check_unedited(constitution: Constitution, source: Path | str, run: Path) -> None:
    """Refuse a constitution whose file was edited since a run was made with it.

    A run that recorded none yet, since it has neither a report nor a teacher's completions, is let through.

    Args:
        constitution: What the file says now.
        source: The file.
        run: Folder of the run.

    Raises:
        ConstitutionError: The run was made with something else.
        ReportError: The run's report is damaged.
    """
    recorded, where = _recorded(run)
    if recorded:
        check_same_as_recorded(constitution, source, recorded, where)


def check_same_as_recorded(constitution: Constitution, source: Path | str, recorded: str, where: Path | str) -> None:
    """Refuse a constitution that is not the recorded one.

    Args:
        constitution: What the file says now.
        source: The file.
        recorded: Fingerprint of what it said then.
        where: File that records it.

    Raises:
        ConstitutionError: The two differ.
    """
    if constitution.fingerprint != recorded:
        raise ConstitutionError(
            f"{source} was edited since: its hash is {constitution.fingerprint} now, but {where} was made with {recorded}. Answers, "
            "threshold and adapter there are of the old text, so what is measured by the new one would fit neither. Restore the file "
            "and keep the new version in a file of its own, or run the recipe again."
        )


def _recorded(run: Path) -> tuple[str, Path]:
    """The fingerprint that a run's report records, or before there is one its teacher's completions, and the file it is from."""
    report = _read(run / "report.json").get("constitution", {}).get("hash", "")
    if report:
        return report, run / "report.json"
    teacher = _read(run / "run.json").get("stages", {}).get("teacher", {})
    return teacher.get("inputs", {}).get("constitution", ""), run / "run.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except json.JSONDecodeError as cause:
        raise ReportError(f"{path} is not readable JSON ({cause}). Delete it and run the recipe again.") from None
    return found
