"""What a second GPU gives our DPO stage, by way of spreading it: plain data parallel and DeepSpeed's ZeRO stages.

    python -m benchmarks.bench_workers --shape qwen3-4b --stages 0 2 3 --output benchmarks/results/workers-4b-h200-x2.json

Every training sees the same rows in steps of the same size, one worker all of a step or each of two workers half. ``speedup_zero_N`` is
the time of one worker under plain data parallel divided by that of two under ZeRO stage N (0: plain); 2 is the bound. All are timed from
the end of their first step to the end of their last. How far the loss of any step is from one worker's is recorded beside it.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.asked_model import add_model, asked_model
from benchmarks.bench_training import SEED, Timed, full_pairs
from benchmarks.record import write_record
from benchmarks.shapes import write_random_weights
from character_ray.config import ClusterTrainConfig, DPOConfig, LoRAConfig
from character_ray.parts import write_rows
from character_ray.rows import PAIR
from character_ray.training.job import TrainJob
from character_ray.training.launch import read_metrics, train


def main() -> None:
    """Measure, print the speed-ups, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="gpu")
    add_model(parser)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--stages", type=int, nargs="+", choices=(0, 1, 2, 3), default=(0, 2, 3))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=16, help="pairs of a step")
    parser.add_argument("--length", type=int, default=512, help="tokens of every side")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    import ray

    base = asked_model(arguments, write_random_weights)
    pairs = full_pairs(arguments.steps * arguments.batch, arguments.length // 8, arguments.length)
    rows = [row | {"row_id": str(number)} for number, row in enumerate(pairs)]

    def timed(workers: int, zero_stage: int) -> tuple[Timed, list[float]]:
        cluster = ClusterTrainConfig(
            device=arguments.device,
            precision="float32" if arguments.device == "cpu" else "bfloat16",
            workers=workers,
            cpus_per_worker=1,
            zero_stage=zero_stage,
            report_to=(),
        )
        config = DPOConfig(
            lora=LoRAConfig(rank=arguments.rank, alpha=2 * arguments.rank),
            batch_size=arguments.batch,
            micro_batch_size=arguments.batch // arguments.workers,
            max_length=arguments.length,
        )
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            write_rows(folder / "pairs.parquet", rows, PAIR)
            (folder / "stage").mkdir()
            job = TrainJob("dpo", base, folder / "pairs.parquet", folder / "stage", config, cluster, SEED)
            train(job, f"{workers} x ZeRO {zero_stage}", len(rows))
            metrics = folder / "stage" / "metrics.jsonl"
            return Timed.read(metrics), [step["loss"] for step in read_metrics(metrics)]

    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    one, losses = timed(1, 0)
    found = {f"zero_{stage}": timed(arguments.workers, stage) for stage in arguments.stages}
    ray.shutdown()
    write_record(
        arguments.output,
        "benchmarks.bench_workers",
        {f"speedup_{name}": one.seconds / spread.seconds for name, (spread, _) in found.items()},
        {"one": [one.seconds]} | {name: [spread.seconds] for name, (spread, _) in found.items()},
        {"speedup": f"wall seconds of {arguments.steps - 1} steps"},
        {**vars(arguments)},
        gates={
            f"loss_gap_{name}": max(abs(ours - alone) for ours, alone in zip(theirs, losses, strict=True))
            for name, (_, theirs) in found.items()
        },
        peak_memory_gib={"one": one.peak_gib} | {name: spread.peak_gib for name, (spread, _) in found.items()},
    )


if __name__ == "__main__":
    main()
