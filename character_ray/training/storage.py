"""Whether the storage of a training holds what it will write, known before anything is trained."""

import errno
import platform
import shutil
import tempfile
from pathlib import Path

from character_ray.errors import TrainingError
from character_ray.training.job import TrainJob
from character_ray.training.targets import adapter_parameters

__all__ = ["bytes_written", "check_scratch", "check_storage"]

# Adapter and both moments of AdamW, in float32, in the last checkpoint and the one being written; the adapter twice more at the end.
_BYTES_PER_PARAMETER = 2 * 12 + 2 * 4


def bytes_written(job: TrainJob) -> int:
    """Bytes that lie in the job's folder at the worst moment; metrics and trackers, which are small, are left out."""
    return _BYTES_PER_PARAMETER * adapter_parameters(job.base, job.config.lora)


def check_storage(job: TrainJob) -> None:
    """Check that the job's folder can be written and has room.

    Another program may fill the disk later; what can be known now is.

    Raises:
        TrainingError: It cannot be written, or has too little room.
    """
    _check_folder(job, job.folder, str(job.folder), "another output")


def check_scratch(job: TrainJob) -> None:
    """Make the folder on this worker's own machine that checkpoints go to first, if there is one, and check it likewise.

    Raises:
        TrainingError: It cannot be written, or has too little room.
    """
    if job.cluster.checkpoint_scratch is not None:
        scratch = job.cluster.checkpoint_scratch
        named = f"train.checkpoint_scratch={scratch} on {platform.node()}"
        _check_folder(job, scratch, named, "another folder there", make=True)


def _check_folder(job: TrainJob, folder: Path, named: str, instead: str, *, make: bool = False) -> None:
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as probe:
            probe.write(b"0" * 4096)
            probe.flush()
    except OSError as cause:
        if cause.errno != errno.ENOSPC:
            raise TrainingError(
                f"{named} cannot be written ({cause.strerror}), so the {job.stage} adapter would be lost. Mend its permissions or its "
                f"mount, or choose {instead}."
            ) from cause
        raise TrainingError(f"{named} has no room left. Free some space and run again to continue.") from cause
    free, needed = shutil.disk_usage(folder).free, bytes_written(job)
    if free < needed:
        raise TrainingError(
            f"{named} has {free / 1024**3:.1f} GiB of room, but training the {job.stage} adapter of rank {job.config.lora.rank} writes up "
            f"to {needed / 1024**3:.1f} GiB (two checkpoints with the optimizer's state, and the adapter). Free some space and run "
            f"again to continue, choose {instead}, or lower {job.stage}.lora.rank."
        )
