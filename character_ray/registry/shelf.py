"""What a registry asks of the place it lies in.

    adapters/<weights hash>/    adapter_config.json · adapter_model.safetensors · manifest.json     never changed once written
    reports/<weights hash>.json what was measured, without the answers; not of every version        replaced as a whole
    personas/<slug>.json        every version, which one is live, and which was when                replaced as a whole
    policy.json                 bounds that whatever goes live must keep; not in every registry     replaced as a whole

The layout is the same in a folder and in a bucket, so one can be copied to the other.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from character_ray.manifest import Manifest

__all__ = ["FILES", "Edit", "Shelf"]

FILES = ("adapter_config.json", "adapter_model.safetensors", "manifest.json")
"""What a registry keeps of an adapter; the manifest is written last."""

Edit = Callable[[str | None], str]
"""A record's new text from what it is now; ``None`` if there is none yet. It may be called more than once."""


class Shelf(Protocol):
    """A place for records and adapters."""

    def names(self) -> list[str]:
        """Slugs of all records.

        Raises:
            RegistryError: The place is not there.
            StorageError: The bucket cannot be read.
        """

    def read(self, slug: str) -> str | None:
        """A record; ``None`` if there is none.

        Raises:
            RegistryError: It cannot be read.
            StorageError: The bucket cannot be read.
        """

    def look(self) -> dict[str, str | Exception]:
        """Every record, or why it cannot be read, by slug; a place that is not there has none."""

    def change(self, slug: str, edit: Edit) -> None:
        """Replace a record as a whole; of several who do so at once, each sees what the one before wrote.

        Raises:
            RegistryError: Others changed it all the time.
            StorageError: The bucket cannot be read or written.
        """

    def adapter(self, weights_hash: str) -> Path:
        """Folder of a published adapter on this machine; whoever uses it checks it.

        Raises:
            AdapterError: It is missing or damaged.
            StorageError: The bucket cannot be read.
        """

    def manifest(self, weights_hash: str) -> Manifest:
        """Manifest of a published adapter.

        Raises:
            AdapterError: It is missing or damaged.
            StorageError: The bucket cannot be read.
        """

    def store(self, adapter: Path, weights_hash: str) -> None:
        """Copy an adapter to where its hash names it, unless it is there whole.

        Raises:
            AdapterError: It changed while it was copied.
            StorageError: The bucket cannot be written.
        """

    def report(self, weights_hash: str) -> str | None:
        """The report that is kept of a published adapter; ``None`` if there is none.

        Raises:
            RegistryError: It cannot be read.
            StorageError: The bucket cannot be read.
        """

    def keep_report(self, weights_hash: str, text: str) -> None:
        """Keep a report, in place of an earlier one.

        Raises:
            StorageError: The bucket cannot be written.
        """

    def policy(self) -> str | None:
        """The registry's policy; ``None`` if there is none.

        Raises:
            RegistryError: It cannot be read.
            StorageError: The bucket cannot be read.
        """

    def keep_policy(self, text: str) -> None:
        """Keep a policy, in place of an earlier one.

        Raises:
            StorageError: The bucket cannot be written.
        """
