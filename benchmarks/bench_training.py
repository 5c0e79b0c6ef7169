"""R4 of training: our DPO stage beside TRL as shipped and TRL tuned, on the same pairs, loss and LoRA.

    python -m benchmarks.bench_training --pairs runs/demo/pairs/pairs.parquet --device cpu --output benchmarks/results/training-cpu.json

R4 is our wall time divided by TRL's, reference pass included; below 1 ours is faster. TRL as shipped has gradient checkpointing on;
TRL tuned has it off. The start of workers is in neither: every arm is the difference of a long and a short run. Two further figures
are gates: the first step's loss of every arm must be the same, since nothing is learnt yet.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.record import write_record
from character_ray.config import ClusterTrainConfig, DPOConfig, LoRAConfig, ModelConfig
from character_ray.models import resolve_model
from character_ray.parts import read_rows, write_rows
from character_ray.rows import PAIR
from character_ray.training.job import TrainJob
from character_ray.training.launch import read_metrics, train

Row = dict[str, Any]
SEED = 0


def ours(rows: Sequence[Row], base: Path, config: DPOConfig, cluster: ClusterTrainConfig) -> tuple[float, float]:
    """Wall seconds of our stage on Ray Train, worker start included, and the loss of its first step."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_rows(folder / "pairs.parquet", rows, PAIR)
        (folder / "stage").mkdir()
        job = TrainJob("dpo", base, folder / "pairs.parquet", folder / "stage", config, cluster, SEED)
        started = monotonic()
        train(job, "ours", len(rows))
        return monotonic() - started, read_metrics(folder / "stage" / "metrics.jsonl")[0]["loss"]


def trl(
    rows: Sequence[Row], base: Path, config: DPOConfig, cluster: ClusterTrainConfig, *, checkpointing: bool
) -> tuple[float, float]:
    """Wall seconds of TRL's own trainer, model load included, and the loss of its first step."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig as TRLDPOConfig
    from trl import DPOTrainer

    if cluster.device == "cpu":
        torch.set_num_threads(cluster.cpus_per_worker)
    started = monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        trainer = DPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, cluster.precision)),
            args=TRLDPOConfig(
                output_dir=scratch,
                per_device_train_batch_size=config.micro_batch_size,
                gradient_accumulation_steps=config.batch_size // config.micro_batch_size,
                num_train_epochs=1,
                learning_rate=config.learning_rate,
                beta=config.beta,
                max_length=config.max_length,
                gradient_checkpointing=checkpointing,
                bf16=cluster.precision == "bfloat16",
                use_cpu=cluster.device == "cpu",
                logging_steps=1,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                seed=SEED,
            ),
            train_dataset=Dataset.from_list(
                [{side: row[side] for side in ("prompt", "chosen", "rejected")} for row in rows]
            ),
            processing_class=AutoTokenizer.from_pretrained(base),
            peft_config=LoraConfig(
                r=config.lora.rank,
                lora_alpha=config.lora.alpha,
                target_modules=list(config.lora.target_modules),
                task_type="CAUSAL_LM",
            ),
        )
        trainer.train()
        return monotonic() - started, float(trainer.state.log_history[0]["loss"])


def seconds_beyond_start(
    run: Callable[[Sequence[Row]], tuple[float, float]], short: Sequence[Row], long: Sequence[Row]
) -> tuple[float, float]:
    """Wall seconds that the additional rows took, and the first loss of the long run."""
    short_s, _ = run(short)
    long_s, loss = run(long)
    return long_s - short_s, loss


def main() -> None:
    """Measure, print the ratios, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--model", default=ModelConfig().name)
    parser.add_argument("--rows", type=int, default=48, help="pairs of the long run, repeated if there are fewer")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    import ray

    kept = [row for row in read_rows(arguments.pairs) if not row["drop_reason"]]
    long = [kept[number % len(kept)] | {"row_id": str(number)} for number in range(arguments.rows)]
    short = long[: max(arguments.batch, arguments.rows // 6)]
    base = resolve_model(ModelConfig(name=arguments.model))
    config = DPOConfig(
        lora=LoRAConfig(rank=8, alpha=16), batch_size=arguments.batch, micro_batch_size=arguments.batch, max_length=1024
    )
    cluster = ClusterTrainConfig(
        device=arguments.device,
        precision="float32" if arguments.device == "cpu" else "bfloat16",
        zero_stage=0,
        report_to=(),
    )
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    contestants: dict[str, Callable[[Sequence[Row]], tuple[float, float]]] = {
        "trl_default": lambda rows: trl(rows, base, config, cluster, checkpointing=True),
        "trl_tuned": lambda rows: trl(rows, base, config, cluster, checkpointing=False),
        "ours": lambda rows: ours(rows, base, config, cluster),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    losses: dict[str, float] = {}
    for _ in range(arguments.repeats):
        for name, run in contestants.items():
            taken, losses[name] = seconds_beyond_start(run, short, long)
            seconds[name].append(taken)
        print(json.dumps({name: round(values[-1], 2) for name, values in seconds.items()}), flush=True)
    ray.shutdown()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = {
        "R4_default": medians["ours"] / medians["trl_default"],
        "R4_tuned": medians["ours"] / medians["trl_tuned"],
    }
    write_record(
        arguments.output,
        "benchmarks.bench_training",
        ratios,
        seconds,
        {"R4": f"wall seconds of {len(long) - len(short)} pairs"},
        {**vars(arguments), "dpo": config.model_dump(), "train": cluster.model_dump()},
        gates={"first_loss": losses, "spread": max(losses.values()) - min(losses.values())},
    )


if __name__ == "__main__":
    main()
