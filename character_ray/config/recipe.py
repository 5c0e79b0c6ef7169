"""A recipe: everything one run depends on, and what must hold across its sections."""

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from character_ray.config.base import Config
from character_ray.config.cluster_train import ClusterTrainConfig
from character_ray.config.data import DistillConfig, IntrospectConfig, PromptsConfig
from character_ray.config.endpoint import EndpointConfig
from character_ray.config.engines import EngineConfig, ModelConfig, SamplingConfig
from character_ray.config.evaluation import LARGEST_RANK, LORA_RANKS, EvaluateConfig, JudgeConfig, ServeConfig
from character_ray.config.planning import PlanConfig
from character_ray.config.training import DPOConfig, SFTConfig
from character_ray.errors import StorageError
from character_ray.s3 import S3Address, is_s3

__all__ = ["Recipe", "ranks_of", "samplings_of"]


class Recipe(Config):
    """Everything one run depends on."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run; its folder is ``output/name``."""

    constitution: Path
    """YAML constitution of the persona to train; relative paths start at the working directory."""

    control_constitution: Path = Path("constitutions/null-control.yaml")
    """Constitution without a character, for the ``control`` arm."""

    output: Path = Path("runs")
    """Folder of all runs; it must be on storage that every node of the cluster sees."""

    mirror: str | None = None
    """Bucket (``s3://bucket/prefix``) that finished stages are sent to and taken from, so that machines without a common folder share
    them. Endpoint, region and credentials come from the usual AWS environment variables."""

    seed: int = Field(0, ge=0)
    """Every random draw of the run derives from it."""

    student: ModelConfig = ModelConfig()
    """The model that becomes the persona."""

    teacher: ModelConfig = ModelConfig()
    """The model that plays the persona under its constitution."""

    student_engine: EngineConfig = EngineConfig()
    """Engine of the student, before and after training."""

    teacher_engine: EngineConfig | None = None
    """Engine of the teacher; leave it out when the teacher is the student's base model: one engine then serves both."""

    teacher_endpoint: EndpointConfig | None = None
    """Ask the teacher at an OpenAI-compatible endpoint instead; ``teacher.name`` is its name there."""

    prompts: PromptsConfig = PromptsConfig()
    """Training prompts."""

    distill: DistillConfig = DistillConfig()
    """Preference pairs."""

    introspect: IntrospectConfig = IntrospectConfig()
    """Reflections and self-interactions."""

    train: ClusterTrainConfig = ClusterTrainConfig()
    """What training runs on."""

    dpo: DPOConfig = DPOConfig()
    """Distillation."""

    sft: SFTConfig = SFTConfig()
    """Introspection training."""

    judge: JudgeConfig = JudgeConfig()
    """The likelihood judge."""

    evaluate: EvaluateConfig = EvaluateConfig()
    """The evaluation."""

    serve: ServeConfig = ServeConfig()
    """The deployment."""

    plan: PlanConfig = PlanConfig()
    """What ``character-ray plan`` assumes."""

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.output / self.name

    @property
    def shares_engine(self) -> bool:
        """Whether teacher and student are the same weights on the same engine."""
        if self.teacher_endpoint is not None:
            return False
        return self.teacher == self.student and self.teacher_engine in (None, self.student_engine)

    @property
    def kept_gpus(self) -> float:
        """GPUs that engines and judges hold from stage to stage."""
        return self.student_engine.kept_gpus + self.judge.kept_gpus

    @property
    def gpus_by_section(self) -> dict[str, float]:
        """GPUs that each section needs while it works, with those that others keep meanwhile; sections work one after the other."""
        engine, judge, classifier = self.student_engine, self.judge, self.evaluate.classifier.fine_tune
        return {
            "student_engine": (engine.kept_gpus or engine.gpus) + judge.kept_gpus,
            # Alone while the student's engine and the judges have not been asked yet.
            "teacher_engine": self.teacher_engine.gpus if self.teacher_engine else 0.0,
            "train": self.train.booked_gpus + self.kept_gpus,
            "judge": judge.booked_gpus + engine.kept_gpus,
            "evaluate.classifier.fine_tune": classifier.gpus + self.kept_gpus if classifier else 0.0,
        }

    @property
    def teacher_numerics(self) -> str | list[Any]:
        """What the teacher's engine decides about its text; not known of a remote one."""
        if self.teacher_endpoint is not None:
            return "remote"
        return (self.teacher_engine or self.student_engine).numerics

    @property
    def deliverable_rank(self) -> int:
        """Rank of the trained persona as one adapter: that of both stages together."""
        return self.dpo.lora.rank + self.sft.lora.rank

    @field_validator("output", mode="before")
    @classmethod
    def _check_output(cls, place: object) -> object:
        if is_s3(place):
            raise ValueError(
                f"{place} is a bucket, but rows, checkpoints and locks of a stage in the making need a folder. Name a folder, and set "
                "mirror to the bucket: finished stages then go there."
            )
        return place

    @field_validator("mirror")
    @classmethod
    def _check_mirror(cls, place: str | None) -> str | None:
        try:
            return place and str(S3Address.parse(place))
        except StorageError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _check_across_sections(self) -> "Recipe":
        _check_ranks(self)
        for stage in ("dpo", "sft"):
            config = getattr(self, stage)
            step = config.micro_batch_size * self.train.workers
            if config.batch_size % step:
                raise ValueError(
                    f"{stage}.batch_size={config.batch_size} is not a multiple of {stage}.micro_batch_size={config.micro_batch_size} x "
                    f"train.workers={self.train.workers}, so no whole number of micro-batches makes a step. "
                    f"Set {stage}.batch_size to a multiple of {step}."
                )
            least = self.train.min_workers or self.train.workers
            if least < self.train.workers and len(self.train.numbers_of_workers(config.micro_batches)) == 1:
                raise ValueError(
                    f"train.min_workers={least} allows fewer workers than train.workers={self.train.workers}, but no such number divides "
                    f"the {config.micro_batches} micro-batches of a step ({stage}.batch_size={config.batch_size} / "
                    f"{stage}.micro_batch_size={config.micro_batch_size}). Lower train.min_workers, or leave it out."
                )
            if config.watch is not None and self.train.zero_stage == 3:
                raise ValueError(
                    f"{stage}.watch with train.zero_stage=3: workers that hold a share of the weights cannot answer questions on their "
                    f"own. Set train.zero_stage to 2 or less, or leave {stage}.watch out."
                )
        if self.dpo.algorithm == "on_policy":
            if self.teacher_endpoint is not None:
                raise ValueError(
                    f"dpo.algorithm=on_policy needs the teacher's probability of every token, but teacher_endpoint="
                    f"{self.teacher_endpoint.url} returns text only. Remove teacher_endpoint, or set dpo.algorithm=dpo."
                )
            if self.dpo.batch_size % self.dpo.on_policy.samples:
                raise ValueError(
                    f"dpo.batch_size={self.dpo.batch_size} is not a multiple of dpo.on_policy.samples={self.dpo.on_policy.samples}, so "
                    "the samples of a prompt would not fit into one step. Change one of them."
                )
            if self.dpo.on_policy.max_tokens >= self.dpo.max_length:
                raise ValueError(
                    f"dpo.on_policy.max_tokens={self.dpo.on_policy.max_tokens} leaves no room for a prompt within "
                    f"dpo.max_length={self.dpo.max_length}. Raise dpo.max_length or lower dpo.on_policy.max_tokens."
                )
        if self.teacher_engine is not None and self.teacher_engine.keep and not self.shares_engine:
            raise ValueError(
                "teacher_engine.keep=true: a teacher with an engine of its own is asked in one pass and then ends, so that its GPUs are "
                "free. Leave keep and gpu_share out there."
            )
        if self.teacher_engine is not None and self.teacher_endpoint is not None:
            raise ValueError(
                f"teacher_engine and teacher_endpoint={self.teacher_endpoint.url} are both given, but the teacher answers in one place. "
                "Remove one of them."
            )
        if self.teacher != self.student and self.teacher_engine is None and self.teacher_endpoint is None:
            key = "name" if self.teacher.name != self.student.name else "revision"
            raise ValueError(
                f"teacher.{key}={getattr(self.teacher, key)!r} differs from student.{key}={getattr(self.student, key)!r} but "
                f"teacher_engine is missing, so there is nothing to run the teacher on. Set teacher.{key} to the student's {key} to let "
                "it teach itself, or add teacher_engine: {device: gpu} or a teacher_endpoint section."
            )
        prompts = self.prompts
        if (
            prompts.grid + prompts.everyday + prompts.traits + sum(prompts.languages.values()) == 0
            and not prompts.sources
            and self.distill.pairs is None
        ):
            raise ValueError(
                "prompts.grid, prompts.everyday and prompts.traits are all 0 and prompts.languages and prompts.sources are empty, so "
                "there is nothing to ask. Set at least one of them."
            )
        _check_imported(self)
        _check_lengths(self)
        return self


def ranks_of(recipe: Recipe) -> str:
    """The two ranks and what they add up to, as the beginning of a sentence."""
    return (
        f"dpo.lora.rank={recipe.dpo.lora.rank} and sft.lora.rank={recipe.sft.lora.rank} add up to an adapter of rank "
        f"{recipe.deliverable_rank}"
    )


def _check_ranks(recipe: Recipe) -> None:
    largest, size = recipe.serve.max_lora_rank, min(recipe.deliverable_rank, LARGEST_RANK)
    if size > largest:
        needed = next(each for each in LORA_RANKS if each >= size)
        raise ValueError(
            f"{ranks_of(recipe)}, larger than serve.max_lora_rank={largest}, so the trained persona could never be served. "
            f"Set serve.max_lora_rank to {needed}, or lower one of the ranks."
        )
    if recipe.deliverable_rank > LARGEST_RANK and recipe.student_engine.adapters == "live":
        raise ValueError(
            f"{ranks_of(recipe)}, but student_engine.adapters=live holds at most {LARGEST_RANK}. "
            "Set student_engine.adapters: fold, or lower one of the ranks."
        )


def _check_imported(recipe: Recipe) -> None:
    """Prompts that a recipe asks for beside pairs that bring their own; grid and everyday have defaults and are not read."""
    if recipe.distill.pairs is None:
        return
    asked = {"traits": recipe.prompts.traits, "languages": recipe.prompts.languages, "sources": recipe.prompts.sources}
    key = next((key for key, value in asked.items() if value), None)
    if key is not None:
        raise ValueError(
            f"prompts.{key} asks for prompts, but distill.pairs.path={recipe.distill.pairs.path} brings pairs with prompts of their own. "
            "Leave one of the two out."
        )


def _check_lengths(recipe: Recipe) -> None:
    """Each completion against the engine that writes it; what a teacher's endpoint holds is not known here."""
    student = {"student_engine": recipe.student_engine}
    of_its_own = {} if recipe.teacher_engine is None else {"teacher_engine": recipe.teacher_engine}
    teacher = {} if recipe.teacher_endpoint is not None else of_its_own or student
    writers = {
        "distill.teacher": teacher,
        "evaluate.sampling": student | (teacher if "teacher" in recipe.evaluate.arms else {}),
    }
    limits = {
        f"{key}.max_tokens": (each.max_tokens, writers.get(key, student)) for key, each in samplings_of(recipe).items()
    }
    if recipe.prompts.traits:
        limits["prompts.trait_max_tokens"] = recipe.prompts.trait_max_tokens, teacher
    for key, (tokens, engines) in limits.items():
        for section, engine in engines.items():
            if tokens >= engine.max_model_len:
                raise ValueError(
                    f"{key}={tokens}, but {section}.max_model_len={engine.max_model_len} must hold prompt and completion together. "
                    f"Raise {section}.max_model_len, or lower {key}."
                )


def samplings_of(recipe: Recipe) -> dict[str, SamplingConfig]:
    """Every sampling section by its dotted name."""
    return {
        "distill.teacher": recipe.distill.teacher,
        "distill.student": recipe.distill.student,
        "introspect.reflection_sampling": recipe.introspect.reflection_sampling,
        "introspect.interaction_sampling": recipe.introspect.interaction_sampling,
        "evaluate.sampling": recipe.evaluate.sampling,
    }
