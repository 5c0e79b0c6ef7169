"""What every stage of a run shares: the recipe, its models, and the store its results go to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from rich.markup import escape

from character_ray.adapters import Manifest, adapter_rank, load_manifest
from character_ray.chat_safety import control_tokens
from character_ray.config import EngineConfig, FilterConfig, Recipe
from character_ray.constitution import Constitution
from character_ray.inference.generate import Weights, generate
from character_ray.inference.kept_engines import KeptEngines
from character_ray.inference.kept_judges import KeptJudges
from character_ray.inference.nli import resolve_nli
from character_ray.inference.passes import Generation, ScriptedTalks, SelfInteraction, Watch
from character_ray.inference.remote import generate_remotely
from character_ray.inference.two_passes import Pass, one_after_the_other, together
from character_ray.live_adapter import check_live
from character_ray.log import console, describe_counts
from character_ray.migration import brought_rows
from character_ray.mirror import Mirror
from character_ray.models import model_hash, resolve_model, template_hash
from character_ray.pipeline.hardware import Nodes, larger, nodes_now
from character_ray.pipeline.overlap import has_room_for_both
from character_ray.pipeline.parallelism import check_split
from character_ray.pipeline.parent import check_parent
from character_ray.prompts import Probe, hidden_trait_probes, persona_topics
from character_ray.report.schema import StageSummary
from character_ray.rows import Request, Scripted
from character_ray.runs import Artefact, Run, Store
from character_ray.training.algebra import fold
from character_ray.training.arguments import check_further_arguments
from character_ray.training.sequence_classifier import check_encoder
from character_ray.training.targets import check_same_tokens, check_targets
from character_ray.vllm_options import engine_kwargs, lora_size

__all__ = ["Context", "Held", "Model", "Persona", "RemoteModel", "Wanted", "to_generation"]


class Wanted(NamedTuple):
    """Completions that are asked for, of requests or of scripted conversations."""

    artefact: Artefact
    """Where they go."""
    rows: Sequence[Request] | Sequence[Scripted]
    watch: Watch | None = None
    """Looks at them while they are written."""


def to_generation(wanted: Wanted) -> Generation:
    """What a pass works on: scripted conversations are held, requests completed."""
    if wanted.rows and "lines" in wanted.rows[0]:
        return ScriptedTalks(wanted.artefact, wanted.rows)
    return Generation(wanted.artefact, wanted.rows, wanted.watch)  # type: ignore[arg-type]  # no scripts are among them


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
class RemoteModel:
    """A teacher behind an endpoint: its name and what is asked of it beside are all that is known.

    Not where it is: the same model may have another address tomorrow, and what it answered has been paid for.
    """

    name: str
    asked_beside: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the text it writes, as far as that is known here."""
        return {"remote": self.name} | ({"extra_body": dict(self.asked_beside)} if self.asked_beside else {})


@dataclass(frozen=True)
class Persona:
    """A constitution on its way through the pipeline; the control is one too."""

    constitution: Constitution
    prefix: str = ""
    """Put before the names of its stages: ``control-``."""

    opposite: Constitution | None = None
    """The character that the paired contrast rejects."""

    has_character: bool = True
    """Whether the constitution says who to be; the control's does not."""

    def filters(self, filters: FilterConfig) -> FilterConfig:
        """What drops its rows: without a character nothing sets an answer apart, and a control must be trained on as much as a persona."""
        return filters if self.has_character else filters.of_any_contrast()

    @cached_property
    def probes(self) -> list[Probe]:
        """Hidden-trait and identity probes, some of them on the persona's own subjects."""
        return hidden_trait_probes(persona_topics(self.constitution.directives.personality))


@dataclass(frozen=True)
class Held:
    """What stays up from stage to stage, and with many personas from one to the next; ends with a ``with`` block."""

    engines: KeptEngines = field(default_factory=KeptEngines)
    judges: KeptJudges = field(default_factory=KeptJudges)

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End it all; what is needed again starts again."""
        try:
            self.engines.end()
        finally:
            self.judges.end()


@dataclass
class Context:
    """A run in progress."""

    recipe: Recipe
    student: Model
    teacher: Model | RemoteModel
    store: Store
    run: Run
    parent: Manifest | None = None
    """Manifest of the adapter that an on-policy round starts from."""
    stages: dict[str, StageSummary] = field(default_factory=dict)
    held: Held = field(default_factory=Held)
    shared_spending: Path | None = None
    """Ledger of the teacher's endpoint where runs share its budget; else it lies in the run's folder."""
    nodes: Nodes = ()
    """Of the cluster when it was largest, as it was seen at the end of stages."""

    @classmethod
    def open(cls, recipe: Recipe, held: Held | None = None, shared_spending: Path | None = None) -> "Context":
        """Resolve the models and open the run's folder.

        Args:
            recipe: What to run.
            held: What runs before it on the same Ray left up; without, the run has its own.
            shared_spending: Ledger of the teacher's endpoint that it has in common with other runs.

        Raises:
            ModelError: A model cannot be found, or that of ``evaluate.coherence.nli`` knows no contradictions.
            RecipeError: A model cannot be split as the recipe asks, has no such layers, the parent adapter does not fit, or imported
                rows are not there.
            AdapterError: The parent adapter is damaged.
            ResumeError: The run folder is damaged.
            StorageError: The mirror cannot be written.
            TrainingError: The encoder of ``evaluate.classifier.fine_tune`` takes no classification head.
        """
        mirror = Mirror.at(recipe.mirror)
        if mirror is not None:
            mirror.check()
        student = Model(recipe.student.name, resolve_model(recipe.student))
        check_split("student_engine", recipe.student_engine, student.folder)
        teacher: Model | RemoteModel = student
        if recipe.teacher_endpoint is not None:
            teacher = RemoteModel(recipe.teacher.name, recipe.teacher_endpoint.asked_beside)
        elif recipe.teacher != recipe.student:
            teacher = Model(recipe.teacher.name, resolve_model(recipe.teacher))
        if recipe.teacher_engine is not None and isinstance(teacher, Model):
            check_split("teacher_engine", recipe.teacher_engine, teacher.folder)
        check_targets("dpo.lora", recipe.dpo.lora.target_modules, student.folder)
        check_targets("sft.lora", recipe.sft.lora.target_modules, student.folder)
        check_further_arguments(recipe)
        if recipe.evaluate.coherence.nli is not None:
            resolve_nli(recipe.evaluate.coherence.nli)
        if (fine_tune := recipe.evaluate.classifier.fine_tune) is not None:
            check_encoder(fine_tune.model.name, resolve_model(fine_tune.model))
        if recipe.dpo.algorithm == "on_policy" and isinstance(teacher, Model) and teacher is not student:
            check_same_tokens(student.folder, teacher.folder)
        parent = check_parent(recipe, student.hash)
        brought_rows(recipe)  # missing ones would stop the run after hours of training
        store, run = Store(recipe.output / "store", mirror), Run(recipe.folder, recipe.model_dump(mode="json"))
        return cls(recipe, student, teacher, store, run, parent, held=held or Held(), shared_spending=shared_spending)

    def artefact(self, stage: str, inputs: dict[str, Any], *, mirrored: bool = True) -> Artefact:
        """The folder of a stage; says what changed when an earlier attempt of this run made it from other inputs."""
        artefact = self.store.artefact(stage, inputs, mirrored=mirrored)
        changes = self.run.changes(artefact)
        if changes and not artefact.is_done:
            why = escape("; ".join(changes[:4]))
            console.print(f"[yellow]{stage}[/]: made anew, since {why}{' …' if len(changes) > 4 else ''}")
        return artefact

    def close(self, artefact: Artefact, *, reused: bool) -> None:
        """Record a finished stage and say what it did."""
        self.run.link(artefact)
        self.nodes = larger(self.nodes, nodes_now())
        summary = artefact.summary
        stage = StageSummary(
            wall_s=summary.get("wall_s", 0.0),
            rows_in=summary.get("rows_in", 0),
            rows_out=summary.get("rows_out", 0),
            dropped=summary.get("dropped", {}),
            drop_examples=summary.get("drop_examples", {}),
            by_directive=summary.get("by_directive", {}),
            reused=reused,
        )
        self.stages[artefact.stage] = stage
        dropped = f" (dropped: {escape(describe_counts(stage.dropped))})" if any(stage.dropped.values()) else ""
        when = "reused" if reused else f"in {stage.wall_s:.0f} s"
        console.print(f"[green]{artefact.stage}[/]: {stage.rows_in:,} -> {stage.rows_out:,} {when}{dropped}")

    def generate(
        self,
        label: str,
        wanted: Sequence[Wanted],
        weights: Weights,
        engine: EngineConfig,
        interactions: SelfInteraction | None = None,
    ) -> list[Generation]:
        """One engine pass over everything these weights must answer and the conversations they hold, recorded in the run."""
        if interactions is None:
            return self._record(wanted, lambda generations: self._pass(label, generations, weights, engine))
        reused = interactions.artefact.is_done
        done = self._record(
            wanted, lambda generations: self._pass(label, [interactions, *generations], weights, engine)
        )
        self.close(interactions.artefact, reused=reused)
        return done

    def ask_both(self, of_teacher: Sequence[Wanted], of_student: Sequence[Wanted]) -> list[Generation]:
        """One pass of a teacher that is not the student and one of the student as it is, recorded in the run."""
        number = len(of_teacher)
        return self._record(
            [*of_teacher, *of_student], lambda asked: self.complete_both(asked[:number], asked[number:])
        )

    def complete_both(self, of_teacher: Sequence[Generation], of_student: Sequence[Generation]) -> None:
        """The same passes unrecorded; at the same time where the cluster has room for both."""
        student = partial(self._pass, "student", weights=self.base_weights(), engine=self.recipe.student_engine)
        passes = together if has_room_for_both(self.recipe) else one_after_the_other
        passes(Pass(of_teacher, partial(self.teach, "teacher")), Pass(of_student, student))

    def ask_teacher(self, label: str, wanted: Sequence[Wanted]) -> list[Generation]:
        """One pass of the teacher, recorded in the run."""
        return self._record(wanted, lambda generations: self.teach(label, generations))

    def teach(self, label: str, generations: Sequence[Generation]) -> None:
        """Let the teacher complete: at its endpoint, on its own engine, or on the student's where the two are the same."""
        recipe, engine = self.recipe, self.recipe.teacher_engine
        if recipe.teacher_endpoint is not None:
            spending = self.shared_spending or self.run.folder / "spending.jsonl"
            generate_remotely(label, generations, recipe.teacher.name, recipe.teacher_endpoint, spending)
        elif recipe.shares_engine or engine is None:
            self._pass(label, generations, self.base_weights(), recipe.student_engine)
        else:
            assert isinstance(self.teacher, Model)
            # Of its own: no later pass asks it, and its GPUs are the student's then.
            generate(label, generations, Weights(self.teacher.folder, self.teacher.special_tokens), engine)

    def _pass(
        self,
        label: str,
        generations: Sequence[Generation | SelfInteraction],
        weights: Weights,
        engine: EngineConfig,
    ) -> None:
        generate(label, generations, weights, engine, self.held.engines)

    def _record(self, wanted: Sequence[Wanted], work: Callable[[list[Generation]], None]) -> list[Generation]:
        generations = [to_generation(each) for each in wanted]
        done_before = [generation.artefact.is_done for generation in generations]
        work(generations)
        for generation, reused in zip(generations, done_before, strict=True):
            self.close(generation.artefact, reused=reused)
        return generations

    def base_weights(self) -> Weights:
        """What an engine loads for the student as it is."""
        return Weights(self.student.folder, self.student.special_tokens)

    def weights(self, adapter: Path, label: str) -> Weights:
        """What an engine loads for the student with an adapter, folded in or applied live.

        Args:
            adapter: PEFT folder with a manifest.
            label: Name of the folded copy's stage.
        """
        engine, folder = self.recipe.student_engine, adapter
        if engine.adapters == "live":
            targets = engine_kwargs(engine, adapter_rank(folder))["lora_target_modules"]
            check_live(folder, load_manifest(folder).persona, targets)
            return Weights(self.student.folder, self.student.special_tokens, folder, lora_size(adapter_rank(folder)))
        dtype = "bfloat16" if engine.dtype == "auto" else engine.dtype
        inputs = {"base": self.student.hash, "adapter": load_manifest(folder).weights_hash, "dtype": dtype}
        # As large as the model, and sooner made of its parts than fetched.
        folded = self.artefact(label, inputs, mirrored=False)
        reused = folded.is_done
        with folded.making() as to_make:
            if to_make:
                started = monotonic()
                fold(self.student.folder, folder, folded.folder / "model", dtype)
                folded.finish({"wall_s": monotonic() - started})
        self.close(folded, reused=reused)
        return Weights(folded.folder / "model", self.student.special_tokens, base=self.student.folder)
