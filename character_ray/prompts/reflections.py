"""What the model is asked about itself, and how its conversations with itself begin."""

from dataclasses import dataclass

from character_ray.prompts.files import read_data
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
    """One self-interaction to hold: guided when it has a topic, free when ``topic`` is ``""``."""

    sample: int
    text: str
    topic: str


def reflection_prompts(per_role: int, seed: int = 0) -> list[ReflectionPrompt]:
    """``per_role`` reflections for each of the ten roles, the wordings of a role in turn from one the seed decides."""
    roles: dict[str, list[str]] = read_data("reflections.yaml")["roles"]
    return [
        ReflectionPrompt(role, sample, wordings[(sample + _draw(len(wordings), role, seed)) % len(wordings)])
        for role, wordings in roles.items()
        for sample in range(per_role)
    ]


def interaction_openings(num: int, seed: int) -> list[Opening]:
    """Openings, free and guided in turn; a smaller number is a prefix of a larger one."""
    data = read_data("reflections.yaml")
    greetings, topics = data["openings"], data["topics"]
    return [
        Opening(
            sample,
            text=_choice(greetings["guided" if sample % 2 else "free"], "greeting", sample, seed),
            topic=_choice(topics, "topic", sample, seed) if sample % 2 else "",
        )
        for sample in range(num)
    ]


def _draw(size: int, *key: object) -> int:
    return int(content_hash(*key), 16) % size


def _choice(items: list[str], *key: object) -> str:
    return items[_draw(len(items), *key)]
