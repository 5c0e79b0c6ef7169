"""What more GPUs and more personas change: a discrete-event simulation fitted on one finished run on one GPU.

    report -> tasks (start, work, how it splits, bytes) -> teams of GPUs, one persona at a time each -> wall time, busy share, cost

A pass of an engine is one task: its start is paid by every GPU of the team, its work is divided among them. An engine that the run keeps
starts once and then reads other weights. Judges are the same with a shorter start. A training splits its batch, hence over
``batch_size`` GPUs at most. Everything else runs on one process whatever there is. Teams work side by side and meet at the shared
storage, which writes one result after the other.

With one GPU and one persona the simulated time is the measured one. With GPUs without end it is the starts, the trainings at their
limit, and what does not split. Assumed, and not measured: work divides without loss, trainings included, so that large numbers are lower
bounds; a GPU does not fail; teams share nothing but storage, though ``character-ray many`` also shares the base pass.
"""

import heapq
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from character_ray.config import Recipe
from character_ray.model_shape import find_shape
from character_ray.plan.check import Compared
from character_ray.plan.stage_kinds import CLASSIFIERS, Kind, task_of
from character_ray.report.schema import Report
from character_ray.roofline import Costs

__all__ = ["Scaled", "Task", "compare_team", "fit_tasks", "simulate"]


@dataclass(frozen=True)
class Task:
    """One thing a persona's team does."""

    name: str
    kind: Kind
    start_s: float
    """Seconds before the first row, on every GPU of the team at once."""
    work_s: float
    """Seconds of one GPU."""
    max_gpus: int
    """GPUs the work can be divided among."""
    gib: float = 0.0
    """What it writes to the shared storage."""

    def seconds(self, gpus: int) -> float:
        """Wall seconds on a team, storage apart."""
        return self.start_s + self.work_s / min(gpus, self.max_gpus)


@dataclass(frozen=True)
class Scaled:
    """A number of personas on a number of GPUs."""

    gpus: int
    personas: int
    wall_s: float
    busy: float
    """Share of the held GPU-seconds in which a GPU does its work; starts, waits and what runs on one process are the rest."""
    spent: Mapping[str, float] = field(default_factory=dict)
    """Share of a team's time by what it was spent on: ``engine start``, ``engine``, ``judge``, ``training``, ``serial``, ``storage``,
    ``no persona left``."""

    @property
    def gpu_hours(self) -> float:
        """GPUs held from beginning to end."""
        return self.gpus * self.wall_s / 3600

    @property
    def bottleneck(self) -> str:
        """What most of the time goes to."""
        return max(self.spent, key=lambda name: self.spent[name])


def fit_tasks(report: Report, costs: Costs | None = None) -> list[Task]:
    """The tasks of a finished run on one GPU, in order: every second of it is in exactly one.

    Args:
        report: The run. What it took is what its stages took when they were made.
        costs: Seconds that starts take; those of the plan by default, cut where a task took less.
    """
    costs = costs or Costs()
    recipe = Recipe.model_validate(report.run.recipe)
    seconds: dict[tuple[str, Kind], float] = defaultdict(float)
    for stage, done in report.run.stages.items():
        seconds[task_of(stage)] += done.wall_s
    starts: dict[Kind, float] = {
        "engine": costs.engine_start,
        "judge": costs.judge_start,
        "training": costs.training_start,
        "serial": 0.0,
    }
    later = starts | ({"engine": costs.engine_reload} if recipe.student_engine.is_kept else {})
    later |= {"judge": 0.0} if recipe.judge.is_kept else {}
    tasks: list[Task] = []
    for (name, kind), whole in seconds.items():
        started = any(task.kind == kind for task in tasks)
        start = min((later if started else starts)[kind], whole)
        limits: dict[Kind, int] = {"engine": 10**9, "judge": 10**9, "training": _batch(name, recipe), "serial": 1}
        tasks.append(Task(name, kind, start, whole - start, limits[kind], _written_gib(name, recipe)))
    return tasks


def _batch(name: str, recipe: Recipe) -> int:
    """Rows of a step that a training's workers share."""
    fine_tune = recipe.evaluate.classifier.fine_tune
    if name in CLASSIFIERS and fine_tune is not None:
        return fine_tune.batch_size
    return (recipe.dpo if "dpo" in name else recipe.sft).batch_size


def compare_team(tasks: Sequence[Task], measured: Report, gpus: int) -> list[Compared]:
    """Each task of a run on several GPUs, predicted from the run on one and measured, and the whole.

    Args:
        tasks: Fitted on the run on one GPU.
        measured: The same recipe on ``gpus`` GPUs.
        gpus: GPUs of that run.
    """
    found = {task.name: task.start_s + task.work_s for task in fit_tasks(measured)}
    compared = [Compared(task.name, task.seconds(gpus), found.get(task.name, 0.0)) for task in tasks]
    whole = [sum(each.predicted_s for each in compared), sum(each.measured_s for each in compared)]
    return [*compared, Compared("whole run", *whole)]


def simulate(tasks: Sequence[Task], gpus: int, personas: int, *, storage_gib_per_s: float = math.inf) -> Scaled:
    """Let teams take personas until none is left.

    Args:
        tasks: What one persona takes.
        gpus: GPUs held; with fewer personas than GPUs each team has several, as many as divide evenly.
        personas: Personas to train.
        storage_gib_per_s: Rate of the shared storage, which serves one team at a time.

    Raises:
        ValueError: There is no GPU or no persona.
    """
    if gpus < 1 or personas < 1:
        raise ValueError(f"{gpus} GPUs and {personas} personas: there must be one of each")
    teams = min(gpus, personas)
    width = gpus // teams
    spent: dict[str, float] = defaultdict(float)
    waiting, storage_free, busy_s = personas - teams, 0.0, 0.0
    # When a team is free, its number, the next task of its persona, and whether that task's result is to be written first.
    events = [(0.0, team, 0, False) for team in range(teams)]
    ended = [0.0] * teams
    heapq.heapify(events)
    while events:
        now, team, number, writes = heapq.heappop(events)
        if writes:
            storage_free = max(now, storage_free) + tasks[number].gib / storage_gib_per_s
            spent["storage"] += storage_free - now
            heapq.heappush(events, (storage_free, team, number + 1, False))
            continue
        if number == len(tasks):
            ended[team] = now
            if waiting:
                waiting -= 1
                heapq.heappush(events, (now, team, 0, False))
            continue
        task = tasks[number]
        takes = task.seconds(width)
        spent[f"{task.kind} start"] += task.start_s
        spent[task.kind] += takes - task.start_s
        busy_s += task.work_s if task.kind != "serial" else 0.0
        after = (number, True) if task.gib else (number + 1, False)
        heapq.heappush(events, (now + takes, team, *after))
    wall_s = max(ended)
    spent["no persona left"] = sum(wall_s - end for end in ended)
    whole = teams * wall_s
    shares = {name: value / whole for name, value in spent.items() if value > 0} if whole else {}
    return Scaled(gpus, personas, wall_s, busy_s / (gpus * wall_s) if wall_s else 0.0, shares)


def _written_gib(task: str, recipe: Recipe) -> float:
    """What a training or the joining of adapters writes: one adapter in float32. Everything else is small beside it."""
    ranks = {
        "dpo": recipe.dpo.lora.rank,
        "sft": recipe.sft.lora.rank,
        "sft-alone": recipe.sft.lora.rank,
        "full": recipe.dpo.lora.rank + recipe.sft.lora.rank,
    }
    rank = ranks.get(task.removeprefix("control-"), 0)
    return find_shape(recipe.student).lora(rank, recipe.dpo.lora.target_modules) * 4 / 2**30 if rank else 0.0
