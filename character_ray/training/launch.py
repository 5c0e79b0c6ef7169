"""Run a training job on Ray Train and leave a clean adapter folder."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from character_ray.cluster_room import Need, alive_nodes, room_for
from character_ray.config import DPOConfig
from character_ray.errors import ClusterError, TrainingError
from character_ray.log import StageProgress, console, stage_progress
from character_ray.training.checkpoints import last_complete
from character_ray.training.examples import in_brief
from character_ray.training.factors import check_finite
from character_ray.training.failures import root_cause
from character_ray.training.job import TrainJob
from character_ray.training.storage import check_storage
from character_ray.training.worker import FATAL, train_worker
from character_ray.training.workers import needed_to_train, run_workers

__all__ = ["num_steps", "read_metrics", "train"]

_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def train(job: TrainJob, label: str, num_rows: int) -> None:
    """Train the job's adapter, continuing from its last checkpoint if there is one.

    Args:
        job: What to train.
        label: Name of the stage on the progress line.
        num_rows: Rows that will be trained on, for the progress line.

    Raises:
        TrainingError: The storage cannot take what will be written, training left its path (see
            :mod:`character_ray.training.guards`), or its workers failed too often.
        AdapterError: The trained factors are no numbers.
        KeyboardInterrupt: It was stopped; what is trained so far is kept, and the next call goes on from there.
        ClusterError: The nodes that are alive cannot hold the workers, nor as few as are allowed, and none joined in time; checkpoints
            are kept.
    """
    check_storage(job)
    for left in (job.folder / FATAL, job.first_example):
        left.unlink(missing_ok=True)
    if not job.checkpoints.is_dir():
        # Nothing to continue from: steps of an abandoned attempt must not pass for this one's.
        (job.folder / "metrics.jsonl").unlink(missing_ok=True)
    with stage_progress(label, num_steps(job, num_rows), "steps") as progress:
        if not job.cluster.in_process:
            progress.note(f"starting {job.workers} worker{'s' if job.workers > 1 else ''}")
        with _following(job, label, progress):
            _fit_where_there_is_room(job, label)
    check_finite(job.folder / "trained")
    job.adapter.mkdir(exist_ok=True)
    for name in _ADAPTER_FILES:
        shutil.copyfile(job.folder / "trained" / name, job.adapter / name)
    for scratch in (job.folder / "trained", job.checkpoints, job.folder / "ray_train"):
        shutil.rmtree(scratch, ignore_errors=True)


def num_steps(job: TrainJob, num_rows: int) -> int:
    """Optimizer steps of the whole job; an estimate where pairs are held out by prompt."""
    held_out = job.config.held_out if isinstance(job.config, DPOConfig) else 0.0
    rows = round(num_rows * (1 - held_out))
    per_epoch = -(-rows // job.config.batch_size)
    if isinstance(job.config, DPOConfig) and job.on_policy:
        # A step takes whole prompts, and an epoch whole steps.
        per_epoch = rows // (job.config.batch_size // job.config.on_policy.samples)
    return max(1, round(per_epoch * job.config.epochs))


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The logged steps in order, held-out scores with the step they follow; of a step logged twice, the last counts."""
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    by_step: dict[int, dict[str, float]] = {}
    for line in lines:
        by_step[line["step"]] = by_step.get(line["step"], {}) | line
    return [by_step[step] for step in sorted(by_step)]


def _fit_where_there_is_room(job: TrainJob, label: str) -> None:
    """Train with fewer workers, where they are allowed, once there has been too little room for too long."""
    while True:
        try:
            _fit(job, label)
            return
        except ClusterError:
            room = room_for(_needed(job), alive_nodes())
            allowed = job.cluster.numbers_of_workers(job.config.micro_batches)
            fitting = [number for number in allowed if number <= room]
            if job.cluster.min_workers is None or not fitting:
                raise
            job = replace(job, at_work=fitting[0])
            begins = "goes on from its last checkpoint" if last_complete(job.checkpoints) else "begins"
            console.print(
                f"[yellow]warning[/]: {label} {begins} with {job.workers} of train.workers={job.cluster.workers}: the nodes that are alive "
                f"hold no more, and no others joined within wait_for_nodes_s={job.cluster.wait_for_nodes_s:g}"
            )


def _needed(job: TrainJob) -> Need:
    return needed_to_train(f"{job.stage} training", job.cluster, job.workers)


def _fit(job: TrainJob, label: str) -> None:
    cluster = job.cluster
    try:
        run_workers(
            train_worker,
            {"job": job},
            _needed(job),
            job.folder,
            max_failures=cluster.max_failures,
            wait_for_nodes_s=cluster.wait_for_nodes_s,
            in_process=cluster.in_process,
        )
    except Exception as cause:
        _check_not_fatal(job, label)
        if isinstance(cause, ClusterError):
            raise
        restarts = "" if cluster.in_process else f" after {cluster.max_failures} restarts"
        raise TrainingError(
            f"training the {job.stage} adapter failed{restarts}: {root_cause(cause)}. "
            f"Checkpoints are kept in {job.checkpoints}; mend the cause and run again to continue from there."
        ) from cause
    _check_not_fatal(job, label)


def _check_not_fatal(job: TrainJob, label: str) -> None:
    """Raise what a worker left behind that found out that the training cannot go on."""
    fatal = job.folder / FATAL
    if fatal.is_file():
        raise TrainingError(f"{label}: {json.loads(fatal.read_text(encoding='utf-8'))}") from None


@contextmanager
def _following(job: TrainJob, label: str, progress: StageProgress) -> Iterator[None]:
    """Show the first example and count the steps that appear in the metrics file while training goes on elsewhere."""
    stop = threading.Event()

    def follow() -> None:
        seen, shown = 0, False
        while True:
            last = stop.wait(0.5)
            if not shown and (shown := job.first_example.is_file()):
                _show_example(job.first_example, label)
            steps = read_metrics(job.folder / "metrics.jsonl")
            if len(steps) > seen:
                progress.advance(len(steps) - seen, _shown(steps[-1]))
                seen = len(steps)
            if last:
                return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _show_example(path: Path, label: str) -> None:
    text = path.read_text(encoding="utf-8")
    marked = ", what is learnt between « and »" if "«" in text else ""
    console.print(f"{label}: the first example as the model reads it{marked} (all of it in {path})", markup=False)
    console.print(in_brief(text), style="dim", markup=False)


def _shown(step: dict[str, Any]) -> str:
    margin = f" margin {step['rewards/margins']:.2f}" if "rewards/margins" in step else ""
    character = (
        f" drift {step['watch/drift']:.2f} ratio {step['watch/likelihood_ratio']:+.2f}" if "watch/drift" in step else ""
    )
    rate = f", {step['tokens_per_s']:,.0f} tokens/s" if "tokens_per_s" in step else ""
    used = f", MFU {step['mfu']:.0%}" if "mfu" in step else ""
    return f"loss {step['loss']:.3f}{margin}{character}{rate}{used}"
