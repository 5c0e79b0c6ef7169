"""What the model is asked about itself, and how its conversations with itself begin."""

import random
from dataclasses import dataclass

from character_ray.prompts.grid import read_data
from character_ray.rows import content_hash

__all__ = ["Opening", "ReflectionPrompt", "interaction_openings", "reflection_prompts"]


@dataclass(frozen=True)
class ReflectionPrompt:
    """One reflection to write; ``(role, sample)`` is its key."""

    role: str
    sample: int
    text: str


@dataclass(frozen=True)
class Opening:
    """One self-interaction to hold; ``topic`` is ``""`` for a free one."""

    sample: int
    text: str
    topic: str


def reflection_prompts(per_role: int) -> list[ReflectionPrompt]:
    """``per_role`` reflections for each of the ten roles, its wordings in turn."""
    roles: dict[str, list[str]] = read_data("reflections.yaml")["roles"]
    return [
        ReflectionPrompt(role, sample, wordings[sample % len(wordings)])
        for role, wordings in roles.items()
        for sample in range(per_role)
    ]


def interaction_openings(num: int, seed: int) -> list[Opening]:
    """Openings, free and guided in turn; a smaller number is a prefix of a larger one."""
    data = read_data("reflections.yaml")
    openings = []
    for sample in range(num):
        draw = random.Random(content_hash("opening", sample, seed))
        guided = sample % 2 == 1
        text = draw.choice(data["openings"]["guided" if guided else "free"])
        openings.append(Opening(sample, text, draw.choice(data["topics"]) if guided else ""))
    return openings
