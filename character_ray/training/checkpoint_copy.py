"""Checkpoints that go to the run's storage while training goes on.

    trainer -> scratch folder on the machine's own disk -> (a thread of each worker, its own files) -> the run's storage

Training waits for its own disk only. A checkpoint has another name until every worker's files are there; until then the one before it
stays.
"""

import os
import re
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from character_ray.errors import TrainingError
from character_ray.training.checkpoints import last_complete

__all__ = ["CopiesCheckpoints", "files_of"]

_COPYING = "copying"
_MARK = "copied-"

# transformers names a worker's random state, and DeepSpeed its share of the optimizer, by the worker's rank.
_RANK = re.compile(r"(?:^rng_state_|_pp_rank_)(\d+)")


def files_of(rank: int, folder: Path) -> list[Path]:
    """The files of a checkpoint that one worker writes, relative to it; what bears no rank is the first worker's."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [name for name in names if _owner(name.name) == rank]


def _owner(name: str) -> int:
    found = _RANK.search(name)
    return int(found[1]) if found else 0


class CopiesCheckpoints(TrainerCallback):
    """Copies each checkpoint from the scratch folder to storage, one at a time, behind the training.

    Args:
        storage: Where checkpoints are looked for when training goes on.
        rank: This worker's number.
        workers: How many there are.
    """

    def __init__(self, storage: Path, rank: int, workers: int) -> None:
        self._storage, self._rank, self._workers = storage, rank, workers
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._copying: Future[None] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Remove what a killed attempt left in the scratch folder and had begun to copy; no worker saves before all have begun."""
        for path in Path(str(args.output_dir)).glob("checkpoint-*"):
            shutil.rmtree(path, ignore_errors=True)  # the other workers of this machine do so, too
        if self._rank == 0:
            for path in self._storage.glob(f"{_COPYING}-*"):
                shutil.rmtree(path)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Begin to copy what was just written, once the one before has arrived.

        Raises:
            TrainingError: The one before could not be copied.
        """
        self._wait()
        self._copying = self._thread.submit(self._copy, Path(str(args.output_dir)), state.global_step)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Wait for the last copy.

        Raises:
            TrainingError: It failed.
        """
        self._wait()
        self._thread.shutdown()

    def _wait(self) -> None:
        if self._copying is None:
            return
        try:
            self._copying.result()
        except OSError as cause:
            raise TrainingError(
                f"a checkpoint could not be copied to {self._storage}: {cause}. Mend the storage and run again: training goes on from the "
                "last checkpoint that arrived there."
            ) from cause

    def _copy(self, scratch: Path, step: int) -> None:
        source, target = scratch / f"checkpoint-{step}", self._storage / f"{_COPYING}-{step}"
        for name in files_of(self._rank, source):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{_MARK}{self._rank}").touch()
        if len(list(target.glob(f"{_MARK}*"))) < self._workers:
            return
        try:
            os.rename(target, self._storage / source.name)
        except FileNotFoundError:  # another worker arrived at the same time and renamed it
            return
        self._drop_older()

    def _drop_older(self) -> None:
        kept = last_complete(self._storage)
        for path in self._storage.glob("checkpoint-*"):
            if kept is not None and path != Path(kept):
                shutil.rmtree(path, ignore_errors=True)
