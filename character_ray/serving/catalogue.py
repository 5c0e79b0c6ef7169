"""What clients may ask for, and what each name stands for inside the engine."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from character_ray.config import ModelConfig
from character_ray.errors import AdapterError, ServingError
from character_ray.manifest import AUTO, JUDGE, why_reserved
from character_ray.serving.personas import Persona

__all__ = ["Catalogue", "SecondModel", "auto_card", "base_id"]


def base_id(model: ModelConfig) -> str:
    """The base model's name as clients ask for it: its hub id or packaged name, or the name of its folder."""
    name = Path(model.name).name if model.name.startswith((".", "/", "~")) else model.name
    # Ray Serve LLM splits "base:adapter" at the first colon.
    return name.replace(":", "-")


@dataclass(frozen=True)
class SecondModel:
    """The deployment's judge, which is no persona: it has no adapters, and nothing but its name leads to it."""

    name: str
    """What it is, as :func:`base_id` writes it."""
    weights_hash: str


@dataclass(frozen=True)
class Catalogue:
    """The base model, its personas and the judge, by every name that clients may use."""

    base: str
    base_hash: str
    personas: tuple[Persona, ...]
    versions: tuple[Persona, ...] = ()
    """Candidates, and versions that others replaced a short time ago; they answer to their pinned names alone."""
    judge: SecondModel | None = None

    def __post_init__(self) -> None:
        """Refuse names that clients could not tell apart.

        Raises:
            AdapterError: A persona has the base model's name or a reserved one.
            ServingError: The base has the judge's.
        """
        if self.base == JUDGE:
            raise ServingError(f"the base model is named {JUDGE}, {why_reserved(JUDGE)}. Give its folder another name.")
        for persona in self.personas:
            if why := why_reserved(persona.slug):
                raise AdapterError(
                    f"{persona.folder}: the persona is named {persona.slug}, {why}. Train it under another meta.name."
                )
            if persona.slug == self.base:
                raise AdapterError(
                    f"{persona.folder}: the persona is named {persona.slug}, as the base model is. "
                    "Train it under another meta.name."
                )

    def engine_id(self, persona: Persona) -> str:
        """``base:slug-hash``: the persona's weights, pinned."""
        return f"{self.base}:{persona.pinned}"

    def resolve(self, model: str | None) -> str | None:
        """The engine's name for a model that a client asked for; ``None`` if there is none of that name.

        A persona answers to ``captain-blackwood``, ``base:captain-blackwood`` and its pinned name, a version that is not live to that
        alone; no name is the base.
        """
        if model is None or model == self.base:
            return self.base
        if model == JUDGE:
            return JUDGE if self.judge else None
        persona = self._find(model)
        return self.engine_id(persona) if persona else None

    def known(self, *, candidates: bool) -> "Catalogue":
        """The catalogue as a client may know it."""
        if candidates or not any(version.status == "candidate" for version in self.versions):
            return self
        return replace(self, versions=tuple(each for each in self.versions if each.status != "candidate"))

    def _find(self, model: str) -> Persona | None:
        name = model.removeprefix(f"{self.base}:")
        live = (persona for persona in self.personas if name in (persona.slug, persona.pinned))
        return next(live, None) or next((version for version in self.versions if name == version.pinned), None)

    def names(self) -> list[str]:
        """One name of every model, the base first."""
        return [self.base, *(persona.slug for persona in self.personas), *([JUDGE] if self.judge else [])]

    def cards(self, *, versions: bool = False) -> list[dict[str, Any]]:
        """OpenAI model objects for the base, every persona and the judge, with what is known of them in ``metadata``.

        Args:
            versions: List those that are not live, too.
        """
        served = {persona.pinned for persona in self.personas}
        others = [version for version in self.versions if versions and version.pinned not in served]
        last = [_judge_card(self.judge)] if self.judge else []
        return [self._base_card(), *map(self._persona_card, (*self.personas, *others)), *last]

    def card(self, model: str | None) -> dict[str, Any] | None:
        """The model object of whatever the name stands for."""
        if model is None or model == self.base:
            return self._base_card()
        if model == JUDGE:
            return _judge_card(self.judge) if self.judge else None
        persona = self._find(model)
        return self._persona_card(persona) if persona else None

    def _base_card(self) -> dict[str, Any]:
        return _card(self.base, {"weights_hash": self.base_hash})

    def _persona_card(self, persona: Persona) -> dict[str, Any]:
        live = persona in self.personas
        return _card(f"{self.base}:{persona.slug if live else persona.pinned}", self._describe(persona))

    def _describe(self, persona: Persona) -> dict[str, Any]:
        manifest = persona.manifest
        return {
            "persona": manifest.persona,
            "description": manifest.description,
            "alias": persona.slug,
            "pinned": self.engine_id(persona),
            "base_model": self.base,
            "weights_hash": manifest.weights_hash,
            "constitution_hash": manifest.constitution_hash,
            "rank": manifest.rank,
            "status": persona.status,
            "ratings": dict(persona.ratings),
        }


def auto_card() -> dict[str, Any]:
    """The model object of the server's choice."""
    description = "the persona that suits the conversation, or the base model; the answer names it"
    return _card(AUTO, {"alias": AUTO, "description": description})


def _judge_card(judge: SecondModel) -> dict[str, Any]:
    about = {
        "description": "the model that judges tournaments",
        "model": judge.name,
        "weights_hash": judge.weights_hash,
    }
    return _card(JUDGE, {"alias": JUDGE, **about})


def _card(model: str, metadata: dict[str, Any]) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": 0, "owned_by": "character-ray", "metadata": metadata}
