"""Finished stages in a bucket, for machines that share no disk.

    stages/<stage>-<hash>/done.json     what the stage said of itself, and the hash of each of its files     written last, never changed
    blobs/<sha256>                      what the files hold

A stage is named by the hash of what made it, so whatever a machine finds here is what it would have made. Files are named by their
content: a transfer that was cut off goes on with the next file, and two machines that finish the same stage cannot mix their files.
"""

import json
import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from character_ray.errors import ResumeError, StorageError
from character_ray.s3 import Bucket, S3Address
from character_ray.s3.bucket import file_sha256
from character_ray.whole_files import write_text

__all__ = ["KEPT_HERE", "Mirror"]

KEPT_HERE = ("inputs.json", "done.json", ".lock")
"""Files of a stage's folder that every machine writes itself."""

logger = logging.getLogger(__name__)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class _Done(BaseModel):
    """``done.json`` in the bucket: that of the folder, with hashes."""

    model_config = ConfigDict(extra="forbid")

    summary: dict[str, Any]
    files: dict[str, _File]
    finished: float


@dataclass(frozen=True)
class Mirror:
    """Where finished stages go and come from. Holds no connection, so it may be sent to other processes."""

    address: S3Address

    @classmethod
    def at(cls, place: str | None) -> "Mirror | None":
        """The mirror that a recipe names, if it names one.

        Raises:
            StorageError: It is not the address of a bucket.
        """
        return None if place is None else cls(S3Address.parse(place))

    def check(self) -> None:
        """See that the bucket can be written and read, before anything is made for it.

        Raises:
            StorageError: It cannot.
        """
        text = f"written when a run began, at {time.time():.0f}\n".encode()
        self._bucket.write(text, "writable.txt")
        self._bucket.read("writable.txt")

    def has(self, name: str) -> bool:
        """Whether a stage of this name lies here whole.

        Raises:
            StorageError: The bucket cannot be read.
        """
        return self._bucket.read("stages", name, "done.json") is not None

    def send(self, folder: Path) -> None:
        """Send a finished stage; what was sent of it before is left out.

        Args:
            folder: The stage's folder, with its ``done.json``.

        Raises:
            StorageError: The bucket cannot be written.
        """
        done = json.loads((folder / "done.json").read_text(encoding="utf-8"))
        files = {}
        for name in done["files"]:
            path = folder / name
            sha256 = file_sha256(path)
            self._bucket.send(path, "blobs", sha256)
            files[name] = _File(sha256=sha256, size=path.stat().st_size)
        sent = _Done(summary=done["summary"], files=files, finished=done["finished"])
        # Of two machines that finished the same stage, the first is believed.
        self._bucket.replace(sent.model_dump_json(indent=1).encode(), "stages", folder.name, "done.json", tag=None)

    def fetch(self, folder: Path) -> bool:
        """Fill a stage's folder, which the caller holds, with the finished stage of its name, if one lies here.

        What an unfinished attempt left in the folder goes; the folder is whole once its ``done.json`` is there.

        Raises:
            ResumeError: A file lies here damaged, or is missing.
            StorageError: The bucket cannot be read.
        """
        found = self._bucket.read("stages", folder.name, "done.json")
        if found is None:
            return False
        done = self._parse(folder.name, found.data)
        scratch = folder.parent / ".fetched" / folder.name
        for name, file in done.files.items():
            self._fetch(scratch / name, file, folder.name)
        for path in folder.iterdir():
            if path.name not in KEPT_HERE:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        scratch.mkdir(parents=True, exist_ok=True)
        for path in scratch.iterdir():
            path.rename(folder / path.name)
        sizes = {name: file.size for name, file in done.files.items()}
        written = {"summary": done.summary, "files": sizes, "finished": done.finished}
        write_text(folder / "done.json", json.dumps(written, indent=1, ensure_ascii=False) + "\n")
        shutil.rmtree(scratch, ignore_errors=True)
        logger.info("%s: %d files from %s", folder.name, len(done.files), self.address)
        return True

    def _fetch(self, path: Path, file: _File, stage: str) -> None:
        if path.is_file() and file_sha256(path) == file.sha256:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._bucket.fetch(path, "blobs", file.sha256, sha256=file.sha256)
        except StorageError as cause:
            raise ResumeError(
                f"{stage} lies finished in {self.address}, but a file of it could not be taken from there: {cause} If it is lost, "
                f"delete {self.address.url('blobs', file.sha256)} and {self.address.url('stages', stage, 'done.json')}, and run again: "
                "the stage is then made anew, or sent again by a machine that has it."
            ) from cause

    def _parse(self, stage: str, data: bytes) -> _Done:
        where = self.address.url("stages", stage, "done.json")
        try:
            done = _Done.model_validate_json(data)
        except ValidationError as failure:
            raise ResumeError(
                f"{where} is not what a stage leaves when it is done ({failure.errors()[0]['msg']}). Delete it and run again."
            ) from None
        odd = [name for name in done.files if not _stays_inside(name)]
        if odd:
            raise ResumeError(
                f"{where} names the file {odd[0][:120]!r}, which may lie outside of the stage's folder. Delete it."
            )
        return done

    @property
    def _bucket(self) -> Bucket:
        return Bucket(self.address)


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return (
        bool(path.parts)
        and not path.is_absolute()
        and ".." not in path.parts
        and "\\" not in name
        and path.parts[0] not in KEPT_HERE
    )
