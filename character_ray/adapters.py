"""The manifest beside every adapter, and the checks that make an adapter safe to load.

An adapter is a PEFT folder: ``adapter_config.json``, ``adapter_model.safetensors``, ``manifest.json`` and a model card. Nothing in it
is ever unpickled, and no other weight format is read.
"""

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from character_ray.errors import AdapterError
from character_ray.manifest import BaseModelId, Manifest
from character_ray.model_card import model_card
from character_ray.models import hub_id
from character_ray.runs import write_json

__all__ = [
    "BaseModelId",
    "Manifest",
    "adapter_config",
    "adapter_rank",
    "load_manifest",
    "weights_hash",
    "write_manifest",
]

_WEIGHTS = "adapter_model.safetensors"
# What decides, beside the weights, how strongly an adapter acts.
_SCALE_KEYS = ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern")
_LARGEST_TEXT = 4 * 2**20
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def weights_hash(folder: Path) -> str:
    """Sixteen hex digits of the SHA-256 of an adapter's weights and of its scale.

    Raises:
        AdapterError: The folder has no safetensors.
    """
    path = folder / _WEIGHTS
    if not path.is_file():
        raise AdapterError(
            f"{folder}: {_WEIGHTS} is missing, so this is not an adapter. Give the folder that holds it."
        )
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(2**24):
            digest.update(chunk)
    config = adapter_config(folder)
    digest.update(json.dumps({key: config.get(key) for key in _SCALE_KEYS}, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def adapter_rank(folder: Path) -> int:
    """Rank of the adapter in a PEFT folder.

    Raises:
        AdapterError: The folder has no readable ``adapter_config.json`` or names no rank.
    """
    rank = adapter_config(folder).get("r")
    if not isinstance(rank, int):
        raise AdapterError(
            f"{folder}/adapter_config.json: the rank r={rank!r} is not a whole number. Is this a LoRA adapter?"
        )
    return rank


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put the manifest and the model card that says the same to a reader beside the adapter.

    PEFT's configuration gets the name of the base that the hub knows, or none: the folder it was trained from is this machine's.

    Raises:
        AdapterError: The folder has no readable ``adapter_config.json``.
    """
    base = hub_id(manifest.base_model.name)
    named = {"base_model_name_or_path": base, "revision": manifest.base_model.revision if base else None}
    write_json(folder / "adapter_config.json", adapter_config(folder) | named)
    write_json(folder / "manifest.json", manifest.model_dump())
    (folder / "README.md").write_text(model_card(manifest), encoding="utf-8")


def load_manifest(folder: Path) -> Manifest:
    """The manifest of an adapter whose files have been checked against it.

    Raises:
        AdapterError: Files are missing, pickled, altered since the manifest was written, or the manifest is not valid.
    """
    pickles = [path.name for path in folder.glob("*") if path.suffix in _PICKLES]
    if pickles:
        raise AdapterError(
            f"{folder}: holds {', '.join(sorted(pickles))}. Pickled weights can run code when loaded, so only safetensors are accepted. "
            "Remove them, or convert them with safetensors."
        )
    path = folder / "manifest.json"
    if not path.is_file():
        raise AdapterError(
            f"{folder}: manifest.json is missing, so nobody can tell which base model it belongs to. Train it with this package."
        )
    try:
        manifest = Manifest.model_validate_json(_text(path))
    except (OSError, UnicodeDecodeError) as cause:
        raise AdapterError(f"{path}: is not a valid manifest ({cause}). Restore the folder from its run.") from None
    except ValidationError as failure:
        raise AdapterError(
            f"{path}: is not a valid manifest: {failure.errors()[0]['loc']}: {failure.errors()[0]['msg']}."
        ) from None
    found = weights_hash(folder)
    if found != manifest.weights_hash:
        raise AdapterError(
            f"{folder}: the weights have hash {found} but the manifest says {manifest.weights_hash}: they were changed or damaged "
            "after training. Restore the folder from its run."
        )
    if adapter_rank(folder) != manifest.rank:
        raise AdapterError(
            f"{folder}: adapter_config.json says rank {adapter_rank(folder)}, the manifest {manifest.rank}. Restore the folder."
        )
    return manifest


def adapter_config(folder: Path) -> dict[str, Any]:
    """What ``adapter_config.json`` says.

    Raises:
        AdapterError: It is missing, no regular file, too large to be one, or not a JSON object.
    """
    path = folder / "adapter_config.json"
    try:
        config = json.loads(_text(path))
    except FileNotFoundError:
        raise AdapterError(
            f"{path} is missing, so this is not a PEFT adapter. Give the folder that holds it."
        ) from None
    except OSError as cause:
        raise AdapterError(f"{path} cannot be read ({cause.strerror}). Restore the folder from its run.") from None
    except (ValueError, RecursionError) as cause:  # what is no JSON, and what is no text
        raise AdapterError(f"{path} is not readable JSON ({cause}). Restore the folder from its run.") from None
    if not isinstance(config, dict):
        raise AdapterError(f"{path} holds no JSON object. Restore the folder from its run.")
    return config


def _text(path: Path) -> str:
    """The text of a small regular file: a device or a pipe in its place would be read forever.

    Raises:
        AdapterError: It is neither small nor regular.
        FileNotFoundError: There is none.
        UnicodeDecodeError: It is no text.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST_TEXT:
        raise AdapterError(
            f"{path} is no regular file of at most {_LARGEST_TEXT:,} bytes, so it is not read. Restore the folder from its run."
        )
    return path.read_text(encoding="utf-8")
