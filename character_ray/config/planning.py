"""What ``character-ray plan`` assumes of machines and lengths. It changes no result of a run."""

from typing import Literal

from pydantic import Field

from character_ray.config.base import Config

__all__ = ["GPUName", "PlanConfig"]

GPUName = Literal["a100", "h100", "h200", "l40s", "rtx4090"]


class PlanConfig(Config):
    """The machines that are paid for, and how much of what may be written will be."""

    gpu: GPUName = "h100"
    """Kind of GPU, for its memory, speed and price."""

    usd_per_gpu_hour: float | None = Field(None, ge=0)
    """Price of one GPU for an hour; ``None`` takes a round figure of that kind, which your provider's will differ from."""

    usd_per_core_hour: float = Field(0.04, ge=0)
    """Price of one CPU core for an hour, for stages that run on CPUs."""

    mean_length: float = Field(0.6, gt=0, le=1)
    """Mean length of a completion as a share of its ``max_tokens``."""

    kept_pairs: float = Field(1.0, gt=0, le=1)
    """Share of the pairs that the filters leave to train on."""

    kept_conversations: float = Field(1.0, gt=0, le=1)
    """Share of the introspection rows that the filters leave to train on."""
