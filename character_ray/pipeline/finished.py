"""A finished run, opened again to measure more on it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from character_ray.adapters import load_manifest
from character_ray.config import ARMS, Arm, Recipe
from character_ray.constitution import prompted_messages, teacher_messages
from character_ray.errors import ReportError
from character_ray.inference.judge_actors import judge_dtype
from character_ray.models import resolve_model
from character_ray.parts import read_rows
from character_ray.pipeline.context import Persona
from character_ray.pipeline.personas import load_trained
from character_ray.rows import Answer, Message, Prompt

if TYPE_CHECKING:
    from character_ray.evaluation.reader import Reader

__all__ = ["ADAPTERS", "FinishedRun"]

# The stage that made each trained arm's adapter.
ADAPTERS: dict[Arm, str] = {"dpo": "dpo", "sft": "sft-alone", "full": "full", "control": "control-full"}

T = TypeVar("T")


@dataclass(frozen=True)
class FinishedRun:
    """What a run left behind."""

    folder: Path
    recipe: Recipe

    @classmethod
    def open(cls, folder: Path) -> "FinishedRun":
        """Open a run's folder.

        Raises:
            ReportError: It is no run, or its evaluation has not finished.
        """
        for name in ("run.json", "answers.parquet", "report.json"):
            if not (folder / name).is_file():
                raise ReportError(
                    f"{folder} is no finished run: it has no {name}. Give the folder of a run whose report is written, such as runs/demo."
                )
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return cls(folder, Recipe.model_validate(record["recipe"]))

    @cached_property
    def persona(self) -> Persona:
        """The character of the run.

        Raises:
            ConstitutionError: Its file was edited since the run was made.
        """
        return load_trained(self.recipe, self.folder)

    @cached_property
    def base(self) -> Path:
        """Folder of the untrained student."""
        return resolve_model(self.recipe.student)

    @cached_property
    def answers(self) -> list[Answer]:
        """What the arms said to the held-out prompts, in the order of the prompts; failed and empty ones are left out."""
        rows: list[Answer] = read_rows(self.folder / "answers.parquet")  # type: ignore[assignment]
        return [row for row in rows if row["source"] != "probe" and not row["error"] and row["completion"].strip()]

    def prompts(self, part: Literal["train", "evaluation"]) -> list[Prompt]:
        """What the run trained on, or was evaluated with."""
        return read_rows(self.folder / "prompts" / f"{part}.parquet")  # type: ignore[return-value]

    @property
    def arms(self) -> list[Arm]:
        """Arms that answered; a teacher of other weights than the student's is left out, since it is not here to be read."""
        there = {row["arm"] for row in self.answers}
        same = self.recipe.teacher == self.recipe.student and self.recipe.teacher_endpoint is None
        return [arm for arm in ARMS if arm in there and (arm != "teacher" or same)]

    def adapters(self, arms: list[Arm]) -> dict[str, Path]:
        """PEFT folders of those of the arms that are trained.

        Raises:
            ReportError: An adapter is not in the run's folder.
        """
        folders = {arm: self.folder / ADAPTERS[arm] / "adapter" for arm in arms if arm in ADAPTERS}
        if "full" in folders and not folders["full"].is_dir():  # an update's deliverable is another stage's
            folders["full"] = self.folder / "adapter"
        for arm, folder in folders.items():
            if not folder.is_dir():
                raise ReportError(
                    f"{self.folder} has no adapter of the arm {arm} (looked for {folder}). Run its recipe again."
                )
        return {arm: folder.resolve() for arm, folder in folders.items()}

    def weights_hash(self, arm: Arm) -> str:
        """Content hash of an arm's adapter; empty for the untrained weights."""
        folders = self.adapters([arm])
        return load_manifest(folders[arm]).weights_hash if folders else ""

    def chat(self, arm: Arm, prompt: str) -> list[Message]:
        """What the arm sees of a prompt."""
        if arm == "prompted":
            return prompted_messages(self.persona.constitution, prompt)
        if arm == "teacher":
            return teacher_messages(self.persona.constitution, prompt)
        return [Message(role="user", content=prompt)]

    def on_ray(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do work that holds the model as one Ray task, on a device as the judge's.

        Raises:
            Whatever the work raises.
        """
        import ray
        from ray.exceptions import RayTaskError

        judge = self.recipe.judge
        remote = ray.remote(
            num_cpus=judge.cpus if judge.device == "cpu" else 1,
            num_gpus=0 if judge.device == "cpu" else 1,
            runtime_env={"env_vars": {"OMP_NUM_THREADS": str(judge.cpus)}},
        )(work)
        try:
            found: T = ray.get(remote.remote(*arguments))
        except RayTaskError as error:
            raise error.cause from error
        return found

    def reader(self, arms: list[Arm]) -> "Reader":
        """The untrained student and the adapters of these arms, in memory in the judge's number format."""
        from character_ray.evaluation.reader import Reader

        device = "cpu" if self.recipe.judge.device == "cpu" else "cuda"
        return Reader(self.base, self.adapters(arms), device, judge_dtype(self.recipe.judge))
