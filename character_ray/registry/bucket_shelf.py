"""A registry in a bucket.

Records are replaced under a condition (``If-Match``, ``If-None-Match``): whoever was overtaken reads the record anew and changes that.
Adapters are sent once and fetched once for each machine, into the cache folder, and checked against their hash there.
"""

import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from pydantic import ValidationError

from character_ray.adapters import load_manifest
from character_ray.errors import AdapterError, RegistryError, StorageError
from character_ray.manifest import Manifest
from character_ray.models import build_once, cache_folder
from character_ray.registry.shelf import FILES, Edit
from character_ray.s3 import Bucket, S3Address

__all__ = ["BucketShelf"]

_LONGEST_WAIT_S = 0.5

# What this process last read of every record, so that a look asks for those only whose tag is another.
_LAST_READ: dict[tuple[str, str], tuple[str, str]] = {}


class BucketShelf:
    """The objects below one address.

    Args:
        address: The address.
        attempts: How often a change is made again that others overtook.
    """

    def __init__(self, address: S3Address, attempts: int = 60) -> None:
        self._address, self._bucket, self._attempts = address, Bucket(address), attempts
        server = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        self._place = f"{server} {address}"

    def names(self) -> list[str]:
        """Slugs of all records.

        Raises:
            StorageError: The bucket cannot be read.
        """
        return sorted(self._tags())

    def read(self, slug: str) -> str | None:
        """A record; ``None`` if there is none.

        Raises:
            RegistryError: It is no text.
            StorageError: The bucket cannot be read.
        """
        found = self._bucket.read("personas", f"{slug}.json")
        return None if found is None else self._text(slug, found.data)

    def look(self) -> dict[str, str | Exception]:
        """Every record, or why it cannot be read, by slug: one listing, and one request for each that is new.

        Raises:
            StorageError: The bucket cannot be listed.
        """
        found: dict[str, str | Exception] = {}
        for slug, tag in sorted(self._tags().items()):
            last = _LAST_READ.get((self._place, slug))
            if last is not None and last[0] == tag:
                found[slug] = last[1]
                continue
            try:
                stored = self._bucket.read("personas", f"{slug}.json")
                if stored is None:
                    continue
                found[slug] = text = self._text(slug, stored.data)
                _LAST_READ[self._place, slug] = (stored.tag, text)
            except (RegistryError, StorageError) as error:
                found[slug] = error
        return found

    def change(self, slug: str, edit: Edit) -> None:
        """Replace a record as a whole, unless another did in the meantime; then change what that one wrote.

        Raises:
            RegistryError: Others changed it all the time.
            StorageError: The bucket cannot be read or written.
        """
        for attempt in range(self._attempts):
            found = self._bucket.read("personas", f"{slug}.json")
            text = edit(None if found is None else self._text(slug, found.data))
            tag = None if found is None else found.tag
            if self._bucket.replace(text.encode(), "personas", f"{slug}.json", tag=tag):
                return
            # One of those who collide is always let through, so waiting a little is enough.
            time.sleep(min(0.02 * attempt, _LONGEST_WAIT_S))
        raise RegistryError(
            f"{self._address}: others changed the record of {slug} {self._attempts} times while it was to be changed. Try again."
        )

    def adapter(self, weights_hash: str) -> Path:
        """Folder of a published adapter on this machine, fetched if it is not there or was damaged here.

        Raises:
            AdapterError: The bucket holds other weights than the hash names.
            StorageError: It is missing in the bucket, or damaged, or the bucket cannot be read.
        """

        def fetch(folder: Path) -> None:
            for name in FILES:
                self._bucket.fetch(folder / name, "adapters", weights_hash, name)
            found = load_manifest(folder).weights_hash
            if found != weights_hash:
                raise AdapterError(f"its manifest names weights {found}.")

        address = hashlib.sha256(self._place.encode()).hexdigest()[:16]
        target = cache_folder() / "registries" / address / weights_hash
        try:
            if target.is_dir():
                load_manifest(target)
        except AdapterError:
            shutil.rmtree(target, ignore_errors=True)
        build_once(target, fetch)
        return target

    def manifest(self, weights_hash: str) -> Manifest:
        """Manifest of a published adapter, read alone.

        Raises:
            AdapterError: It is missing or damaged.
            StorageError: The bucket cannot be read.
        """
        where = self._address.url("adapters", weights_hash, "manifest.json")
        found = self._bucket.read("adapters", weights_hash, "manifest.json")
        if found is None:
            raise AdapterError(f"{where} is missing. Publish its run again.")
        try:
            return Manifest.model_validate_json(found.data)
        except ValidationError as failure:
            raise AdapterError(f"{where} is not a valid manifest ({failure.errors()[0]['msg']}).") from None

    def store(self, adapter: Path, weights_hash: str) -> None:
        """Send an adapter to where its hash names it; of one that is there, only what is missing or damaged is sent.

        Raises:
            AdapterError: It changed while it was copied.
            StorageError: The bucket cannot be written.
        """
        with tempfile.TemporaryDirectory(prefix="character-ray-") as scratch:
            for name in FILES:
                shutil.copyfile(adapter / name, Path(scratch) / name)
            load_manifest(Path(scratch))  # what is sent is what was checked
            *weights, manifest = FILES
            for name in weights:
                self._bucket.send(Path(scratch) / name, "adapters", weights_hash, name)
            text = (Path(scratch) / manifest).read_bytes()
            # The first manifest of these weights stays, unless it is damaged; it says that all of them are there.
            if not self._bucket.replace(text, "adapters", weights_hash, manifest, tag=None):
                self._mend(weights_hash, text)

    def report(self, weights_hash: str) -> str | None:
        """The report that is kept of a published adapter; ``None`` if there is none.

        Raises:
            RegistryError: It is no text.
            StorageError: The bucket cannot be read.
        """
        return self._read_text("Publish the run again.", "reports", f"{weights_hash}.json")

    def keep_report(self, weights_hash: str, text: str) -> None:
        """Keep a report, in place of an earlier one.

        Raises:
            StorageError: The bucket cannot be written.
        """
        self._bucket.write(text.encode(), "reports", f"{weights_hash}.json")

    def policy(self) -> str | None:
        """The registry's policy; ``None`` if there is none.

        Raises:
            RegistryError: It is no text.
            StorageError: The bucket cannot be read.
        """
        return self._read_text("Write it anew.", "policy.json")

    def keep_policy(self, text: str) -> None:
        """Keep a policy, in place of an earlier one.

        Raises:
            StorageError: The bucket cannot be written.
        """
        self._bucket.write(text.encode(), "policy.json")

    def _mend(self, weights_hash: str, manifest: bytes) -> None:
        try:
            whole = self.manifest(weights_hash).weights_hash == weights_hash
        except AdapterError:
            whole = False
        if not whole:
            self._bucket.write(manifest, "adapters", weights_hash, "manifest.json")

    def _tags(self) -> dict[str, str]:
        tags = self._bucket.tags("personas")
        return {name.removesuffix(".json"): tag for name, tag in tags.items() if name.endswith(".json")}

    def _read_text(self, remedy: str, *name: str) -> str | None:
        found = self._bucket.read(*name)
        return None if found is None else self._decoded(found.data, remedy, *name)

    def _text(self, slug: str, data: bytes) -> str:
        return self._decoded(data, "Restore an earlier version of it.", "personas", f"{slug}.json")

    def _decoded(self, data: bytes, remedy: str, *name: str) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError as cause:
            raise RegistryError(f"{self._address.url(*name)} cannot be read ({cause}). {remedy}") from None
