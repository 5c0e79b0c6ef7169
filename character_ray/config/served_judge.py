"""A second model beside base and personas, which judges."""

from pydantic import Field, model_validator

from character_ray.config.base import Config
from character_ray.config.engines import EngineConfig, ModelConfig

__all__ = ["ServedJudgeConfig"]


class ServedJudgeConfig(Config):
    """A model with an engine of its own in the deployment, which answers to ``model: judge``."""

    model: ModelConfig
    """Its weights: a packaged name, a folder, or a hub id."""

    engine: EngineConfig | None = None
    """What it runs on; without it as the base does (``student_engine``), but for ``vllm`` and ``lora_kernels``, which are the base's."""

    min_replicas: int = Field(1, ge=1)
    """Replicas kept when idle."""

    max_replicas: int = Field(1, ge=1)
    """Replicas under load, which start as those of the base do."""

    @model_validator(mode="after")
    def _check(self) -> "ServedJudgeConfig":
        if self.max_replicas < self.min_replicas:
            raise ValueError(
                f"max_replicas={self.max_replicas} is smaller than min_replicas={self.min_replicas}, the number to start with. Raise it."
            )
        if self.engine is None:
            return self
        if self.engine.pool != (1, 1):
            raise ValueError(
                f"engine.replicas={self.engine.replicas} and engine.max_replicas are of engines that complete a run's prompts, and have no "
                "effect on a served judge. Leave them out, and set min_replicas and max_replicas beside engine."
            )
        if self.engine.keep is not None or self.engine.lora_kernels is not None:
            raise ValueError(
                "engine.keep and engine.lora_kernels have no effect on a served judge, which has no passes and no adapters. Leave them out."
            )
        return self
