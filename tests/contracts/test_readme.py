"""The commands that the README tells a reader to type exist."""

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from character_ray.config import load_recipe

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
FENCE = re.compile(r"^ *```(?:sh|bash|shell|console|text)?\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
OUR_FOLDERS = ("jobs/", "constitutions/", "scripts/", "cluster/", "docs/", "tests/", "requirements/")


def commands(text: str) -> list[list[str]]:
    """The commands of ours in the code blocks of a Markdown text, as words."""
    found = []
    for block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.strip().removeprefix("$ ").removeprefix(".venv/bin/")
            if line.startswith(("make ", "character-ray ", "python jobs/", "python -m jobs.")):
                found.append(shlex.split(line, comments=True))
    return found


def commands_of_readme() -> list[list[str]]:
    """The README's commands, each once."""
    text = README.read_text(encoding="utf-8") if README.is_file() else ""
    return [list(words) for words in sorted({tuple(words) for words in commands(text)})]


@cache
def exit_status(*arguments: str) -> int:
    """How ``character-ray`` ends with these arguments."""
    program = "from character_ray.cli import main; main()"
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, cwd=ROOT).returncode


def test_commands_are_found_in_code_blocks_only():
    block = "```sh\n$ make demo   # twelve minutes\ncharacter-ray chat \\\n  runs/demo\n```"
    found = commands(f"Type `make joke`:\n\n{block}\nmake that\n")
    assert found == [["make", "demo"], ["character-ray", "chat", "runs/demo"]]


@pytest.mark.skipif(not README.is_file(), reason="there is no README.md yet")
def test_readme_shows_how_to_start():
    assert ["make", "demo"] in commands_of_readme()


@pytest.mark.parametrize("words", commands_of_readme(), ids=" ".join)
def test_command_of_the_readme_exists_and_its_recipe_loads(words: list[str]):
    program, *arguments = words
    if program == "make":
        targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert {word for word in arguments if "=" not in word} <= set(targets)
    elif program == "character-ray":
        assert exit_status(arguments[0], "--help") == 0
    else:
        job = arguments[1].replace(".", "/") + ".py" if arguments[0] == "-m" else arguments[0]
        assert (ROOT / job).is_file()
    for word in arguments:
        if word.startswith(OUR_FOLDERS):
            assert (ROOT / word).exists()
        if word.startswith("jobs/recipes/"):
            load_recipe(ROOT / word, [item for item in arguments if "=" in item and not item.startswith("-")])


def test_links_between_files_lead_somewhere_in_the_repository():
    texts = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    dead = [
        f"{text}: {address}"
        for text in texts
        for address in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", (ROOT / text).read_text(encoding="utf-8"))
        if "://" not in address and not address.startswith("mailto:")
        if not (ROOT / text).parent.joinpath(address).exists()
    ]
    assert texts
    assert not dead, "\n".join(dead)
