"""Every recipe and every constitution that ships is valid."""

from pathlib import Path

import pytest

from character_ray.config import UpdateConfig, load_recipe, recipe_warnings
from character_ray.constitution import load_constitution
from character_ray.pipeline.update import updated_recipe

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "jobs" / "recipes").glob("*.yaml"))
CONSTITUTIONS = sorted((ROOT / "constitutions").glob("*.yaml"))


def test_the_recipe_of_the_demo_is_there():
    assert "demo-cpu" in [path.stem for path in RECIPES]


def test_the_constitutions_that_recipes_default_to_are_there():
    assert {"captain-blackwood", "null-control"} <= {path.stem for path in CONSTITUTIONS}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_loads_without_warnings(path: Path):
    assert recipe_warnings(load_recipe(path)) == []


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_constitutions_of_a_recipe_load_from_the_root_of_the_repository(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    recipe = load_recipe(path)
    assert load_constitution(recipe.constitution).slug != load_constitution(recipe.control_constitution).slug


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_persona_of_a_recipe_can_be_updated(path: Path):
    recipe = load_recipe(path)
    rank = recipe.dpo.lora.rank + recipe.sft.lora.rank
    assert updated_recipe(recipe, recipe.constitution, UpdateConfig(), "updated", rank).name == "updated"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_for_gpus_watches_the_character_as_it_is_trained(path: Path):
    recipe = load_recipe(path)
    assert recipe.train.device == "cpu" or recipe.train.zero_stage == 3 or (recipe.dpo.watch and recipe.sft.watch)


def test_recipes_write_to_different_run_folders():
    folders = [load_recipe(path).folder for path in RECIPES]
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize("path", CONSTITUTIONS, ids=lambda path: path.stem)
def test_constitution_loads(path: Path):
    load_constitution(path)


def test_personas_have_names_of_their_own():
    slugs = [load_constitution(path).slug for path in CONSTITUTIONS if path.stem != "captain-blackwood-seed"]
    assert len(set(slugs)) == len(slugs)
