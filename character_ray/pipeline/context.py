"""What every stage of a run shares: the recipe, its models, and the store its results go to."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any

from character_ray.adapters import adapter_rank
from character_ray.chat_safety import control_tokens
from character_ray.config import EngineConfig, Recipe
from character_ray.constitution import Constitution
from character_ray.inference.generate import Generation, Weights, generate
from character_ray.log import console, describe_counts
from character_ray.models import model_hash, resolve_model, template_hash
from character_ray.prompts import Probe, hidden_trait_probes, persona_topics
from character_ray.report.schema import StageSummary
from character_ray.rows import Request
from character_ray.runs import Artefact, Run, Store
from character_ray.training.algebra import fold
from character_ray.vllm_options import lora_size

__all__ = ["Context", "Model", "Persona"]


@dataclass(frozen=True)
class Model:
    """A resolved model."""

    name: str
    folder: Path

    @cached_property
    def hash(self) -> str:
        """Content hash of the weights."""
        return model_hash(self.folder)

    @cached_property
    def template(self) -> str:
        """Hash of the chat template."""
        return template_hash(self.folder)

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """Control tokens of the tokenizer."""
        return control_tokens(self.folder)

    @property
    def identity(self) -> dict[str, str]:
        """What decides the text it writes, as inputs of a stage."""
        return {"hash": self.hash, "template": self.template}


@dataclass(frozen=True)
class Persona:
    """A constitution on its way through the pipeline; the control is one too."""

    constitution: Constitution
    prefix: str = ""
    """Put before the names of its stages: ``control-``."""

    @cached_property
    def probes(self) -> list[Probe]:
        """Hidden-trait and identity probes, some of them on the persona's own subjects."""
        return hidden_trait_probes(persona_topics(self.constitution.directives.personality))


@dataclass
class Context:
    """A run in progress."""

    recipe: Recipe
    student: Model
    teacher: Model
    store: Store
    run: Run
    stages: dict[str, StageSummary] = field(default_factory=dict)

    @classmethod
    def open(cls, recipe: Recipe) -> "Context":
        """Resolve the models and open the run's folder.

        Raises:
            ModelError: A model cannot be found.
            ResumeError: The run folder is damaged.
        """
        student = Model(recipe.student.name, resolve_model(recipe.student))
        teacher = (
            student if recipe.teacher == recipe.student else Model(recipe.teacher.name, resolve_model(recipe.teacher))
        )
        return cls(
            recipe, student, teacher, Store(recipe.output / "store"), Run(recipe.folder, recipe.model_dump(mode="json"))
        )

    def artefact(self, stage: str, inputs: dict[str, Any]) -> Artefact:
        """The folder of a stage; says what changed when an earlier attempt of this run made it from other inputs."""
        artefact = self.store.artefact(stage, inputs)
        changes = self.run.changes(artefact)
        if changes and not artefact.is_done:
            console.print(
                f"[yellow]{stage}[/]: made anew, since {'; '.join(changes[:4])}{' …' if len(changes) > 4 else ''}"
            )
        return artefact

    def close(self, artefact: Artefact, *, reused: bool) -> None:
        """Record a finished stage and say what it did."""
        self.run.link(artefact)
        summary = artefact.summary
        stage = StageSummary(
            wall_s=summary.get("wall_s", 0.0),
            rows_in=summary.get("rows_in", 0),
            rows_out=summary.get("rows_out", 0),
            dropped=summary.get("dropped", {}),
            reused=reused,
        )
        self.stages[artefact.stage] = stage
        dropped = f" (dropped: {describe_counts(stage.dropped)})" if any(stage.dropped.values()) else ""
        when = "reused" if reused else f"in {stage.wall_s:.0f} s"
        console.print(f"[green]{artefact.stage}[/]: {stage.rows_in:,} -> {stage.rows_out:,} {when}{dropped}")

    def generate(
        self, label: str, wanted: Sequence[tuple[Artefact, Sequence[Request]]], weights: Weights, engine: EngineConfig
    ) -> list[Generation]:
        """One engine pass over everything these weights must answer."""
        generations = [Generation(artefact, requests) for artefact, requests in wanted]
        done_before = [generation.artefact.is_done for generation in generations]
        with ExitStack() as claims:
            for generation in sorted(generations, key=lambda generation: generation.artefact.folder):
                claims.enter_context(generation.artefact.claim())
            generate(label, generations, weights, engine)
        for generation, reused in zip(generations, done_before, strict=True):
            self.close(generation.artefact, reused=reused)
        return generations

    def teacher_weights(self) -> Weights:
        """What the teacher's own engine loads."""
        return Weights(self.teacher.folder, self.teacher.special_tokens)

    def weights(self, adapter: Artefact | None, label: str) -> Weights:
        """What an engine loads for the student: the base, or the base with an adapter folded in or applied live.

        Args:
            adapter: A stage that left ``adapter/``; ``None`` for the base.
            label: Name of the folded copy's stage.
        """
        if adapter is None:
            return Weights(self.student.folder, self.student.special_tokens)
        engine, folder = self.recipe.student_engine, adapter.folder / "adapter"
        if engine.adapters == "live":
            return Weights(self.student.folder, self.student.special_tokens, folder, lora_size(adapter_rank(folder)))
        dtype = "bfloat16" if engine.dtype == "auto" else engine.dtype
        folded = self.artefact(label, {"base": self.student.hash, "adapter": adapter.fingerprint, "dtype": dtype})
        reused = folded.is_done
        with folded.claim():
            if not folded.is_done:
                started = monotonic()
                fold(self.student.folder, folder, folded.folder / "model", dtype)
                folded.finish({"wall_s": monotonic() - started})
        self.close(folded, reused=reused)
        return Weights(folded.folder / "model", self.student.special_tokens)
