"""Whether answers contradict themselves."""

from typing import Any

from pydantic import Field, field_validator

from character_ray.config.base import Config
from character_ray.config.engines import ModelConfig

__all__ = ["CoherenceConfig"]


class CoherenceConfig(Config):
    """Self-contradiction, by a model of natural language inference."""

    nli: ModelConfig | None = None
    """Hub id or folder of a sequence classifier with a class for contradiction, such as ``cross-encoder/nli-deberta-v3-base``. ``None``
    leaves contradictions unmeasured: no such model is packaged. It runs as the judge does (``judge.device``, ``judge.replicas``)."""

    min_auc: float = Field(0.8, ge=0.5, le=1)
    """How well it must tell known contradictions from statements that agree (area under the ROC curve); below, nothing is decided."""

    statements: int = Field(8, ge=2, le=32)
    """Statements of an answer that are compared with each other, from its beginning; an answer of 8 has 28 pairs."""

    @field_validator("nli", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value
