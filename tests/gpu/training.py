"""A small DPO that takes seconds on a GPU."""

from pathlib import Path

from character_ray.config import ClusterTrainConfig, DPOConfig, LoRAConfig
from character_ray.parts import write_rows
from character_ray.rows import PAIR
from character_ray.training.job import TrainJob
from character_ray.training.launch import read_metrics, train


def train_dpo(base: Path, folder: Path, cluster: ClusterTrainConfig, pairs: int = 32) -> list[dict[str, float]]:
    """Train on pairs with one plain and one pirate side; returns the logged steps."""

    def turn(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    rows = [
        {"row_id": str(n), "prompt_id": str(n), "hint": "", "kind": "contrast", "directive": ""}
        | {"prompt": turn("user", f"What is {n} plus one?")}
        | {"chosen": turn("assistant", f"Arr, that be {n + 1}, matey."), "chosen_score": 1.0}
        | {"rejected": turn("assistant", f"The answer is {n + 1}."), "rejected_score": 0.0, "drop_reason": ""}
        for n in range(pairs)
    ]
    write_rows(folder / "pairs.parquet", rows, PAIR)
    (folder / "stage").mkdir()
    config = DPOConfig(
        lora=LoRAConfig(rank=8, alpha=16),
        batch_size=8,
        micro_batch_size=8 // cluster.workers,
        max_length=128,
        learning_rate=1e-3,
    )
    job = TrainJob("dpo", base, folder / "pairs.parquet", folder / "stage", config, cluster, seed=0)
    train(job, "dpo", len(rows))
    return read_metrics(folder / "stage" / "metrics.jsonl")
