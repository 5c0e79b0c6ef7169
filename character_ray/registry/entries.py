"""What a registry writes down about a persona."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from character_ray.canary import Canary
from character_ray.yardstick import Yardstick

__all__ = ["Entry", "PersonaRecord", "Status"]

Status = Literal["candidate", "live", "retired"]


class Entry(BaseModel):
    """One published version."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    weights_hash: str = Field(pattern=r"^[0-9a-f]{16}$")
    """Names its folder under ``adapters/``."""
    status: Status
    published_by: str
    """Who published it."""
    published_at: str
    """When, in UTC, ISO 8601."""
    run: str = ""
    """Run it came from."""
    ratings: dict[str, float] = Field(default_factory=dict)
    """Headline figures of the run's report: ``persona_rate``, ``rating`` and the like of the arm ``full``."""
    gate: list[str] = Field(default_factory=list)
    """Bounds it was held to, each with what was found."""
    canary: Canary | None = None
    """What it answers; an engine that answers otherwise does not serve it. ``None`` if it was not measured."""
    yardstick: Yardstick | None = None
    """What tells whether an answer is in character, from the run's report; ``None`` of reports that do not say."""


class PersonaRecord(BaseModel):
    """All versions of one persona, the latest last."""

    model_config = ConfigDict(extra="forbid")

    slug: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    persona: str
    versions: list[Entry] = Field(default_factory=list)

    @property
    def live(self) -> Entry | None:
        """The version that is served."""
        return next((entry for entry in self.versions if entry.status == "live"), None)
