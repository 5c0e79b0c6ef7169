"""A reasoning teacher's thinking: begun for it where the recipe asks, and never trained on.

... user turn, assistant: "<think> I want my answer to ..."  ->  "... so I shall. </think> Arr, matey!"  ->  "Arr, matey!"
"""

import math
from collections.abc import Sequence

from character_ray.config import DistillConfig
from character_ray.constitution import Constitution
from character_ray.errors import GenerationError
from character_ray.rows import Completion, Message
from character_ray.spoken import BEGIN_OF_THOUGHT, END_OF_THOUGHT

__all__ = ["begin_thought", "check_first_thoughts", "check_thoughts", "ends_its_thought"]

BEGIN = f"{BEGIN_OF_THOUGHT}\n"
# The first completions are looked at from so many on, and no further than so many: then all are, at the end.
FIRST, LAST_OF_FIRST = 8, 200
# How seldom a teacher that thinks through often enough may be stopped by them.
BY_CHANCE = 0.01


def begin_thought(messages: Sequence[Message], prefill: str | None, constitution: Constitution) -> list[Message]:
    """The chat with an open assistant turn in which thinking has begun; unchanged where ``prefill`` is ``None``."""
    if prefill is None:
        return list(messages)
    directives = [*constitution.directives.personality, *constitution.directives.behavior]
    thought = prefill.replace("{directives}", "; ".join(directives)).replace("{name}", constitution.meta.name)
    return [*messages, Message(role="assistant", content=f"{BEGIN}{thought}")]


def ends_its_thought(completion: Completion) -> bool:
    """Whether thinking that was begun for the teacher comes to an end."""
    return END_OF_THOUGHT in completion["completion"]


def check_thoughts(completions: Sequence[Completion], config: DistillConfig) -> None:
    """Check that a teacher whose thinking was begun for it finishes it.

    Args:
        completions: As the engine wrote them, thoughts and all.
        config: Of the recipe.

    Raises:
        GenerationError: A smaller share of the completions than ``min_thought_through`` does.
    """
    if config.think_prefill is None:
        return
    good, ended = _thought_through(completions)
    if ended < config.min_thought_through * good:
        raise GenerationError(_too_few(good, ended, config))


def check_first_thoughts(completions: Sequence[Completion], config: DistillConfig) -> None:
    """Check as early as it can be told, while the rest is not asked yet, that a teacher finishes its thinking.

    Args:
        completions: Those that have arrived. Eight of which none ends its thinking are enough to tell that half of all will not.
        config: Of the recipe.

    Raises:
        GenerationError: With a share of ``min_thought_through`` so few would end theirs in less than one of a hundred cases.
    """
    good, ended = _thought_through(completions[:LAST_OF_FIRST])
    if config.think_prefill is None or good < FIRST:
        return
    if _at_most(ended, good, config.min_thought_through) < BY_CHANCE:
        told = _too_few(good, ended, config)
        raise GenerationError(f"Of the first completions, {told} The rest is not asked; what was answered is kept.")


def _thought_through(completions: Sequence[Completion]) -> tuple[int, int]:
    """Completions that did not fail, and those of them that end their thinking."""
    good = [completion for completion in completions if not completion["error"]]
    return len(good), sum(map(ends_its_thought, good))


def _at_most(hits: int, draws: int, share: float) -> float:
    """Chance of so many hits or fewer."""
    return sum(math.comb(draws, k) * share**k * (1 - share) ** (draws - k) for k in range(hits + 1))


def _too_few(good: int, ended: int, config: DistillConfig) -> str:
    return (
        f"{ended:,} of {good:,} teacher completions end the thinking that distill.think_prefill begins, less than "
        f"min_thought_through={config.min_thought_through}. Raise distill.teacher.max_tokens={config.teacher.max_tokens}; or, if the "
        f"teacher does not think in {BEGIN.strip()} {END_OF_THOUGHT}, leave think_prefill out."
    )
