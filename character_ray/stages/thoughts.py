"""A reasoning teacher's thinking: begun for it where the recipe asks, and never trained on.

... user turn, assistant: "<think> I want my answer to ..."  ->  "... so I shall. </think> Arr, matey!"  ->  "Arr, matey!"
"""

from collections.abc import Sequence

from character_ray.config import DistillConfig
from character_ray.constitution import Constitution
from character_ray.errors import GenerationError
from character_ray.rows import Completion, Message
from character_ray.spoken import BEGIN_OF_THOUGHT, END_OF_THOUGHT

__all__ = ["begin_thought", "check_thoughts", "ends_its_thought"]

BEGIN = f"{BEGIN_OF_THOUGHT}\n"


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
    good = [completion for completion in completions if not completion["error"]]
    ended = sum(map(ends_its_thought, good))
    if ended < config.min_thought_through * len(good):
        raise GenerationError(
            f"{ended:,} of {len(good):,} teacher completions end the thinking that distill.think_prefill begins, less than "
            f"min_thought_through={config.min_thought_through}. Raise distill.teacher.max_tokens={config.teacher.max_tokens}; or, if the "
            f"teacher does not think in {BEGIN.strip()} {END_OF_THOUGHT}, leave think_prefill out."
        )
