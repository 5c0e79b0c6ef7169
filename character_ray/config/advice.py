"""What a recipe may ask for but probably should not, told before anything starts."""

from collections.abc import Iterator

from character_ray.config.evaluation import LARGEST_RANK
from character_ray.config.recipe import Recipe, ranks_of, samplings_of

__all__ = ["recipe_warnings"]

# What a conversation begins with: the constitutions that ship have 300 to 370 tokens without their examples, and an opening follows.
BEGINNING_TOKENS = 400


def recipe_warnings(recipe: Recipe) -> list[str]:
    """What a recipe may ask for but probably should not, or with a consequence that it does not name."""
    return [*_ranks(recipe), *_long_conversations(recipe), *_penalties(recipe)]


def _ranks(recipe: Recipe) -> Iterator[str]:
    if recipe.deliverable_rank > LARGEST_RANK:
        yield (
            f"{ranks_of(recipe)}, more than an engine holds: the persona is measured folded into the base, and its adapter recompressed "
            f"to rank {LARGEST_RANK} by SVD to be served. What that loses stands in the report."
        )


def _long_conversations(recipe: Recipe) -> Iterator[str]:
    config, room = recipe.introspect, recipe.student_engine.max_model_len
    each = config.interaction_sampling.max_tokens
    written = (config.turns - 1) * each  # the first message is the opening
    if config.interactions and config.conversations is None and written + BEGINNING_TOKENS > room:
        yield (
            f"introspect.turns={config.turns} with introspect.interaction_sampling.max_tokens={each}: a self-interaction may grow to "
            f"{written:,} tokens and the constitution, about {BEGINNING_TOKENS}, but student_engine.max_model_len={room} must hold it all. "
            "Conversations that grow longer are dropped (too_long_for_engine). Raise student_engine.max_model_len to "
            f"{written + BEGINNING_TOKENS} or more, or lower turns or max_tokens."
        )


def _penalties(recipe: Recipe) -> Iterator[str]:
    for key, sampling in samplings_of(recipe).items():
        if sampling.repetition_penalty > 1.0:
            yield (
                f"{key}.repetition_penalty={sampling.repetition_penalty}: the penalty also counts prompt tokens, so it suppresses the "
                "constitution's own vocabulary. Leave it at 1.0; loops are dropped by filters."
            )
