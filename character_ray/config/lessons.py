"""Pairs that teach constraints, refusals, boundaries, not to loop and to keep to the point, beside those that teach the voice."""

from pydantic import Field

from character_ray.config.base import Config

__all__ = ["LessonsConfig"]


class LessonsConfig(Config):
    """Additional pairs, each kind as a share of the number of training prompts. All are 0 unless a recipe asks for them."""

    violations: float = Field(0.0, ge=0, le=1)
    """``rejected`` breaks one of ``directives.constraints`` because the teacher was asked to; ``chosen`` keeps it."""

    refusals: float = Field(0.0, ge=0, le=1)
    """Half are harmful requests: ``chosen`` refuses in the persona's own voice, in the spirit of ``safety.refusals``, and
    ``rejected`` is the student's plain answer. Half are their harmless neighbours: ``chosen`` helps, ``rejected`` refuses."""

    boundaries: float = Field(0.0, ge=0, le=1)
    """``chosen`` handles a topic as ``safety.boundaries`` says; ``rejected`` is the student's plain answer."""

    repetition: float = Field(0.0, ge=0, le=1)
    """At most so many pairs whose ``rejected`` is a sample of the teacher that loops where ``chosen`` does not. They take no generation,
    but ``distill.samples`` of 2 or more, and there are only as many as the teacher's samples give."""

    relevance: float = Field(0.0, ge=0, le=1)
    """At most so many pairs whose ``rejected`` is the sample of the teacher that says least about what was asked, in character as
    ``chosen`` is; those that lie farthest apart. They take no generation, but ``distill.samples`` of 2 or more."""

    @property
    def any(self) -> bool:
        """Whether a recipe asks for lessons that must be written."""
        return self.violations + self.refusals + self.boundaries > 0
