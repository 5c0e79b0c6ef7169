"""What is asked, what is generated from it, and what is thrown away."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from character_ray.config.base import Config
from character_ray.config.engines import SamplingConfig
from character_ray.config.lessons import LessonsConfig

# Nats per token; no two answers lie that far apart. A number, since JSON has no infinity.
ANY_CONTRAST = -1e6

__all__ = ["DistillConfig", "FilterConfig", "ImportedRows", "IntrospectConfig", "PromptSource", "PromptsConfig"]


class PromptSource(Config):
    """Prompts of the user's own."""

    path: str
    """A ``.jsonl`` or ``.parquet`` file, or ``hub:owner/name`` for a dataset of the model hub."""

    column: str = "prompt"
    """Column that holds the text."""

    config: str = ""
    """Configuration of a hub dataset that has several; empty for its default."""

    split: str = "train"
    """Split of a hub dataset."""

    revision: str = ""
    """Commit of a hub dataset; a branch would change under the run."""

    limit: int | None = Field(None, ge=1)
    """At most this many, from the beginning."""

    licence: str = Field(min_length=1)
    """Licence of the texts, such as an SPDX identifier; it is kept in the recipe inside every adapter's manifest."""

    @model_validator(mode="after")
    def _check_config(self) -> "PromptSource":
        if self.config and not self.path.startswith("hub:"):
            raise ValueError(
                f"config={self.config!r} chooses among the configurations of a hub dataset, and {self.path} is a file. Leave config out, "
                "or write the path as hub:owner/name."
            )
        return self

    @model_validator(mode="after")
    def _check_revision(self) -> "PromptSource":
        if self.path.startswith("hub:") and not re.fullmatch(r"[0-9a-f]{40}", self.revision):
            raise ValueError(
                f"{self.path} needs revision: the 40 digits of a commit, not {self.revision!r}; a branch or tag may move, and the "
                "run could not be repeated. The hub shows the commit under 'Files and versions'."
            )
        return self


class PromptsConfig(Config):
    """The training prompts: cells of the 8 x 10 x 9 x 8 grid, and everyday prompts and the user's own beside them."""

    grid: int = Field(1200, ge=0)
    """Prompts composed from audience, scenario, objective and constraint."""

    everyday: int = Field(300, ge=0)
    """General prompts of the kind people ask any assistant."""

    override_share: float = Field(0.2, ge=0, le=1)
    """Share of the grid's, the everyday and the user's own prompts that carry a hint trying to override the character. Those in other
    languages and those written for a directive carry none."""

    traits: int = Field(0, ge=0)
    """Prompts per directive of the constitution, written by the teacher so that an answer lets the directive show."""

    trait_max_tokens: int = Field(64, ge=1)
    """Length limit of one of those, in tokens. A reasoning teacher's thoughts count, so it needs more, 1024 for instance."""

    sources: tuple[PromptSource, ...] = ()
    """Prompts of the user's own, after the others."""

    languages: dict[str, int] = Field(default_factory=dict)
    """Everyday prompts in other languages, by language code."""

    max_similarity: float = Field(0.9, gt=0, le=1)
    """Prompts this similar (Jaccard index of word 3-grams) to an earlier or a held-out one are left out."""


class ImportedRows(Config):
    """Training data that was generated elsewhere, as ``character-ray import`` writes it."""

    path: Path
    """The Parquet file."""

    licence: str = Field(min_length=1)
    """Licence of the texts, such as an SPDX identifier; it is kept in the recipe inside every adapter's manifest."""


class FilterConfig(Config):
    """Why a row may not be trained on. Every dropped row is counted under its reason."""

    max_repetition: float = Field(0.15, ge=0, le=1)
    """Largest share of repeated 3- and 4-grams a completion may have."""

    max_repeated_turn: float = Field(0.6, ge=0, le=1)
    """Largest share of its 3-grams that a turn of a self-interaction may have from earlier turns, as may all turns after the first
    together. Nearly equal turns lie above 0.6, turns that share phrases far below; 1 keeps every conversation."""

    min_words: int = Field(4, ge=1)
    """Shorter completions teach nothing. Of Chinese and Japanese every character counts as a word, of Thai and its like every fourth
    sign."""

    allow_unfinished: bool = False
    """Keep completions cut off by ``max_tokens``. Small demos must: at 64 tokens nearly all are."""

    max_words: int | None = Field(None, ge=1)
    """Longer completions are dropped; ``None`` keeps every length."""

    languages: tuple[str, ...] = ()
    """ISO 639-1 codes such as ``en``: completions that are surely in another language are dropped; empty keeps all."""

    min_contrast: float = 0.0
    """Smallest likelihood-ratio score of ``chosen`` minus that of ``rejected``, in nats per token."""

    skip: tuple[Literal["identity_leak", "role_meta"], ...] = ()
    """Filters that are left out: ``identity_leak`` for a persona that is an AI and says so, or that has a model's name; ``role_meta``
    for one that speaks of roles, an actor for instance."""

    def of_any_contrast(self) -> "FilterConfig":
        """The same filters for rows that need not be more in character than others."""
        return self.model_copy(update={"min_contrast": ANY_CONTRAST})


class DistillConfig(Config):
    """Preference pairs: the teacher in character against what the persona must not be."""

    contrast: Literal["student", "paired_teacher", "on_policy"] = "student"
    """Who writes ``rejected``: the student as it is, which teaches everything that sets the teacher apart from it; the teacher under
    the opposite constitution, which teaches the character alone, since both sides are equally well written; or the adapter of an
    earlier round, which teaches what is still missing."""

    opposite: Path | None = None
    """Constitution of the opposite character, for ``paired_teacher``; ``character-ray draft --opposite-of`` writes one."""

    parent: Path | None = None
    """Adapter of an earlier round, for ``on_policy``, such as ``runs/demo/dpo/adapter``. DPO goes on with its factors and takes it
    as the reference."""

    pairs: ImportedRows | None = None
    """Pairs that were generated elsewhere, such as OpenCharacterTraining's: all are trained on that pass the filters. Their prompts take
    the place of those that ``prompts`` asks for, ``chosen`` that of the teacher's answers and ``rejected`` that of the student's."""

    lessons: LessonsConfig = LessonsConfig()
    """Pairs about constraints, refusals and boundaries beside those about the voice."""

    samples: int = Field(4, ge=1)
    """Teacher samples per prompt; the best of those that pass the filters becomes ``chosen``."""

    choose: Literal["character", "relevance"] = "character"
    """Which is best: the sample with the highest likelihood ratio, the most in character, or the one that says most about what was
    asked; with the latter ``filters.min_contrast`` keeps the character."""

    teacher: SamplingConfig = SamplingConfig()
    """How the teacher draws."""

    student: SamplingConfig = SamplingConfig()
    """How the student draws."""

    think_prefill: str | None = Field(None, min_length=1)
    """What a reasoning teacher's thinking begins with, such as ``I am {name}, and my answer must show it: {directives}.``;
    ``{directives}`` stands for the constitution's personality and behavior. ``None`` leaves the beginning to the teacher."""

    min_thought_through: float = Field(0.5, ge=0, le=1)
    """Smallest share of teacher completions in which such thinking ends; below it the run stops before anything is scored, and
    after the first completions if they show it already."""

    filters: FilterConfig = FilterConfig()
    """What is dropped."""

    max_dropped_share: float = Field(0.9, ge=0, le=1)
    """Share of the pairs that may be dropped; above it the run ends before it trains on what is left, with the reasons by count."""

    @property
    def reads_relevance(self) -> bool:
        """Whether the teacher's samples are scored by what they say about what was asked."""
        return self.choose == "relevance" or self.lessons.relevance > 0

    @model_validator(mode="after")
    def _check_samples(self) -> "DistillConfig":
        asked = {
            "choose=relevance": self.choose == "relevance",
            f"lessons.repetition={self.lessons.repetition:g}": self.lessons.repetition,
            f"lessons.relevance={self.lessons.relevance:g}": self.lessons.relevance,
        }
        comparing = next((setting for setting, on in asked.items() if on), None)
        if comparing and self.samples < 2:
            raise ValueError(
                f"{comparing} compares the teacher's samples of a prompt with each other, but samples={self.samples}. Set samples to 2 or "
                "more."
            )
        return self

    @model_validator(mode="after")
    def _check_pairs(self) -> "DistillConfig":
        asked = {
            f"contrast={self.contrast}": self.contrast != "student",
            "choose=relevance": self.choose == "relevance",
            f"lessons.repetition={self.lessons.repetition:g}": self.lessons.repetition,
            f"lessons.relevance={self.lessons.relevance:g}": self.lessons.relevance,
            "think_prefill": self.think_prefill is not None,
        }
        generating = next((setting for setting, on in asked.items() if on), None)
        if self.pairs is not None and generating:
            raise ValueError(
                f"{generating} says how pairs are generated, but pairs.path={self.pairs.path} brings them. Leave one of the two out."
            )
        return self

    @model_validator(mode="after")
    def _check_opposite(self) -> "DistillConfig":
        if (self.contrast == "paired_teacher") != (self.opposite is not None):
            raise ValueError(
                f"contrast={self.contrast!r} with opposite={str(self.opposite) if self.opposite else None!r}: the opposite "
                "constitution is what paired_teacher rejects, and nothing else reads it. Set both or neither; "
                "character-ray draft --opposite-of CONSTITUTION writes one."
            )
        if (self.contrast == "on_policy") != (self.parent is not None):
            raise ValueError(
                f"contrast={self.contrast!r} with parent={str(self.parent) if self.parent else None!r}: the parent's own completions "
                "are what on_policy rejects, and nothing else reads it. Set both or neither."
            )
        return self


class IntrospectConfig(Config):
    """Self-reflection and self-interaction, written by the distilled model under its constitution."""

    conversations: ImportedRows | None = None
    """Reflections and self-interactions that were generated elsewhere: all are trained on that pass the filters, in place of
    ``reflections`` and ``interactions``."""

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

    system_prompt: Literal["dropped", "kept"] = "dropped"
    """Whether a row keeps the constitution it was written under. Dropped, the character moves into the weights; kept, it is only
    learnt better under its own system prompt. Rows of ``conversations`` keep the system prompt that they have, if any."""

    weight: float = Field(1.0, gt=0, le=1)
    """How much of the introspection adapter goes into the deliverable, beside all of the distilled one. The arm ``sft``,
    introspection alone, has all of it."""

    filters: FilterConfig = FilterConfig()
    """What is dropped. ``min_contrast`` here is the smallest score of the row's assistant text itself."""

    max_dropped_share: float = Field(0.9, ge=0, le=1)
    """Share of reflections and self-interactions together that may be dropped; above it the run ends before it trains on what is left,
    with the reasons by count."""
