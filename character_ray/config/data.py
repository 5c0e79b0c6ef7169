"""What is asked, what is generated from it, and what is thrown away."""

from pydantic import Field

from character_ray.config.base import Config
from character_ray.config.engines import SamplingConfig

__all__ = ["DistillConfig", "FilterConfig", "IntrospectConfig", "PromptsConfig"]


class PromptsConfig(Config):
    """The training prompts: cells of the 8 x 10 x 9 x 8 grid, and everyday prompts beside them."""

    grid: int = Field(1200, ge=0)
    """Prompts composed from audience, scenario, objective and constraint."""

    everyday: int = Field(300, ge=0)
    """General prompts of the kind people ask any assistant."""

    override_share: float = Field(0.2, ge=0, le=1)
    """Share of all prompts that carry a hint trying to override the character."""


class FilterConfig(Config):
    """Why a row may not be trained on. Every dropped row is counted under its reason."""

    max_repetition: float = Field(0.15, ge=0, le=1)
    """Largest share of repeated 3- and 4-grams a completion may have."""

    min_words: int = Field(4, ge=1)
    """Shorter completions teach nothing."""

    allow_unfinished: bool = False
    """Keep completions cut off by ``max_tokens``. Small demos must: at 64 tokens nearly all are."""

    min_contrast: float = 0.0
    """Smallest likelihood-ratio score of ``chosen`` minus that of ``rejected``, in nats per token."""


class DistillConfig(Config):
    """Preference pairs: the teacher in character against the student as it is."""

    samples: int = Field(4, ge=1)
    """Teacher samples per prompt; the one with the highest likelihood ratio becomes ``chosen``."""

    teacher: SamplingConfig = SamplingConfig()
    """How the teacher draws."""

    student: SamplingConfig = SamplingConfig()
    """How the student draws."""

    filters: FilterConfig = FilterConfig()
    """What is dropped."""


class IntrospectConfig(Config):
    """Self-reflection and self-interaction, written by the distilled model under its constitution."""

    reflections: int = Field(500, ge=0)
    """Samples per role; there are ten roles."""

    interactions: int = Field(400, ge=0)
    """Self-interactions: conversations of the model with itself."""

    turns: int = Field(10, ge=2, multiple_of=2)
    """Messages in one self-interaction, greeting included; even, so that a conversation ends on an assistant turn."""

    reflection_sampling: SamplingConfig = SamplingConfig(max_tokens=512)
    """How reflections are drawn."""

    interaction_sampling: SamplingConfig = SamplingConfig(max_tokens=256)
    """How each turn of a self-interaction is drawn."""

    plain: int = Field(0, ge=0)
    """Rows of the distillation set (prompt and ``chosen``) mixed in, which keep the text from looping."""

    filters: FilterConfig = FilterConfig()
    """What is dropped. ``min_contrast`` here is the smallest score of the row's assistant text itself."""
