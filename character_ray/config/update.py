"""Updating a trained character to a new version of its constitution."""

from pydantic import Field

from character_ray.config.base import Config

__all__ = ["UpdateConfig"]


class UpdateConfig(Config):
    """What an update makes anew and trains."""

    rank: int = Field(8, ge=1)
    """Rank of the delta; its alpha is twice that."""

    nearest: int = Field(32, ge=1)
    """Training prompts made anew for every changed line, the nearest in meaning."""

    retain: float = Field(1.0, ge=0)
    """Untouched pairs that are repeated, for each new one."""

    epochs: float = Field(2.0, gt=0)
    """Passes over the data."""

    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate; that of the run's ``sft`` without it."""
