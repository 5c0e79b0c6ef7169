"""What an adapter says of itself."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["AUTO", "JUDGE", "BaseModelId", "Manifest", "why_reserved"]

AUTO = "auto"
"""What clients ask for who leave the choice of the persona to the server; no persona may have this name."""

JUDGE = "judge"
"""What clients ask for who want a deployment's second model; neither a persona nor a base may have this name."""

_RESERVED = {
    AUTO: "which clients ask for who leave the choice to the server",
    JUDGE: "which is the name of a deployment's judge",
}


def why_reserved(slug: str) -> str:
    """Why no persona may have a name, as the end of a sentence; empty where one may."""
    return _RESERVED.get(slug, "")


class BaseModelId(BaseModel):
    """The model an adapter was trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    revision: str | None = None
    hash: str
    """:func:`character_ray.models.model_hash` of its weights."""


class Manifest(BaseModel):
    """What an adapter is, what it was made from, and what it may be applied to."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    persona: str
    """``meta.name`` of the constitution."""
    slug: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    """The persona's name as clients ask for it."""
    description: str = ""
    about: list[str] = Field(default_factory=list)
    """Short texts that say what it is about, for choosing it from a conversation."""
    stage: str
    """``dpo``, ``sft`` (the second stage alone), ``full`` (both in one), or ``combined`` by hand."""
    base_model: BaseModelId
    template_hash: str
    """Chat template the adapter was trained under; serving under another changes the persona."""
    constitution_hash: str
    rank: int = Field(ge=1)
    weights_hash: str
    parents: list[str] = Field(default_factory=list)
    """``weights_hash`` of the adapters it was made from or trained on top of."""
    recipe: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
