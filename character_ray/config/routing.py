"""Choosing the persona from the conversation."""

from pydantic import Field

from character_ray.config.base import Config

__all__ = ["AutoConfig"]


class AutoConfig(Config):
    """What ``model: auto`` does; ``character-ray route evaluate`` measures and calibrates it."""

    threshold: float = Field(0.5, gt=0, le=1)
    """Least probability of a persona that is chosen; below it the base model answers."""

    temperature: float = Field(0.028, gt=0)
    """Cosines of sentence vectors are divided by it; smaller is surer."""

    floor: float = Field(0.312, ge=-1, le=1)
    """Cosine from which a persona is likelier than none."""

    turns: int = Field(3, ge=1)
    """User turns, from the first, that may decide; what comes later changes nothing."""
