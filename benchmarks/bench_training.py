"""R4 of training: our DPO stage beside TRL as shipped and TRL tuned, on the same pairs, loss and LoRA.

    python -m benchmarks.bench_training --pairs runs/demo/pairs/pairs.parquet --device cpu --output benchmarks/results/training-cpu.json
    python -m benchmarks.bench_training --full 128 --shape qwen3-4b --device gpu --liger --output benchmarks/results/training-4b-liger.json

R4 is our wall time divided by TRL's, reference pass included; below 1 ours is faster. TRL as shipped has gradient checkpointing on; TRL
tuned has it off; TRL with Liger, which runs if ours has Liger too, has its kernels besides. Every arm is timed by the same callback
from the end of its first step to the end of its last, so that the start of workers, the load of the model and the warm-up are in none;
a training before all others is not counted. What the first step takes, a compiler included, is recorded beside it (``first_step_s``).
Gate: the first step's loss of every arm must be the same, since nothing is learnt yet, and the last step's is recorded beside it.
Model FLOP/s count 6 N per token: the policy's forward pass, its backward pass to the activations, and the reference's forward pass;
what a layout saves counts as speed.
"""

import argparse
import json
import random
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.asked_model import add_model, asked_model
from benchmarks.record import write_record
from benchmarks.shapes import write_random_weights
from character_ray.config import ClusterTrainConfig, DPOConfig, LoRAConfig
from character_ray.parts import read_rows, write_rows
from character_ray.rows import PAIR
from character_ray.training.job import TrainJob
from character_ray.training.launch import read_metrics, train

Row = dict[str, Any]
SEED = 0


@dataclass(frozen=True)
class Timed:
    """One training, from the end of its first step to the end of its last."""

    seconds: float
    first_step_s: float
    first_loss: float
    last_loss: float
    peak_gib: float

    @classmethod
    def read(cls, path: Path) -> "Timed":
        """From the lines that :class:`~character_ray.training.guards.MetricsFile` wrote."""
        steps = read_metrics(path)
        return cls(
            steps[-1]["elapsed_s"] - steps[0]["elapsed_s"],
            steps[0]["elapsed_s"],
            steps[0]["loss"],
            steps[-1]["loss"],
            steps[-1].get("peak_memory_gib", 0.0),
        )


def ours(rows: Sequence[Row], base: Path, config: DPOConfig, cluster: ClusterTrainConfig) -> Timed:
    """Our stage on Ray Train."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_rows(folder / "pairs.parquet", rows, PAIR)
        (folder / "stage").mkdir()
        job = TrainJob("dpo", base, folder / "pairs.parquet", folder / "stage", config, cluster, SEED)
        train(job, "ours", len(rows))
        return Timed.read(folder / "stage" / "metrics.jsonl")


def trl(
    rows: Sequence[Row],
    base: Path,
    config: DPOConfig,
    cluster: ClusterTrainConfig,
    *,
    checkpointing: bool = False,
    liger: bool = False,
) -> Timed:
    """TRL's own trainer."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig as TRLDPOConfig
    from trl import DPOTrainer

    from character_ray.training.guards import MetricsFile
    from character_ray.training.throughput import Throughput

    if cluster.device == "cpu":
        torch.set_num_threads(cluster.cpus_per_worker)
    with tempfile.TemporaryDirectory() as scratch:
        metrics = Path(scratch) / "metrics.jsonl"
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
                use_liger_kernel=liger,
                bf16=cluster.precision == "bfloat16",
                use_cpu=cluster.device == "cpu",
                logging_steps=1,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                seed=SEED,
                data_seed=SEED,
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
            callbacks=[MetricsFile(metrics, Throughput(None, "", 1))],
        )
        trainer.train()
        return Timed.read(metrics)


def full_pairs(rows: int, prompt_words: int, max_length: int) -> list[Row]:
    """Pairs whose every side is cut at ``max_length`` tokens: random words, a prompt of about ``prompt_words`` of them."""
    generator = random.Random(SEED)
    words = Path(__file__).with_name("bench_training.py").read_text(encoding="utf-8").split()

    def turn(role: str, count: int) -> list[dict[str, str]]:
        return [{"role": role, "content": " ".join(generator.choices(words, k=count))}]

    return [
        {"prompt_id": str(number), "hint": "", "kind": "contrast", "directive": ""}
        | {"prompt": turn("user", prompt_words)}
        | {side: turn("assistant", max_length) for side in ("chosen", "rejected")}
        | {"chosen_score": 1.0, "rejected_score": 0.0, "drop_reason": ""}
        for number in range(rows)
    ]


def count_tokens(rows: Sequence[Row], base: Path, max_length: int) -> int:
    """Tokens of both sides of all rows, prompts counted twice, as TRL lays them out."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    sides = [[*row["prompt"], *row[side]] for row in rows for side in ("chosen", "rejected")]
    ids = tokenizer.apply_chat_template(sides, return_dict=True)["input_ids"]
    return sum(min(max_length, len(side)) for side in ids)


def num_parameters(base: Path) -> int:
    """Parameters of the base model, embeddings included once."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    with init_empty_weights():
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
    model.tie_weights()  # else a shared embedding counts twice
    return int(model.num_parameters())


def arguments_of_the_command() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    rows = parser.add_mutually_exclusive_group(required=True)
    rows.add_argument("--pairs", type=Path, help="pairs.parquet of a run: ragged rows")
    rows.add_argument("--full", type=int, metavar="WORDS", help="rows of 1,024 tokens, a prompt of this many words")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    add_model(parser)
    parser.add_argument("--rows", type=int, default=48, help="pairs, repeated if the file has fewer")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--liger", action="store_true", help="train.liger in our arms, and an arm of TRL with it")
    parser.add_argument("--compiled", action="store_true", help="an arm of ours with train.compile_layers")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    """Measure, print the ratios, write the record."""
    arguments = arguments_of_the_command()
    import ray

    config = DPOConfig(
        lora=LoRAConfig(rank=arguments.rank, alpha=2 * arguments.rank),
        batch_size=arguments.batch,
        micro_batch_size=arguments.batch,
        max_length=1024,
    )
    base = asked_model(arguments, write_random_weights)
    found = (
        full_pairs(arguments.rows, arguments.full, config.max_length)
        if arguments.full
        else [row for row in read_rows(arguments.pairs) if not row["drop_reason"]]
    )
    rows = [found[number % len(found)] | {"row_id": str(number)} for number in range(arguments.rows)]
    cluster = ClusterTrainConfig(
        device=arguments.device,
        precision="float32" if arguments.device == "cpu" else "bfloat16",
        zero_stage=0,
        liger=arguments.liger,
        report_to=(),
    )
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    # Every arm has a process of its own, as ours has from Ray Train: what one compiles or plans is not the next one's gain.
    alone = ray.remote(num_cpus=cluster.cpus_per_worker, num_gpus=cluster.gpus, max_calls=1)(trl)

    def theirs(rows: Sequence[Row], **how: bool) -> Timed:
        return ray.get(alone.remote(rows, base, config, cluster, **how))

    contestants: dict[str, Callable[[Sequence[Row]], Timed]] = {
        "trl_default": partial(theirs, checkpointing=True),
        "trl_tuned": theirs,
        "ours": partial(ours, base=base, config=config, cluster=cluster),
    }
    if arguments.compiled:
        compiled = cluster.model_copy(update={"compile_layers": True})
        contestants["ours_compiled"] = partial(ours, base=base, config=config, cluster=compiled)
    if arguments.liger:
        contestants["trl_liger"] = partial(theirs, liger=True)
    theirs(rows[: 2 * arguments.batch])  # what a machine's first training reads from disk is no arm's cost
    timed: dict[str, list[Timed]] = {name: [] for name in contestants}
    names = list(contestants)
    for repeat in range(arguments.repeats):
        first = repeat % len(names)
        for name in names[first:] + names[:first]:
            timed[name].append(contestants[name](rows))
        print(json.dumps({name: round(found[-1].seconds, 2) for name, found in timed.items()}), flush=True)
    ray.shutdown()
    seconds = {name: [one.seconds for one in found] for name, found in timed.items()}
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    losses = {name: found[-1].first_loss for name, found in timed.items()}
    timed_rows = len(rows) - arguments.batch
    flops = 6 * num_parameters(base) * count_tokens(rows, base, config.max_length) * timed_rows / len(rows)
    write_record(
        arguments.output,
        "benchmarks.bench_training",
        {f"R4_{name.removeprefix('trl_')}": medians["ours"] / medians[name] for name in medians if name != "ours"},
        seconds,
        {"R4": f"wall seconds of {timed_rows} pairs"},
        {**vars(arguments), "dpo": config.model_dump(), "train": cluster.model_dump()},
        gates={
            "first_loss": losses,
            "spread": max(losses.values()) - min(losses.values()),
            "last_loss": {name: found[-1].last_loss for name, found in timed.items()},
        },
        first_step_s={name: [one.first_step_s for one in found] for name, found in timed.items()},
        model_tflops={name: flops / seconds / 1e12 for name, seconds in medians.items()},
        peak_memory_gib={name: max(one.peak_gib for one in found) for name, found in timed.items()},
    )


if __name__ == "__main__":
    main()
