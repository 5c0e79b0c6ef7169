"""R7: the whole pipeline beside the same work as separate processes one after another.

    python -m benchmarks.bench_pipeline tests/engine/miniature.yaml --output benchmarks/results/pipeline-cpu.json
    python -m benchmarks.bench_pipeline jobs/recipes/smollm2-full.yaml --output benchmarks/results/pipeline-gpu.json

R7 is the wall time of ``benchmarks.apart`` divided by that of ``jobs/full_pipeline.py``, each from nothing and with its own imports,
engine starts and report. Erosion conversations and further measures are off in both. Most of the difference on a small model is
starts, so the record has the number of engine starts, every stage's seconds, and on a GPU the share of samples in which it idled
(``nvidia-smi``, twice a second).
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.record import write_record
from character_ray.report.io import load_report

ARMS = {"ours": ["jobs/full_pipeline.py"], "apart": ["-m", "benchmarks.apart"]}
SAME = ("evaluate.further=[]", "evaluate.challenges.erosion=0")
# What works apart keeps nothing up.
OWN = {"ours": (), "apart": ("judge.keep=false", "student_engine.keep=false", "student_engine.gpu_share=1")}
# A GPU below this utilisation, in percent over the sampling interval, is called idle.
IDLE_PERCENT = 5


def run_arm(arm: str, recipe: Path, overrides: Sequence[str], output: Path) -> dict[str, Any]:
    """Wall seconds, stage seconds and the GPUs' idle share of one arm, from nothing."""
    command = [sys.executable, *ARMS[arm], str(recipe), *SAME, *overrides, *OWN[arm], f"output={output}"]
    with gpu_samples() as samples:
        started = monotonic()
        subprocess.run(command, check=True)
        wall_s = monotonic() - started
    report = load_report(next(output.glob("*/report.json")))
    return {
        "wall_s": wall_s,
        "stages_s": {name: stage.wall_s for name, stage in report.run.stages.items()},
        "rows": {name: stage.rows_out for name, stage in report.run.stages.items()},
        "gpu_idle": idle_share(samples),
    }


@contextmanager
def gpu_samples() -> Iterator[list[str]]:
    """Utilisation of every GPU twice a second while the block runs, as ``nvidia-smi`` writes it; nothing where there is none."""
    samples: list[str] = []
    if shutil.which("nvidia-smi") is None:
        yield samples
        return
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "500"]
    with tempfile.TemporaryFile("w+") as file:
        process = subprocess.Popen(query, stdout=file)
        try:
            yield samples
        finally:
            process.terminate()
            process.wait()
            file.seek(0)
            samples.extend(file.read().split())


def idle_share(samples: Sequence[str]) -> float | None:
    """Share of samples in which a GPU idled; ``None`` without samples."""
    values = [float(sample) for sample in samples if sample.strip().isdigit()]
    return sum(value < IDLE_PERCENT for value in values) / len(values) if values else None


def main() -> None:
    """Measure both arms in turn, print the ratio, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for repeat in range(arguments.repeats):
        for arm in ARMS if repeat % 2 == 0 else reversed(ARMS):
            with tempfile.TemporaryDirectory() as scratch:
                found[arm].append(run_arm(arm, arguments.recipe, arguments.set, Path(scratch)))
            print(arm, json.dumps({key: found[arm][-1][key] for key in ("wall_s", "gpu_idle")}), flush=True)
    walls = {arm: [each["wall_s"] for each in runs] for arm, runs in found.items()}
    write_record(
        arguments.output,
        "benchmarks.bench_pipeline",
        {"R7": statistics.median(walls["apart"]) / statistics.median(walls["ours"])},
        walls,
        {"R7": "wall seconds from nothing to the report"},
        {**vars(arguments)},
        runs=found,
    )


if __name__ == "__main__":
    main()
