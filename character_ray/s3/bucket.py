"""What is done with objects: small ones are read and replaced under a condition, large ones sent and fetched by their hash."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from character_ray.errors import StorageError
from character_ray.s3.address import S3Address
from character_ray.s3.client import error_code, failures_told, s3_client
from character_ray.whole_files import being_written

__all__ = ["Bucket", "Stored", "file_sha256"]

_ABSENT = {"404", "NoSuchKey", "NotFound"}
# A condition did not hold, or another conditional write of the same key was under way.
_LOST = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}
_CHUNK = 2**24


@dataclass(frozen=True)
class Stored:
    """A small object as it was read."""

    data: bytes
    tag: str
    """Names this content of the key."""


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True)
class Bucket:
    """The objects below one address. Holds no connection, so it may be sent to other processes.

    Objects are named by the parts of their key below the address. All methods raise :class:`StorageError` when the bucket cannot be
    reached, does not exist, or refuses.
    """

    address: S3Address

    def read(self, *parts: str) -> Stored | None:
        """A small object; ``None`` if there is none.

        Raises:
            StorageError: The bucket could not be read.
        """
        with failures_told(self.address):
            try:
                answer = self._client.get_object(Bucket=self.address.bucket, Key=self.address.key(*parts))
                return Stored(answer["Body"].read(), answer["ETag"])
            except self._client.exceptions.ClientError as error:
                if error_code(error) in _ABSENT:
                    return None
                raise

    def write(self, data: bytes, *parts: str) -> None:
        """Write a small object, whatever is there.

        Raises:
            StorageError: The bucket could not be written.
        """
        with failures_told(self.address):
            self._client.put_object(Bucket=self.address.bucket, Key=self.address.key(*parts), Body=data)

    def replace(self, data: bytes, *parts: str, tag: str | None) -> bool:
        """Write a small object if nobody changed it since; whether it was written.

        Args:
            data: The new content.
            parts: Its key below the address.
            tag: Of the content it takes the place of; ``None`` if there must be none yet.

        Raises:
            StorageError: The bucket could not be written.
        """
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        with failures_told(self.address):
            try:
                key = self.address.key(*parts)
                self._client.put_object(Bucket=self.address.bucket, Key=key, Body=data, **condition)
            except self._client.exceptions.ClientError as error:
                # A key that was removed since has no tag to match.
                if error_code(error) in _LOST or (tag is not None and error_code(error) in _ABSENT):
                    return False
                raise
        return True

    def tags(self, folder: str) -> dict[str, str]:
        """Tag of every object directly below a folder, by the last part of its key.

        Raises:
            StorageError: The bucket could not be listed.
        """
        prefix = self.address.key(folder) + "/"
        with failures_told(self.address):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.address.bucket, Prefix=prefix, Delimiter="/"
            )
            return {
                each["Key"].removeprefix(prefix): each["ETag"] for page in pages for each in page.get("Contents", ())
            }

    def holds(self, path: Path, *parts: str, sha256: str) -> bool:
        """Whether an object is there that was sent from a file like this one.

        Raises:
            StorageError: The bucket could not be read.
        """
        return self._head(parts) == (path.stat().st_size, sha256)

    def send(self, path: Path, *parts: str) -> bool:
        """Send a file, in pieces if it is large, unless it is there already; whether anything was sent.

        Raises:
            StorageError: The bucket could not be written.
        """
        sha256 = file_sha256(path)
        if self.holds(path, *parts, sha256=sha256):
            return False
        with failures_told(self.address), path.open("rb") as stream:
            self._client.upload_fileobj(
                stream,
                self.address.bucket,
                self.address.key(*parts),
                ExtraArgs={"Metadata": {"sha256": sha256}},
            )
        return True

    def fetch(self, path: Path, *parts: str, sha256: str = "") -> None:
        """Fetch an object into a file, which appears once it is whole and has the right content.

        Args:
            path: The file.
            parts: The object's key below the address.
            sha256: What it must hold; else what it held when it was sent, where the bucket knows.

        Raises:
            StorageError: The object is missing or damaged, or the bucket could not be read.
        """
        head = self._head(parts)
        if head is None:
            raise StorageError(f"{self.address.url(*parts)} is missing.")
        wanted = sha256 or head[1]
        with being_written(path) as scratch:
            with failures_told(self.address), scratch.open("wb") as stream:
                self._client.download_fileobj(self.address.bucket, self.address.key(*parts), stream)
            if wanted and file_sha256(scratch) != wanted:
                raise StorageError(
                    f"{self.address.url(*parts)} is damaged: it holds {file_sha256(scratch)[:16]}, not {wanted[:16]}."
                )

    def _head(self, parts: tuple[str, ...]) -> tuple[int, str] | None:
        """Bytes of an object, and its hash where it was written down; ``None`` if there is no such object."""
        with failures_told(self.address):
            try:
                head = self._client.head_object(Bucket=self.address.bucket, Key=self.address.key(*parts))
            except self._client.exceptions.ClientError as error:
                if error_code(error) in _ABSENT:
                    return None
                raise
        return int(head["ContentLength"]), str(head["Metadata"].get("sha256", ""))

    @property
    def _client(self) -> Any:
        return s3_client(self.address)
