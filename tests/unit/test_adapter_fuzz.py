"""Adapter folders that somebody broke on purpose: each is refused with our error, and nothing else happens."""

import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from character_ray.adapters import BaseModelId, Manifest, load_manifest, weights_hash, write_manifest
from character_ray.config import ServeConfig
from character_ray.errors import AdapterError, RegistryError
from character_ray.live_adapter import check_live
from character_ray.models import model_hash, template_hash
from character_ray.registry import Registry
from character_ray.serving.personas import load_personas

RANK, WIDTH, HEIGHT = 2, 6, 4
TARGETS = ["q_proj", "down_proj"]
LAYERS = ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.down_proj"]
WEIGHTS = "adapter_model.safetensors"
MUTANTS = 1500


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_file(
        {f"{layer}.weight": np.zeros((HEIGHT, WIDTH), np.float32) for layer in LAYERS}, folder / "model.safetensors"
    )
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


def factors(
    width: int = WIDTH, height: int = HEIGHT, rank: int = RANK, layers: list[str] = LAYERS
) -> dict[str, np.ndarray]:
    shapes = {"A": (rank, width), "B": (height, rank)}
    return {
        f"base_model.model.{layer}.lora_{side}.weight": np.ones(shape, np.float32)
        for layer in layers
        for side, shape in shapes.items()
    }


@pytest.fixture
def adapter(tmp_path: Path, base: Path) -> Path:
    """A folder that is as it should be."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file(factors(), folder / WEIGHTS)
    (folder / "adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": RANK}))
    sign(folder, base)
    return folder


def sign(folder: Path, base: Path, **changes: object) -> None:
    """Write a manifest that fits what is there, as somebody would who wants the folder to be served."""
    good = {
        "persona": "Pirate",
        "slug": "pirate",
        "stage": "full",
        "base_model": BaseModelId(name="tiny", hash=model_hash(base)),
        "template_hash": template_hash(base),
        "constitution_hash": "c",
        "rank": RANK,
        "weights_hash": weights_hash(folder),
    }
    write_manifest(folder, Manifest(**(good | changes)))


def accept(folder: Path, base: Path) -> None:
    """Everything a server does with an adapter before an engine sees it."""
    (persona,) = load_personas("tiny", base, [folder], ServeConfig())
    check_live(folder, persona.manifest.persona, TARGETS, base)


def test_the_unbroken_folder_is_accepted(adapter: Path, base: Path):
    accept(adapter, base)


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        (factors(width=WIDTH + 1), "but the base has 4 x 6"),
        (factors(height=HEIGHT - 1), "but the base has 4 x 6"),
        (factors(rank=RANK + 1), "has rank 3 and 3"),
        (factors(layers=[*LAYERS, "model.layers.9.mlp.down_proj"]), "no such layer"),
        ({name: each for name, each in factors().items() if "lora_A" in name}, "only factor A"),
        ({name: each.astype(np.int32) for name, each in factors().items()}, "numbers of type I32"),
        ({name: each.ravel() for name, each in factors().items()}, "no factor of a linear layer"),
        (
            factors() | {"base_model.model.lm_head.weight": np.ones((2, 2), np.float32)},
            "leaves as in the base|no factor",
        ),
        (factors() | {"../../etc/passwd": np.ones((2, 2), np.float32)}, "leaves as in the base|no factor"),
        ({}, "changes no layer"),
    ],
    ids=["wide", "low", "rank", "layer", "half", "integers", "flat", "head", "path", "empty"],
)
def test_weights_that_do_not_fit_are_refused_with_the_reason(adapter: Path, base: Path, tensors, complaint: str):
    save_file(tensors, adapter / WEIGHTS)
    sign(adapter, base)
    with pytest.raises(AdapterError, match=complaint):
        accept(adapter, base)


@pytest.mark.parametrize("length", [0, 2**20, 2**40, 2**63, 2**64 - 1])
def test_a_header_that_claims_another_length_is_refused(adapter: Path, base: Path, length: int):
    content = (adapter / WEIGHTS).read_bytes()
    (adapter / WEIGHTS).write_bytes(struct.pack("<Q", length) + content[8:])
    sign(adapter, base)
    with pytest.raises(AdapterError, match="not a whole safetensors file"):
        accept(adapter, base)


def test_weights_cut_off_anywhere_are_refused(adapter: Path, base: Path):
    content = (adapter / WEIGHTS).read_bytes()
    for length in range(len(content)):
        (adapter / WEIGHTS).write_bytes(content[:length])
        sign(adapter, base)
        with pytest.raises(AdapterError):
            accept(adapter, base)


@pytest.mark.parametrize("name", ["adapter_config.json", "manifest.json"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"r"',
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"r": "2"}',
        b'{"r": 1e999}',
        b'{"r": true}',
        b" " * 2**23,
    ],
    ids=[
        "empty",
        "null",
        "list",
        "number",
        "text",
        "open",
        "bytes",
        "deep",
        "rank as text",
        "infinite",
        "bool",
        "huge",
    ],
)
def test_a_description_that_is_none_is_refused(adapter: Path, base: Path, name: str, content: bytes):
    (adapter / name).write_bytes(content)
    with pytest.raises(AdapterError):
        accept(adapter, base)


@pytest.mark.parametrize("name", ["adapter_config.json", "manifest.json", WEIGHTS])
@pytest.mark.parametrize("place", ["/dev/zero", "a folder", "a pipe", "nothing", "itself"])
def test_what_is_no_file_is_not_read(adapter: Path, base: Path, name: str, place: str):
    path = adapter / name
    path.unlink()
    if place == "a folder":
        path.mkdir()
    elif place == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"nothing": "absent", "itself": name}.get(place, place))
    with pytest.raises(AdapterError):
        accept(adapter, base)


@pytest.mark.parametrize(
    "slug",
    [
        "../up",
        "/etc/passwd",
        "a/b",
        "..",
        ".",
        "",
        "A",
        "a b",
        "a\n",
        "a\0",
        "-a",
        "x" * 10_000 + "/",
        "base:a",
        "%2e%2e",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(adapter: Path, base: Path, slug: str, tmp_path: Path):
    manifest = json.loads((adapter / "manifest.json").read_text()) | {"slug": slug}
    (adapter / "manifest.json").write_text(json.dumps(manifest))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(AdapterError, match="slug"):
        accept(adapter, base)
    registry = Registry(tmp_path / "registry")
    with pytest.raises(AdapterError, match="slug"):
        registry.publish(adapter, "live")
    for ask in (registry.record, registry.roll_back, registry.retire):
        with pytest.raises(RegistryError):
            ask(slug)
    kept = [path for path in sorted(tmp_path.rglob("*")) if tmp_path / "registry" not in (path, *path.parents)]
    assert kept == before


def test_an_adapter_of_another_base_is_refused(adapter: Path, base: Path):
    sign(adapter, base, base_model=BaseModelId(name="other", hash="0" * 16))
    with pytest.raises(AdapterError, match="was trained on other"):
        accept(adapter, base)


def test_pickles_are_never_opened(adapter: Path, base: Path):
    (adapter / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(AdapterError, match="Pickled weights"):
        accept(adapter, base)


def test_bytes_changed_at_random_are_refused_or_harmless(adapter: Path, base: Path):
    """Whoever changes bytes and signs again gets either our error or an adapter of the right shapes."""
    draw = random.Random(0)
    originals = {name: (adapter / name).read_bytes() for name in (WEIGHTS, "adapter_config.json", "manifest.json")}
    refused = 0
    for _ in range(MUTANTS):
        name = draw.choice(sorted(originals))
        (adapter / name).write_bytes(mutated(originals[name], draw))
        try:
            if name == WEIGHTS:
                sign(adapter, base)
            accept(adapter, base)
        except AdapterError as error:
            assert len(str(error)) < 4000
            refused += 1
        else:
            assert load_manifest(adapter).slug
        for each, content in originals.items():
            (adapter / each).write_bytes(content)
    assert refused > MUTANTS / 2


MUTATIONS: list[Callable[[bytearray, random.Random], bytes]] = [
    lambda content, draw: bytes(content[: draw.randrange(len(content))]),
    lambda content, draw: bytes(content) + draw.randbytes(draw.randrange(1, 64)),
    lambda content, draw: draw.randbytes(draw.randrange(256)),
    lambda content, draw: bytes(content).replace(b"2", str(draw.choice([-1, 0, 10**30])).encode()),
    lambda content, draw: bytes(content).replace(b'"', draw.choice([b"'", b"[", b"\0", b'"\\ud800'])),
]


def mutated(content: bytes, draw: random.Random) -> bytes:
    """The content with a few bytes changed, a piece cut off, or something put in."""
    if draw.random() < 0.5:
        changed = bytearray(content)
        for _ in range(draw.randrange(1, 8)):
            changed[draw.randrange(min(len(changed), 400))] = draw.randrange(256)
        return bytes(changed)
    return draw.choice(MUTATIONS)(bytearray(content), draw)


def test_a_registry_refuses_a_name_longer_than_a_files(adapter: Path, base: Path, tmp_path: Path):
    sign(adapter, base, slug="x" * 5000)
    with pytest.raises(RegistryError, match="not the name of a persona"):
        Registry(tmp_path / "registry").publish(adapter, "live")
