"""R8 of generation: many personas' pairs with the whole process group killed at set shares of the rows, beside an undisturbed run.

    python -m benchmarks.bench_resume jobs/recipes/laptop-gpu.yaml constitutions/*.yaml --set prompts.grid=150 \
        --output benchmarks/results/resume-gpu.json

R8 is the disturbed run's wall time, restarts included, divided by the undisturbed one's. Gates: no row lost, none twice, and the same
rows as the undisturbed run. The record holds every persona's counts and reasons for drops.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pyarrow.parquet as pq

from benchmarks.record import write_record
from character_ray.parts import read_parts, read_rows

STAGES = ("teacher", "student")
Row = dict[str, Any]


def generate_pairs(arguments: argparse.Namespace, output: Path, kill_after: int | None) -> tuple[float, bool]:
    """Run ``character-ray many --pairs-only``, killed once that many rows lie in the store; wall seconds, and whether it finished."""
    overrides = [word for override in [*arguments.set, f"output={output}"] for word in ("--set", override)]
    command = [sys.executable, "-c", "from character_ray.cli import app; app()", "many", "--pairs-only", *overrides]
    started = monotonic()
    process = subprocess.Popen(
        [*command, str(arguments.recipe), *map(str, arguments.constitutions)], start_new_session=True
    )
    while process.poll() is None:
        if kill_after is not None and count_rows(output) >= kill_after:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            sleep(5)  # Ray's processes end with the driver that started them; the GPU must be free again
            return monotonic() - started, False
        sleep(0.2)
    if process.returncode:
        raise SystemExit(f"the run ended with {process.returncode}")
    return monotonic() - started, True


def count_rows(output: Path) -> int:
    """Completions written so far."""
    parts = [path for folder in completion_folders(output) for path in folder.glob("part-*.parquet")]
    return sum(pq.read_metadata(path).num_rows for path in parts)


def completion_folders(output: Path) -> list[Path]:
    """Folders of the stages that an engine completes; others, such as the judge's scores, are written in parts too."""
    return [path for stage in STAGES for path in (output / "store").glob(f"{stage}-*") if path.is_dir()]


def rows_of(output: Path) -> dict[str, list[Row]]:
    """All completions by stage folder."""
    return {folder.name: read_parts(folder) for folder in completion_folders(output)}


def compare(expected: Mapping[str, Sequence[Row]], found: Mapping[str, Sequence[Row]]) -> dict[str, int]:
    """Rows of an undisturbed run that a disturbed one lost, has twice, and has with the same text."""
    lost = twice = same = 0
    for stage, rows in expected.items():
        good = [row for row in found.get(stage, []) if not row["error"]]
        ids = Counter(row["row_id"] for row in good)
        text = {row["row_id"]: row["completion"] for row in good}
        lost += sum(row["row_id"] not in ids for row in rows)
        twice += sum(count > 1 for count in ids.values())
        same += sum(text.get(row["row_id"]) == row["completion"] for row in rows)
    return {"lost": lost, "twice": twice, "same_text": same}


def counts(output: Path) -> dict[str, Any]:
    """Pairs kept and dropped, by persona."""
    found = {}
    for path in sorted(output.glob("*/pairs/pairs.parquet")):
        rows = read_rows(path)
        reasons = Counter(row["drop_reason"] or "kept" for row in rows)
        found[path.parent.parent.name] = {"pairs": len(rows), **reasons}
    return found


def main() -> None:
    """Measure, check, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("constitutions", type=Path, nargs="+")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--kill-at", type=float, nargs="+", default=(0.3, 0.7), help="shares of the rows")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        clean, disturbed = Path(scratch) / "clean", Path(scratch) / "disturbed"
        clean_s, _ = generate_pairs(arguments, clean, None)
        expected = rows_of(clean)
        total = sum(map(len, expected.values()))
        attempts = []
        for share in [*arguments.kill_at, None]:
            seconds, finished = generate_pairs(arguments, disturbed, None if share is None else int(share * total))
            attempts.append({"seconds": seconds, "finished": finished, "rows": count_rows(disturbed)})
            print(json.dumps(attempts[-1]), flush=True)
            if finished and share is not None:
                raise SystemExit(
                    f"the run ended before {share:.0%} of its rows were seen, so nothing was killed; ask for more rows"
                )
        gates = compare(expected, rows_of(disturbed))
        write_record(
            arguments.output,
            "benchmarks.bench_resume",
            {"R8_generation": sum(attempt["seconds"] for attempt in attempts) / clean_s},
            {"clean": [clean_s], "disturbed": [attempt["seconds"] for attempt in attempts]},
            {"R8_generation": "wall seconds; the disturbed run's are by attempt and are summed"},
            {**vars(arguments)},
            gates={"rows": total, **gates},
            attempts=attempts,
            personas=counts(disturbed),
        )
    if gates["lost"] or gates["twice"]:
        raise SystemExit(f"{gates['lost']} rows lost, {gates['twice']} rows twice")


if __name__ == "__main__":
    main()
