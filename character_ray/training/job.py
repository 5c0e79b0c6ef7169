"""What one training job needs to know; it crosses into the workers as it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from character_ray.config import ClusterTrainConfig, DPOConfig, SFTConfig
from character_ray.rows import Message

__all__ = ["READING", "TrainJob"]

READING = 2
"""How a reference model reads a micro-batch: raise it when kernels or the layout of rows change, since what it said is kept across
trainings and must be what the policy says before it learns."""


@dataclass(frozen=True)
class TrainJob:
    """Train one adapter and leave it, with its metrics and checkpoints, in one folder on shared storage."""

    stage: Literal["dpo", "sft"]
    base: Path
    """Folder of the base model."""
    data: Path
    """Parquet file: pairs for ``dpo``, conversations for ``sft``; rows with a ``drop_reason`` are skipped."""
    folder: Path
    """Receives ``adapter/``, ``metrics.jsonl``, ``first_example.txt``, ``lengths.json`` and, while running, ``checkpoints/``."""
    config: DPOConfig | SFTConfig
    cluster: ClusterTrainConfig
    seed: int
    parent: Path | None = None
    """PEFT folder of a trained adapter: ``sft`` leaves it frozen and active underneath, ``dpo`` goes on with its factors and takes
    it as the reference."""
    turns: tuple[Message, ...] = ()
    """The constitution's system prompt and example turns: the context of an on-policy teacher and of the watch's judge. Never
    part of what is trained on."""
    teacher: Path | None = None
    """Folder of the on-policy teacher; ``None`` is the base."""
    references: Path | None = None
    """Folder where ``dpo`` finds and leaves what this base, or this parent, says of pairs; ``None`` asks it anew."""
    at_work: int | None = None
    """Workers that train where nodes are missing; ``None`` is the recipe's number."""

    @property
    def workers(self) -> int:
        """Data-parallel workers that train."""
        return self.at_work or self.cluster.workers

    @property
    def even_rows(self) -> int | None:
        """An epoch is completed to a multiple of these with its first rows; ``None`` where the workers that train decide it."""
        if self.cluster.min_workers is None or self.cluster.workers == 1:
            return None
        return self.config.micro_batch_size * self.cluster.evened_over(self.config.micro_batches)

    @property
    def on_policy(self) -> bool:
        """Whether the student learns from its own samples."""
        return isinstance(self.config, DPOConfig) and self.config.algorithm == "on_policy"

    @property
    def adapter(self) -> Path:
        """Where the trained adapter lies in the end."""
        return self.folder / "adapter"

    @property
    def first_example(self) -> Path:
        """The first example as the model reads it, written before the first step."""
        return self.folder / "first_example.txt"

    @property
    def checkpoints(self) -> Path:
        """Trainer checkpoints; removed when the job is done."""
        return self.folder / "checkpoints"

    @property
    def written_to(self) -> Path:
        """Where the trainer writes checkpoints: the machine's scratch folder, if there is one, else where they are looked for."""
        scratch = self.cluster.checkpoint_scratch
        return self.checkpoints if scratch is None else scratch / self.folder.name / "checkpoints"
