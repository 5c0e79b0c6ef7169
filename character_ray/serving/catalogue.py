"""What clients may ask for, and what each name stands for inside the engine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from character_ray.config import ModelConfig
from character_ray.errors import AdapterError
from character_ray.manifest import AUTO
from character_ray.serving.personas import Persona

__all__ = ["Catalogue", "auto_card", "base_id"]


def base_id(model: ModelConfig) -> str:
    """The base model's name as clients ask for it: its hub id or packaged name, or the name of its folder."""
    name = Path(model.name).name if model.name.startswith((".", "/", "~")) else model.name
    # Ray Serve LLM splits "base:adapter" at the first colon.
    return name.replace(":", "-")


@dataclass(frozen=True)
class Catalogue:
    """The base model and its personas, by every name that clients may use."""

    base: str
    base_hash: str
    personas: tuple[Persona, ...]

    def __post_init__(self) -> None:
        """Refuse a persona that clients could not tell from the base, or from the choice of the server.

        Raises:
            AdapterError: A persona has the base model's name or a reserved one.
        """
        for persona in self.personas:
            if persona.slug == AUTO:
                raise AdapterError(
                    f"{persona.folder}: the persona is named {AUTO}, which clients ask for who leave the choice to the server. "
                    "Train it under another meta.name."
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

        A persona answers to ``captain-blackwood``, ``base:captain-blackwood`` and its pinned name; no name is the base.
        """
        if model is None or model == self.base:
            return self.base
        for persona in self.personas:
            if model.removeprefix(f"{self.base}:") in (persona.slug, persona.pinned):
                return self.engine_id(persona)
        return None

    def names(self) -> list[str]:
        """One name of every model, the base first."""
        return [self.base, *(persona.slug for persona in self.personas)]

    def cards(self) -> list[dict[str, Any]]:
        """OpenAI model objects for the base and every persona, with what is known of them in ``metadata``."""
        base = {"weights_hash": self.base_hash}
        return [_card(self.base, base), *(_card(f"{self.base}:{p.slug}", self._describe(p)) for p in self.personas)]

    def card(self, model: str | None) -> dict[str, Any] | None:
        """The model object of whatever the name stands for."""
        wanted = self.resolve(model)
        engine_ids = [self.base, *map(self.engine_id, self.personas)]
        return self.cards()[engine_ids.index(wanted)] if wanted else None

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
            "ratings": dict(persona.ratings),
        }


def auto_card() -> dict[str, Any]:
    """The model object of the server's choice."""
    description = "the persona that suits the conversation, or the base model; the answer names it"
    return _card(AUTO, {"alias": AUTO, "description": description})


def _card(model: str, metadata: dict[str, Any]) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": 0, "owned_by": "character-ray", "metadata": metadata}
