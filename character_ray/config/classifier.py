"""Which classifier says whether a text is in character, and how a sequence classifier is fine-tuned."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from character_ray.config.base import Config, WaitsForNodes
from character_ray.config.engines import ModelConfig

__all__ = ["ClassifierConfig", "FineTuneConfig"]


class FineTuneConfig(WaitsForNodes):
    """A sequence classifier: an encoder with a new head, both trained."""

    model: ModelConfig = ModelConfig(name="all-minilm-l6-v2")
    """The encoder: packaged name, folder, or hub id such as ``FacebookAI/roberta-base`` or ``answerdotai/ModernBERT-base``."""

    epochs: int = Field(4, ge=1)
    """Passes over the texts."""

    batch_size: int = Field(16, ge=1)
    """Texts per optimizer step, over all workers."""

    learning_rate: float = Field(1e-4, gt=0)
    """Peak, reached after a tenth of the steps; it then falls linearly to 0."""

    max_length: int = Field(128, ge=8)
    """Tokens of a text that are read, or as many as the encoder has positions for; the rest is cut off."""

    device: Literal["cpu", "gpu"] = "cpu"
    """Device of every worker."""

    workers: int = Field(1, ge=1)
    """Data-parallel workers of Ray Train."""

    cpus_per_worker: int = Field(2, ge=1)
    """CPU cores of a worker."""

    max_failures: int = Field(2, ge=0)
    """How often lost workers are started again; the classifiers that are trained by then stay."""

    @property
    def gpus(self) -> int:
        """GPUs that the workers take."""
        return self.workers if self.device == "gpu" else 0

    @property
    def numerics(self) -> dict[str, Any]:
        """What decides the classifier beside encoder, texts and seed; on which machines it ran does not."""
        kept = {"epochs", "batch_size", "learning_rate", "max_length", "workers"}
        return self.model_dump(mode="json", include=kept)

    @field_validator("model", mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_share(self) -> "FineTuneConfig":
        if self.batch_size % self.workers:
            raise ValueError(
                f"batch_size={self.batch_size} cannot be split evenly over workers={self.workers}. Choose a multiple of the workers."
            )
        return self


class ClassifierConfig(Config):
    """The run's persona classifier."""

    fine_tune: FineTuneConfig | None = None
    """Fine-tune an encoder on Ray Train, once for the classifier and five times for each generator of the split by generator; the
    encoder's name alone will do. ``null`` trains a logistic head on the packaged encoder, which stays frozen."""

    @field_validator("fine_tune", mode="before")
    @classmethod
    def _model_alone(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value
