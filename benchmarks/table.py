"""The table of ``benchmarks/README.md``, written between its markers from the records in ``results/``.

python -m benchmarks.table
python -m benchmarks.table --check
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bounds import bound_of

__all__ = ["fill", "table"]

FOLDER = Path(__file__).parent
README, RESULTS = FOLDER / "README.md", FOLDER / "results"
BEGIN, END = "<!-- results: python -m benchmarks.table -->", "<!-- end of results -->"
# Arms with more columns than a reader can take; the record has them all.
MAX_ARMS = 6


def main(arguments: Sequence[str]) -> int:
    """Write the table, or say whether it is up to date; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when the table is stale")
    asked = parser.parse_args(arguments)
    old = README.read_text(encoding="utf-8")
    new = fill(old, table(RESULTS))
    if asked.check:
        return int(old != new)
    README.write_text(new, encoding="utf-8")
    return 0


def fill(text: str, between: str) -> str:
    """The text with what stands between its markers replaced.

    Raises:
        ValueError: A marker is missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{README} needs the lines {BEGIN!r} and {END!r}; the table is written between them.")
    return f"{before}{begin}\n\n{between}\n{end}{after}"


def table(results: Path) -> str:
    """Ratios with their bounds, and below them the machine, versions, date and command of each record."""
    records = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))}
    lines = ["| ratio | value | must be | goal | stands | arms (median of repeats) | record |", "|" + " --- |" * 7]
    for name, record in records.items():
        lines += _ratios(name, record)
    lines += ["", "| record | hardware | versions | date | command |", "|" + " --- |" * 5]
    for name, record in records.items():
        versions = ", ".join(f"{package} {version}" for package, version in record["versions"].items())
        command = f"`{record['command']}`"
        date = record.get("date", "not recorded")
        lines.append(f"| [{name}](results/{name}.json) | {_hardware(record)} | {versions} | {date} | {command} |")
    return "\n".join(lines) + "\n"


def _ratios(name: str, record: Mapping[str, Any]) -> Iterator[str]:
    arms = "; ".join(f"{arm} {_number(values['median'])}" for arm, values in list(record["arms"].items())[:MAX_ARMS])
    more = len(record["arms"]) - MAX_ARMS
    arms += f"; {more} more in the record" if more > 0 else ""
    for ratio, value in record["ratios"].items():
        bound = bound_of(ratio, record["settings"])
        if bound is None:
            columns = ["-", "-", "-"]
        else:
            sign = "≥" if bound.direction == "at least" else "≤"
            columns = [f"{sign} {bound.passes:g}", f"{sign} {bound.goal:g}", bound.standing(value)]
        yield f"| {ratio} | {_number(value)} | {' | '.join(columns)} | {arms} | [{name}](results/{name}.json) |"
        arms = "as above"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _hardware(record: Mapping[str, Any]) -> str:
    hardware = record["hardware"]
    gpus = hardware.get("gpus") or []
    cores = f"{hardware.get('cpu_cores', '?')} CPU cores"
    return f"{len(gpus)} x {gpus[0]}, {cores}" if gpus else cores


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
