"""What a registry writes down about a persona."""

from datetime import datetime
from itertools import pairwise
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from character_ray.canary import Canary
from character_ray.yardstick import Yardstick

__all__ = ["Action", "Change", "Entry", "PersonaRecord", "Status"]

Status = Literal["candidate", "live", "retired"]
Action = Literal["published", "promoted", "rolled_back", "retired"]


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


class Change(BaseModel):
    """One change of what is live."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    action: Action
    weights_hash: str = Field(pattern=r"^([0-9a-f]{16})?$")
    """What was live from then on; empty for nothing."""
    by: str = ""
    """Who did it; empty where a record of before changes were kept does not say."""
    at: AwareDatetime | None = None
    """When; ``None`` likewise."""
    gate: list[str] = Field(default_factory=list)
    """Bounds that the version was held to, each with what was found."""


class PersonaRecord(BaseModel):
    """All versions of one persona, the latest last, and what was live when."""

    model_config = ConfigDict(extra="forbid")

    slug: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    persona: str
    versions: list[Entry] = Field(default_factory=list)
    history: list[Change] = Field(default_factory=list)
    """Every change of what is live, the latest last."""

    @property
    def live(self) -> Entry | None:
        """The version that is served."""
        return next((entry for entry in self.versions if entry.status == "live"), None)

    @property
    def before(self) -> str | None:
        """Hash of the version that was live before the one that is; what was rolled back does not count."""
        live = self.live
        if live is None:
            return None
        stack: list[str] = []
        for change in self.known_history():
            if change.action == "rolled_back":
                del stack[-1:]
            if change.weights_hash and change.weights_hash not in stack[-1:]:
                stack.append(change.weights_hash)
        if live.weights_hash not in stack[-1:]:
            stack.append(live.weights_hash)
        return stack[-2] if len(stack) > 1 else None

    def replaced_at(self, weights_hash: str) -> datetime | None:
        """When another version took the place of this one; ``None`` if none did, it is live, or the persona was taken out of service."""
        found = None
        for change, after in pairwise(self.history):
            if change.weights_hash == weights_hash:
                found = after.at if after.action != "retired" else None
        return None if self.history[-1:] and self.history[-1].weights_hash == weights_hash else found

    def known_history(self) -> list[Change]:
        """The history; of a record that has none what its versions say: those published before the live one were live before it."""
        if self.history:
            return self.history
        live = self.live
        known = self.versions if live is None else self.versions[: self.versions.index(live) + 1]
        return [
            Change(action="published", weights_hash=each.weights_hash) for each in known if each.status != "candidate"
        ]

    def note(self, change: Change) -> None:
        """Add to the history, before what it is about is changed."""
        self.history = [*self.known_history(), change]
