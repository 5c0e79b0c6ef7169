"""``report.json`` on disk: written so that it can always be read back, and read so that a fault is named."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from character_ray.errors import ReportError
from character_ray.report.schema import SCHEMA_VERSION, Report
from character_ray.whole_files import write_text

__all__ = ["load_report", "report_json_schema", "write_report"]

# A report of another shape fails in every field; the first few say enough.
MAX_PROBLEMS = 10


def write_report(report: Report, path: Path) -> None:
    """Write ``report.json``, atomically.

    A number that is not finite becomes ``null``, which is legal only where the schema lets a number be missing (a
    metric then needs its reason); anywhere else the report is refused, because nobody could read the file.

    Raises:
        ReportError: A number that must be there is NaN or infinite.
    """
    text = report.model_dump_json(indent=1)
    try:
        Report.model_validate_json(text)
    except ValidationError as failure:
        raise ReportError(
            f"{path}: not written, because the report could not be read back. A null below was NaN or infinite:\n"
            f"{_problems(failure)}\n"
            "Find the stage that made the number, or give the metric a reason instead of a value."
        ) from None
    write_text(path, text + "\n")


def load_report(path: Path) -> Report:
    """The report in a ``report.json``.

    Raises:
        ReportError: The file is missing, is not JSON, has another schema version, or breaks the schema.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise ReportError(
                f"{path.parent}: no such run. Check the path, or list what is there: ls {path.parent.parent}"
            ) from None
        raise ReportError(
            f"{path}: no such file. A run writes it in its last stage; run the recipe again to finish it."
        ) from None
    except (OSError, ValueError) as cause:
        raise ReportError(f"{path}: cannot be read as JSON ({cause}).") from cause
    if not isinstance(data, dict) or "schema_version" not in data:
        raise ReportError(f"{path}: not a report of character-ray, which is a JSON object with a schema_version.")
    if data["schema_version"] != SCHEMA_VERSION:
        raise ReportError(
            f"{path}: schema_version is {data['schema_version']!r}, but this version of character-ray reads "
            f"{SCHEMA_VERSION}. Use the version that wrote the report, or run the recipe again: "
            "finished stages are reused."
        )
    try:
        return Report.model_validate(data)
    except ValidationError as failure:
        raise ReportError(f"{path}: breaks the schema of reports:\n{_problems(failure)}") from None


def report_json_schema() -> dict[str, Any]:
    """The JSON Schema of ``report.json``; ``report.schema.json`` in this package is a copy of it."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Report.model_json_schema(mode="serialization")}


def _problems(failure: ValidationError) -> str:
    """One line per problem: the field as one would index it, and what is wrong with it."""
    errors = failure.errors(include_url=False)
    lines = [f"  {'.'.join(map(str, error['loc']))}: {error['msg']}" for error in errors[:MAX_PROBLEMS]]
    if len(errors) > MAX_PROBLEMS:
        lines.append(f"  and {len(errors) - MAX_PROBLEMS} more")
    return "\n".join(lines)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number; a report writes null with a reason")
