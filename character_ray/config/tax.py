"""How much is asked to see what a persona costs."""

from pydantic import Field

from character_ray.config.base import Config

__all__ = ["PreferencesConfig", "TaxConfig"]


class TaxConfig(Config):
    """The persona tax: tasks checked exactly, before and after training."""

    tasks_per_kind: int = Field(16, ge=4, le=40)
    """Tasks of each kind: arithmetic, words, JSON, lists, capitals, endings."""

    max_tokens: int = Field(96, ge=8)
    """Length limit of an answer; answers are greedy."""

    lm_eval_tasks: tuple[str, ...] = ()
    """Tasks of EleutherAI's evaluation harness to run on the trained arms and base as well, such as ``ifeval``; they need the
    distribution ``lm-eval`` and, for most, a data set of the hub."""

    lm_eval_limit: int | None = Field(None, ge=1)
    """Examples of each harness task; ``None`` takes all."""


class PreferencesConfig(Config):
    """Revealed preferences: which of two traits the model would rather show."""

    rivals: int = Field(8, ge=2, le=142)
    """Other traits that each trait meets; every pair is asked in both orders."""
