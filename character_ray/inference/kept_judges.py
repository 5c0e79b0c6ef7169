"""Judges that stay up between the scorings of a run, with the base model loaded once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_ray.config import JudgeConfig
from character_ray.inference.kept_actors import KeptActors

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["KeptJudges"]

# One that is judged, and one that waits.
BATCHES_AT_ONCE = 2


class KeptJudges:
    """The judges of a run, until they are ended or those of another section are asked."""

    def __init__(self) -> None:
        self._actors = KeptActors()

    def through(
        self,
        actor: Callable[..., Any],
        arguments: tuple[Any, ...],
        rows: Sequence[Mapping[str, Any]],
        judge: JudgeConfig,
        environment: Mapping[str, str],
    ) -> "Dataset":
        """What the judges make of the rows, not computed yet; as :func:`~character_ray.inference.judge_actors.judged_rows` takes them."""
        self._start(judge, environment)
        return self._actors.through(rows, _Question(actor, arguments), judge.batch_size, BATCHES_AT_ONCE)

    def load(self, model: Path, judge: JudgeConfig, environment: Mapping[str, str]) -> None:
        """Let the judges load their model before anything is asked; returns at once.

        Args:
            model: Folder of the model that the first rows are read with.
            judge: The recipe's section.
            environment: As :meth:`through` will be given it.
        """
        self._start(judge, environment)
        self._actors.tell("load", model, judge)

    def _start(self, judge: JudgeConfig, environment: Mapping[str, str]) -> None:
        gpus = judge.gpu_share if judge.device == "gpu" else 0.0
        self._actors.start(judge, _Bench, (), judge.replicas, gpus, environment)

    def end(self) -> None:
        """End the judges, if any are up, and give back what they hold."""
        self._actors.end()


class _Bench:
    """Holds the judge that was asked last; the model below it is loaded once for all that share it."""

    def __init__(self) -> None:
        from character_ray.inference.judge_actors import share_models

        share_models()
        self._asked: tuple[Any, tuple[Any, ...]] | None = None
        self._judge: Any = None

    def load(self, model: Path, judge: JudgeConfig) -> None:
        """Load a model that the judges to come read with."""
        from character_ray.inference.judge_actors import load_judge_model

        load_judge_model(model, judge)

    def judge(self, actor: Callable[..., Any], arguments: tuple[Any, ...], batch: dict[str, Any]) -> dict[str, Any]:
        """What the judge of this class and these arguments makes of a batch."""
        if (actor, arguments) != self._asked:
            self._judge, self._asked = None, None  # its memory is the next one's
            self._judge, self._asked = actor(*arguments), (actor, arguments)
        judged: dict[str, Any] = self._judge(batch)
        return judged

    def end(self) -> None:
        """Nothing of its own outlives its process."""


@dataclass(frozen=True)
class _Question:
    """Asks a judge of this class, built with these arguments."""

    actor: Callable[..., Any]
    arguments: tuple[Any, ...]

    async def __call__(self, bench: Any, batch: dict[str, Any]) -> dict[str, Any]:
        judged: dict[str, Any] = await bench.judge.remote(self.actor, self.arguments, batch)
        return judged
