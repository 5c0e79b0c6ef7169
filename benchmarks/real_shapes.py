"""The whole pipeline at the shapes of real models with random weights: that it runs there, and what each stage takes.

    python -m benchmarks.real_shapes --output benchmarks/results/shapes-h200-x2.json
    python -m benchmarks.real_shapes --layers 2 --set train.workers=1 --output /tmp/shapes.json

Qwen3-30B-A3B teaches Qwen3-4B by ``benchmarks/real-shapes.yaml``, the teacher over two GPUs. What random weights write is noise, so the
filters let everything through and the numbers of its evaluation mean nothing; the rows, their lengths and the work are real.
``--layers`` cuts both models short, to try the command where there is little room.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic

from benchmarks.bench_pipeline import gpu_samples, idle_share
from benchmarks.random_adapters import mark_weights
from benchmarks.record import write_record
from benchmarks.shapes import SHAPES, shape_folder, write_random_weights
from character_ray.report.io import load_report

RECIPE = Path("benchmarks/real-shapes.yaml")


def main() -> None:
    """Write the models, run the pipeline, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", choices=sorted(SHAPES), default="qwen3-30b-a3b")
    parser.add_argument("--student", choices=sorted(SHAPES), default="qwen3-4b")
    parser.add_argument("--layers", type=int, metavar="N", help="so many layers of each")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override of the recipe")
    parser.add_argument("--scratch", type=Path, help="folder for models and run, which stays; a temporary one without")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = arguments.scratch or Path(temporary)
        # vLLM draws the teacher's weights itself (load_format=dummy); the student's are trained, and so must be files.
        teacher = mark_weights(shape_folder(arguments.teacher, scratch, arguments.layers))
        student = write_random_weights(shape_folder(arguments.student, scratch, arguments.layers))
        models = [f"teacher.name={teacher}", f"student.name={student}", f"output={scratch / 'runs'}"]
        with gpu_samples() as samples:
            started = monotonic()
            subprocess.run([sys.executable, "jobs/full_pipeline.py", RECIPE, *models, *arguments.set], check=True)
            wall_s = monotonic() - started
        stages = load_report(next((scratch / "runs").glob("*/report.json"))).run.stages
    write_record(
        arguments.output,
        "benchmarks.real_shapes",
        {},
        {"wall": [wall_s], **{name: [stage.wall_s] for name, stage in stages.items()}},
        {},
        {**vars(arguments)},
        rows={name: stage.rows_out for name, stage in stages.items()},
        gpu_idle=idle_share(samples),
    )


if __name__ == "__main__":
    main()
