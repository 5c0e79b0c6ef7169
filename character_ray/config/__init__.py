"""Every knob of a run. A default lives on its field and nowhere else."""

from character_ray.config.advice import recipe_warnings
from character_ray.config.base import Config
from character_ray.config.challenges import ChallengesConfig
from character_ray.config.classifier import ClassifierConfig, FineTuneConfig
from character_ray.config.cluster_train import ClusterTrainConfig
from character_ray.config.coherence import CoherenceConfig
from character_ray.config.data import (
    DistillConfig,
    FilterConfig,
    ImportedRows,
    IntrospectConfig,
    PromptsConfig,
    PromptSource,
)
from character_ray.config.drift import DriftConfig
from character_ray.config.endpoint import EndpointConfig
from character_ray.config.engines import EngineConfig, ModelConfig, SamplingConfig
from character_ray.config.evaluation import (
    ARMS,
    JUDGED_POSITIONS,
    Arm,
    AuditConfig,
    EvaluateConfig,
    JudgeConfig,
    ServeConfig,
)
from character_ray.config.lessons import LessonsConfig
from character_ray.config.loading import load_recipe, load_tournament
from character_ray.config.planning import GPUName, PlanConfig
from character_ray.config.recipe import Recipe
from character_ray.config.routing import AutoConfig
from character_ray.config.served import ServedConfig
from character_ray.config.served_judge import ServedJudgeConfig
from character_ray.config.tournament import ContestantsConfig, JudgeSpec, RatingConfig, StopConfig, Tournament
from character_ray.config.training import DPOConfig, LoRAConfig, OnPolicyConfig, SFTConfig, TrainingConfig
from character_ray.config.update import UpdateConfig
from character_ray.config.watch import WatchConfig

__all__ = [
    "ARMS",
    "JUDGED_POSITIONS",
    "Arm",
    "AuditConfig",
    "AutoConfig",
    "ChallengesConfig",
    "ClassifierConfig",
    "ClusterTrainConfig",
    "CoherenceConfig",
    "Config",
    "ContestantsConfig",
    "DPOConfig",
    "DistillConfig",
    "DriftConfig",
    "EndpointConfig",
    "EngineConfig",
    "EvaluateConfig",
    "FilterConfig",
    "FineTuneConfig",
    "GPUName",
    "ImportedRows",
    "IntrospectConfig",
    "JudgeConfig",
    "JudgeSpec",
    "LessonsConfig",
    "LoRAConfig",
    "ModelConfig",
    "OnPolicyConfig",
    "PlanConfig",
    "PromptSource",
    "PromptsConfig",
    "RatingConfig",
    "Recipe",
    "SFTConfig",
    "SamplingConfig",
    "ServeConfig",
    "ServedConfig",
    "ServedJudgeConfig",
    "StopConfig",
    "Tournament",
    "TrainingConfig",
    "UpdateConfig",
    "WatchConfig",
    "load_recipe",
    "load_tournament",
    "recipe_warnings",
]
