"""Imports point down, and the light half of the package stays light."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "character_ray"
LAYER = {
    "errors": 0,
    "documents": 0,
    "config": 0,
    "rows": 0,
    "log": 0,
    "whole_files": 0,
    "s3": 0,
    "chat_safety": 0,
    "chat_template": 0,
    "gpu_attention": 0,
    "threads": 0,
    "spoken": 0,
    "words": 0,
    "constitution": 1,
    "models": 1,
    "adapters": 1,
    "adapter_tensors": 1,
    "canary": 1,
    "chat_answers": 1,
    "dataset_card": 1,
    "cluster_room": 1,
    "encoder": 1,
    "registry": 1,
    "routing": 1,
    "hub": 1,
    "language": 1,
    "manifest": 1,
    "model_card": 1,
    "model_shape": 1,
    "roofline": 1,
    "live_adapter": 1,
    "mirror": 1,
    "runs": 1,
    "side_by_side": 1,
    "parts": 1,
    "prefix_packing": 1,
    "prompts": 1,
    "judging": 1,
    "statistics": 1,
    "datasets_export": 2,
    "drafting": 2,
    "inspect_export": 2,
    "migration": 2,
    "vllm_options": 1,
    "yardstick": 1,
    "stages": 2,
    "inference": 2,
    "training": 2,
    "evaluation": 2,
    "serving": 2,
    "report": 2,
    "comparison": 3,
    "plan": 3,
    "pipeline": 3,
    "studies": 4,
    "studio": 4,
    "cli": 5,
}
HEAVY = {"ray", "torch", "transformers", "vllm", "trl", "peft", "sklearn", "scipy", "matplotlib"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    """The entry of ``LAYER`` that a file belongs to; empty for the package's own ``__init__``."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py").removeprefix("__init__")


def module_name(path: Path) -> str:
    """``character_ray.config.base``."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def parts_imported(path: Path) -> Iterator[str]:
    """Parts of the package that a file imports, anywhere in it."""
    package = module_name(path).split(".") if path.name == "__init__.py" else module_name(path).split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            targets = [f"{origin}.{alias.name}" for alias in node.names] if origin == "character_ray" else [origin]
        else:
            continue
        for target in targets:
            root, _, rest = target.partition(".")
            if root == "character_ray" and rest and rest != "__version__":
                yield rest.split(".")[0]


def imports_of_parts() -> dict[str, set[str]]:
    """Which part imports which others."""
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        if part_of(path):
            graph.setdefault(part_of(path), set()).update(set(parts_imported(path)) - {part_of(path)})
    return graph


def run_python(code: str) -> str:
    """Standard output of a fresh interpreter."""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()[-1]


def heavy_after(modules: list[str]) -> dict[str, list[str]]:
    """For each module that brings in something heavy when imported after the ones before it: what it brings."""
    code = f"""
import importlib, json, sys
blame, known = {{}}, set()
for name in {modules!r}:
    importlib.import_module(name)
    if new := ({HEAVY!r} & set(sys.modules)) - known:
        blame[name] = sorted(new)
        known |= new
print(json.dumps(blame))
"""
    blame: dict[str, list[str]] = json.loads(run_python(code))
    return blame


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path):
    own = part_of(path)
    if not own:
        assert not set(parts_imported(path)), "importing the package must cost nothing"
        return
    assert own in LAYER, f"{own} has no layer yet: give it one in {__file__}"
    for part in set(parts_imported(path)) - {own}:
        # The two lower layers are vocabulary, whose words may use one another; the packages of layer 2 are strangers.
        reach = LAYER[own] if LAYER[own] <= 1 else LAYER[own] - 1
        assert LAYER[part] <= reach, f"{own} (layer {LAYER[own]}) may not import {part} (layer {LAYER[part]})"


def test_no_part_imports_itself_by_a_detour():
    order = list(TopologicalSorter(imports_of_parts()).static_order())
    assert "errors" in order


def test_light_half_imports_nothing_heavy():
    light = [module_name(path) for path in MODULES if LAYER.get(part_of(path), 9) <= 1]
    assert heavy_after(light) == {}


def test_command_line_shows_its_help_without_anything_heavy():
    assert heavy_after(["character_ray.cli"]) == {}


def test_every_module_imports():
    code = f"""
import importlib, json
failed = {{}}
for name in {[module_name(path) for path in MODULES]!r}:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = repr(error)
print(json.dumps(failed))
"""
    assert json.loads(run_python(code)) == {}


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES}), ids=lambda path: path.name)
def test_every_folder_with_modules_is_a_package(folder: Path):
    assert (folder / "__init__.py").is_file(), f"{folder.name} has no __init__.py, so it would not be installed"
