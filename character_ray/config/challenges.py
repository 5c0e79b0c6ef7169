"""How hard the persona is tried."""

from pydantic import Field

from character_ray.config.base import Config

__all__ = ["ChallengesConfig"]


class ChallengesConfig(Config):
    """Attacks, unusual surroundings, harmful requests and occasions for each directive, asked of every arm."""

    per_attack: int = Field(0, ge=0, le=60)
    """Prompts of each attack and scaffold; 0 leaves them out."""

    safety: int = Field(0, ge=0)
    """Harmful requests, each with a harmless neighbour."""

    per_directive: int = Field(0, ge=0)
    """Occasions for each directive."""

    erosion: int = Field(0, ge=0)
    """Conversations per arm in which a user pushes turn after turn, on the engine that answers the rest."""

    turns: int = Field(6, ge=2, le=20)
    """User turns of such a conversation."""

    max_tokens: int = Field(48, ge=8)
    """Longest answer to a challenge, in tokens; the rest of the sampling is the evaluation's."""
