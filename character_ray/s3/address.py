"""Where objects lie: a bucket, and what the keys of all of them begin with."""

import re
from dataclasses import dataclass

from character_ray.errors import StorageError

__all__ = ["S3Address", "is_s3"]

_SCHEME = "s3://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PART = re.compile(r"[A-Za-z0-9._=+@-]{1,255}")


def is_s3(place: object) -> bool:
    """Whether a place that a user named lies in a bucket, and not in a folder."""
    return str(place).startswith("s3:")  # with one slash too few it is a slip, not a folder


@dataclass(frozen=True)
class S3Address:
    """``s3://bucket/prefix``.

    Args:
        bucket: Name of the bucket.
        prefix: Folder inside it, without a slash at either end; empty for the whole bucket.
    """

    bucket: str
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> "S3Address":
        """The address that a user wrote.

        Raises:
            StorageError: It is not of the form ``s3://bucket/prefix``, or leads out of its prefix.
        """
        bucket, _, prefix = text.removeprefix(_SCHEME).partition("/")
        address = cls(bucket, prefix.rstrip("/"))
        whole = text.startswith(_SCHEME) and _BUCKET.fullmatch(bucket) is not None
        if not whole or not all(_is_plain(part) for part in address.prefix.split("/") if address.prefix):
            raise StorageError(
                f"{text!r} is not the address of a bucket. Write s3://bucket or s3://bucket/prefix: the bucket's name in 3 to 63 small "
                "letters, digits, dots and hyphens, every part of the prefix in letters, digits and ._=+@-."
            )
        return address

    def key(self, *parts: str) -> str:
        """Key of an object below the prefix.

        Raises:
            StorageError: A part is no plain name, such as ``..``, so the key could lie elsewhere.
        """
        odd = [part for part in parts if not _is_plain(part)]
        if odd:
            raise StorageError(
                f"{odd[0][:120]!r} cannot be the name of an object in {self}, since it may lead out of it."
            )
        return "/".join([*([self.prefix] if self.prefix else []), *parts])

    def url(self, *parts: str) -> str:
        """The object's address, for messages."""
        return f"{_SCHEME}{self.bucket}/{self.key(*parts)}"

    def __str__(self) -> str:
        return f"{_SCHEME}{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


def _is_plain(part: str) -> bool:
    return _PART.fullmatch(part) is not None and part.strip(".") != ""
