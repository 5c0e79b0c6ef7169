"""R8: a run whose whole process group is killed, beside an undisturbed one; of generation alone, or of the whole pipeline.

    python -m benchmarks.bench_resume jobs/recipes/laptop-gpu.yaml constitutions/*.yaml --set prompts.grid=150 \
        --output benchmarks/results/resume-gpu.json

R8 is the disturbed run's wall time, restarts included, divided by the undisturbed one's. Gates: no row lost, none twice, and the same
rows as the undisturbed run. The record holds every persona's counts and reasons for drops.

    python -m benchmarks.bench_resume jobs/recipes/smollm2-full.yaml --stages all --kill-in teacher dpo sft \
        --output benchmarks/results/resume-all-gpu.json

    python -m benchmarks.bench_resume jobs/recipes/laptop-gpu.yaml constitutions/*.yaml --at-once 16400 --output r8.json

``--at-once`` runs the two beside each other, each with a GPU and half of the cores of its own; since the undisturbed run is then no
help in saying when to kill, its number of rows must be known.

``--stages all`` runs the whole pipeline and kills it once in each of the named stages, when that stage has worked for half the time it
took undisturbed. A clean run should take eight minutes at least, or the starts of the engines are most of the ratio.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

import pyarrow.parquet as pq

from benchmarks.record import write_record
from character_ray.parts import read_parts, read_rows

STAGES = ("teacher", "student")
Row = dict[str, Any]
Result = TypeVar("Result")


def generate_pairs(
    arguments: argparse.Namespace, output: Path, kill_after: int | None, gpu: int | None = None
) -> tuple[float, bool]:
    """Run ``character-ray many --pairs-only``, killed once that many rows lie in the store; wall seconds, and whether it finished."""
    overrides = [word for override in [*arguments.set, f"output={output}"] for word in ("--set", override)]
    command = [sys.executable, "-c", "from character_ray.cli import app; app()", "many", "--pairs-only", *overrides]
    command += [str(arguments.recipe), *map(str, arguments.constitutions)]
    return run_until(command, lambda: kill_after is not None and count_rows(output) >= kill_after, gpu)


def run_pipeline(arguments: argparse.Namespace, output: Path, kill_in: str, after_s: float) -> tuple[float, bool]:
    """Run the whole pipeline, killed once a stage has worked for so many seconds; wall seconds, and whether it finished."""
    overrides = [*arguments.set, f"output={output}"]
    command = [sys.executable, "jobs/full_pipeline.py", str(arguments.recipe), *overrides]
    return run_until(command, lambda: bool(kill_in) and works_since(output, kill_in) >= after_s)


def run_until(command: Sequence[str], is_time: Callable[[], bool], gpu: int | None = None) -> tuple[float, bool]:
    """Run a command, its whole process group killed when it is time; wall seconds, and whether it finished.

    Args:
        command: What to run.
        is_time: Whether to kill it now.
        gpu: The only one it sees; all of them by default.
    """
    started = monotonic()
    seen = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": str(gpu)}
    process = subprocess.Popen(command, start_new_session=True, env=os.environ | seen)
    while process.poll() is None:
        if is_time():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            sleep(5)  # Ray's processes end with the driver that started them; the GPU must be free again
            return monotonic() - started, False
        sleep(0.2)
    if process.returncode:
        raise SystemExit(f"the run ended with {process.returncode}")
    return monotonic() - started, True


def stage_folders(output: Path, stage: str) -> list[Path]:
    """Folders of a stage in the store."""
    return [path for path in (output / "store").glob(f"{stage}-*") if path.name.rpartition("-")[0] == stage]


def works_since(output: Path, stage: str) -> float:
    """Seconds since an unfinished stage was taken up; 0 when none is at work. A stage holds its lock while it works."""
    locks = [
        path / ".lock"
        for path in stage_folders(output, stage)
        if (path / ".lock").is_file() and not (path / "done.json").is_file()
    ]
    return max((time.time() - lock.stat().st_mtime for lock in locks), default=0.0)


def stage_seconds(output: Path, stage: str) -> float:
    """What a stage took in a finished run."""
    for path in stage_folders(output, stage):
        done = json.loads((path / "done.json").read_text(encoding="utf-8"))
        return float(done["summary"].get("wall_s", 0.0))
    raise SystemExit(f"the undisturbed run has no stage {stage!r}; --kill-in takes names such as teacher, dpo or sft")


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


def every_row(output: Path) -> dict[str, list[Row]]:
    """All rows with an id of every stage that is written in parts, by stage folder; whatever a row says becomes its ``completion``."""
    found: dict[str, list[Row]] = {}
    for folder in sorted((output / "store").iterdir()):
        rows = [row for row in read_parts(folder) if "row_id" in row]
        if rows:
            said = [{key: value for key, value in row.items() if key not in ("row_id", "error")} for row in rows]
            found[folder.name] = [
                {"row_id": row["row_id"], "error": row.get("error", ""), "completion": text}
                for row, text in zip(rows, said, strict=True)
            ]
    return found


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


def measure_generation(arguments: argparse.Namespace, clean: Path, disturbed: Path) -> None:
    """R8 of generation."""
    if arguments.at_once:
        cores = sorted(os.sched_getaffinity(0))
        halves = cores[: len(cores) // 2], cores[len(cores) // 2 :]
        with ThreadPoolExecutor(2) as pool:
            undisturbed = pool.submit(on_cores, halves[0], lambda: generate_pairs(arguments, clean, None, gpu=0))
            killed = pool.submit(
                on_cores, halves[1], lambda: attempts_of(arguments, disturbed, arguments.at_once, gpu=1)
            )
            (clean_s, _), attempts = undisturbed.result(), killed.result()
    else:
        clean_s, _ = generate_pairs(arguments, clean, None)
        attempts = attempts_of(arguments, disturbed, count_rows(clean))
    expected = rows_of(clean)
    gates = compare(expected, rows_of(disturbed))
    total = sum(map(len, expected.values()))
    record(arguments, "R8_generation", clean_s, attempts, {"rows": total, **gates}, personas=counts(disturbed))


def on_cores(cores: Sequence[int], work: Callable[[], Result]) -> Result:
    """Do it in this thread, and what it starts, on these cores alone."""
    os.sched_setaffinity(0, cores)
    return work()


def attempts_of(
    arguments: argparse.Namespace, disturbed: Path, total: int, gpu: int | None = None
) -> list[dict[str, Any]]:
    """Start the run until it ends by itself, killed at each of the shares of its ``total`` rows."""
    attempts = []
    for share in [*arguments.kill_at, None]:
        seconds, finished = generate_pairs(arguments, disturbed, None if share is None else int(share * total), gpu)
        attempts.append({"seconds": seconds, "finished": finished, "rows": count_rows(disturbed)})
        print(json.dumps(attempts[-1]), flush=True)
        if finished and share is not None:
            raise SystemExit(
                f"the run ended before {share:.0%} of its rows were seen, so nothing was killed; ask for more rows"
            )
    return attempts


def measure_all(arguments: argparse.Namespace, clean: Path, disturbed: Path) -> None:
    """R8 of the whole pipeline."""
    clean_s, _ = run_pipeline(arguments, clean, "", 0.0)
    expected = every_row(clean)
    attempts = []
    for stage in [*arguments.kill_in, ""]:
        after_s = stage_seconds(clean, stage) / 2 if stage else 0.0
        seconds, finished = run_pipeline(arguments, disturbed, stage, after_s)
        attempts.append({"seconds": seconds, "finished": finished, "killed_in": stage, "after_s": after_s})
        print(json.dumps(attempts[-1]), flush=True)
        if finished and stage:
            raise SystemExit(f"the run ended before {stage!r} had worked for {after_s:.1f} s, so nothing was killed")
    gates = {"rows": sum(map(len, expected.values())), **compare(expected, every_row(disturbed))}
    seconds_by_stage = {stage: stage_seconds(clean, stage) for stage in arguments.kill_in}
    record(arguments, "R8", clean_s, attempts, gates, killed_stage_s=seconds_by_stage)


def record(
    arguments: argparse.Namespace,
    ratio: str,
    clean_s: float,
    attempts: Sequence[Mapping[str, Any]],
    gates: Mapping[str, int],
    **more: Any,
) -> None:
    """Write the record; ends with an error when a row was lost or is there twice."""
    disturbed_s = sum(attempt["seconds"] for attempt in attempts)
    write_record(
        arguments.output,
        "benchmarks.bench_resume",
        {ratio: disturbed_s / clean_s},
        {"clean": [clean_s], "disturbed": [disturbed_s]},
        {ratio: "wall seconds, of the disturbed run over all its attempts"},
        {**vars(arguments)},
        gates=gates,
        attempts=attempts,
        **more,
    )
    if gates["lost"] or gates["twice"]:
        raise SystemExit(f"{gates['lost']} rows lost, {gates['twice']} rows twice")


def main() -> None:
    """Measure, check, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("constitutions", type=Path, nargs="*")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--stages", choices=("generation", "all"), default="generation")
    parser.add_argument(
        "--at-once", type=int, metavar="ROWS", help="both runs of --stages generation at once on two GPUs"
    )
    parser.add_argument("--kill-at", type=float, nargs="+", default=(0.3, 0.7), help="shares of the rows")
    parser.add_argument("--kill-in", nargs="+", default=("teacher", "dpo"), help="stages, in the order they run")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.stages == "generation" and not arguments.constitutions:
        parser.error("--stages generation needs constitutions")
    with tempfile.TemporaryDirectory() as scratch:
        measure = measure_all if arguments.stages == "all" else measure_generation
        measure(arguments, Path(scratch) / "clean", Path(scratch) / "disturbed")


if __name__ == "__main__":
    main()
