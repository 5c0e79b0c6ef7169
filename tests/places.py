"""A folder and a bucket as tests see them from outside: what lies there, and somebody who changes it."""

import shutil
from pathlib import Path
from typing import Any, Protocol

__all__ = ["BucketPlace", "FolderPlace", "Place"]


class Place(Protocol):
    """Where a registry lies."""

    @property
    def address(self) -> str:
        """As a user names it."""

    def names(self) -> list[str]:
        """Files or objects below it."""

    def write(self, key: str, data: bytes) -> None:
        """Overwrite one of them."""

    def remove(self, key: str) -> None:
        """Remove one of them."""

    def remove_all(self) -> None:
        """Remove the place itself."""


class FolderPlace:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def address(self) -> str:
        return str(self.folder)

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def write(self, key: str, data: bytes) -> None:
        (self.folder / key).write_bytes(data)

    def remove(self, key: str) -> None:
        (self.folder / key).unlink()

    def remove_all(self) -> None:
        shutil.rmtree(self.folder)


class BucketPlace:
    """A bucket; what is tested lies below a prefix of it."""

    def __init__(self, bucket: str, client: Any) -> None:
        self.bucket, self.client, self.prefix = bucket, client, "some/where/"

    @property
    def address(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def names(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return sorted(each["Key"].removeprefix(self.prefix) for each in found)

    def read(self, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"].read()
        return data

    def write(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=data)

    def remove(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def remove_all(self) -> None:
        for key in self.names():
            self.remove(key)
        self.client.delete_bucket(Bucket=self.bucket)
