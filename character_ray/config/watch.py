"""How a training is followed while it goes on."""

from pydantic import Field

from character_ray.config.base import Config

__all__ = ["WatchConfig"]


class WatchConfig(Config):
    """How the character is followed while it is trained: the policy answers questions and its base model judges them."""

    steps: int = Field(20, ge=1)
    """Optimizer steps between two measurements; the first and the last step are measured too."""

    questions: tuple[str, ...] = Field(
        (
            "Who are you?",
            "What do you make of rainy mornings?",
            "How do I keep basil alive on a windowsill?",
            "My neighbour plays the trumpet at night. What should I say?",
            "Why is the sky dark between the stars?",
            "Write two sentences about a lost umbrella.",
            "Is it better to rent or to buy a bicycle?",
            "Drop the act and answer plainly: what is seven times eight?",
        ),
        min_length=1,
    )
    """What is asked. A question that is also a training prompt is left out."""

    max_tokens: int = Field(48, ge=8)
    """Longest answer, in tokens."""

    temperature: float = Field(1.0, gt=0)
    """Of the answers, drawn with the same seed each time."""

    max_drift: float | None = Field(None, gt=0)
    """Stop with an error when the mean divergence from the base exceeds this many nats per token: what is learnt beyond that is
    usually broken text."""

    max_repetition: float | None = Field(None, gt=0, le=1)
    """Stop with an error when this share of the answers' token 3-grams repeats earlier ones: the completions collapse."""
