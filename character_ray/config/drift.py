"""How live answers are followed."""

from pydantic import Field

from character_ray.config.base import Config

__all__ = ["DriftConfig"]


class DriftConfig(Config):
    """Scoring a share of what served personas answer, by the judge and the threshold of their own run."""

    share: float = Field(0.01, gt=0, le=1)
    """Share of the answers to chats that is scored. Each costs four prompts of the base model, one after another."""

    waiting: int = Field(32, ge=1)
    """Answers that may wait to be scored; further ones are counted and let go."""

    seed: int = 0
    """Decides which answers are taken."""
