"""The site's reference pages hold every setting, command and field, and its navigation leads to pages that exist."""

import re
from pathlib import Path

import pytest
import typer
import yaml

from character_ray.cli import app
from character_ray.config import Recipe, load_recipe
from character_ray.report.wording import FILTER_KEYS
from scripts import reference

ROOT = Path(__file__).resolve().parents[2]
PAGES = [path for path in sorted((ROOT / "docs").rglob("*.md")) if "results" not in path.parts]


def test_every_setting_of_a_recipe_is_described():
    text = reference.recipe_reference()
    for path, model in [("", Recipe), *reference.sections(Recipe)]:
        heading = f"## `{path}`" if path else "## Recipe"
        (section,) = re.findall(rf"^{re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        for name, info in model.model_fields.items():
            (line,) = [line for line in section.splitlines() if line.startswith(f"| `{name}` |")]
            assert info.description, f"{path}.{name} has no docstring"
            assert line.count(" | ") == 3


def test_every_command_and_option_is_listed():
    text = reference.command_reference()
    for path, command in reference.commands(typer.main.get_command(app), "character-ray"):
        assert re.search(rf"^##+ {path}$", text, re.MULTILINE)
        if not hasattr(command, "commands"):
            missing = [p.opts[0] for p in command.params if p.opts[0].startswith("--") and f"`{p.opts[0]}`" not in text]
            assert not [option for option in missing if option != "--help"]


def test_navigation_leads_to_pages_that_are_there_or_written():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    written = {*reference.api_pages(), "reference/recipe.md", "reference/commands.md", "reference/report.md"}
    written |= {"guides/cluster.md", "benchmarks.md", "constitutions.md", "changelog.md", "contributing.md"}
    for name in re.findall(r": ([\w/.-]+\.md)$", text, re.MULTILINE):
        assert name in written or (ROOT / "docs" / name).is_file(), name
    assert yaml.safe_load(text)["theme"]["font"] is False


def test_every_filter_is_in_the_guides_table_with_its_setting():
    text = (ROOT / "docs" / "guides" / "data.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    settings = {reason: row[-1] for row in rows for reason in re.findall(r"`(\w+)`", row[0])}
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "character_ray" / "stages").glob("*.py"))
    reasons = set(re.findall(r'(?:return|reason =|else|\.append\() ?"([a-z_]{5,})"', code)) - {"stop", "length"}
    assert {"too_short", "repeated_turn", "unscored"} <= reasons
    assert reasons <= set(settings)
    for reason, key in FILTER_KEYS.items():
        assert key in settings[reason.removesuffix("_rejected")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_recipes_and_jobs_named_in_the_docs_exist(page: Path):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:jobs|constitutions|requirements|scripts)/[\w./-]+\.(?:py|yaml|lock|sh)\b", text))
    assert not [name for name in named if not (ROOT / name).is_file()]
    for recipe, override in re.findall(
        r"(?:full_pipeline\.py|character-ray run) (jobs/recipes/\S+\.yaml)((?: [\w.]+=\S+)*)", text
    ):
        load_recipe(ROOT / recipe, override.split())
