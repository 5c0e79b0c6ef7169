"""Whether the storage of a training holds what it will write, known before anything is trained."""

import errno
import shutil
import tempfile
from pathlib import Path

from character_ray.errors import TrainingError
from character_ray.training.job import TrainJob
from character_ray.training.targets import adapter_parameters

__all__ = ["bytes_written", "check_storage"]

# Adapter and both moments of AdamW, in float32, in the last checkpoint and the one being written; the adapter twice more at the end.
_BYTES_PER_PARAMETER = 2 * 12 + 2 * 4


def bytes_written(job: TrainJob) -> int:
    """Bytes that lie in the job's folder at the worst moment; metrics and trackers, which are small, are left out."""
    return _BYTES_PER_PARAMETER * adapter_parameters(job.base, job.config.lora)


def check_storage(job: TrainJob) -> None:
    """Check that the job's folder, and the scratch folder of its checkpoints, can be written and have room.

    Another program may fill the disk later; what can be known now is.

    Raises:
        TrainingError: One cannot be written, or has too little room.
    """
    needed = bytes_written(job)
    _check_folder(job, job.folder, needed)
    if job.cluster.checkpoint_scratch is not None:
        job.cluster.checkpoint_scratch.mkdir(parents=True, exist_ok=True)
        _check_folder(job, job.cluster.checkpoint_scratch, needed)


def _check_folder(job: TrainJob, folder: Path, needed: int) -> None:
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as probe:
            probe.write(b"0" * 4096)
            probe.flush()
    except OSError as cause:
        if cause.errno != errno.ENOSPC:
            raise TrainingError(
                f"{folder} cannot be written ({cause.strerror}), so the {job.stage} adapter would be lost. Mend its permissions or its "
                "mount, or choose another output."
            ) from cause
        raise TrainingError(f"{folder} has no room left. Free some space and run again to continue.") from cause
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise TrainingError(
            f"{folder} has {free / 1024**3:.1f} GiB of room, but training the {job.stage} adapter of rank {job.config.lora.rank} writes up "
            f"to {needed / 1024**3:.1f} GiB (two checkpoints with the optimizer's state, and the adapter). Free some space and run "
            f"again to continue, choose another output, or lower {job.stage}.lora.rank."
        )
