"""A model of the hub by its id, from a cache as ``hf download`` leaves it, without a network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from character_ray.config import ModelConfig
from character_ray.models import model_hash, resolve_model, template_hash

NAME = "some-lab/smol"
OLD, NEW, NEVER = "0" * 39 + "1", "f" * 40, "a" * 40
PROGRAM = """
import json, sys
from character_ray.config import ModelConfig
from character_ray.errors import ModelError
from character_ray.model_shape import find_shape
from character_ray.models import model_hash, resolve_model, template_hash

found = {}
for revision in json.loads(sys.argv[2]):
    model = ModelConfig(name=sys.argv[1], revision=revision)
    try:
        folder = resolve_model(model)
        found[str(revision)] = [folder.name, model_hash(folder), template_hash(folder), find_shape(model).layers]
    except ModelError as error:
        found[str(revision)] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str | int] | str]:
    """Commit, weights, chat template and layers by revision, or why there are none.

    The cache holds two commits: the embedded model, tagged ``v1``, and a tiny one, where ``main`` has moved since.
    """
    home = tmp_path_factory.mktemp("huggingface")
    repository = home / "hub" / f"models--{NAME.replace('/', '--')}"
    for commit, model in ((OLD, resolve_model(ModelConfig())), (NEW, tiny_base)):
        snapshot = repository / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for file in model.iterdir():
            (snapshot / file.name).symlink_to(file)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(NEW)
    (repository / "refs" / "v1").write_text(OLD)
    environment = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    asked = json.dumps([None, "v1", OLD, NEW, NEVER])
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, NAME, asked], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(answer.stdout)


@pytest.mark.parametrize("revision", [OLD, "v1"])
def test_a_pinned_revision_is_the_one_that_is_loaded_though_main_has_moved(found, revision):
    embedded = resolve_model(ModelConfig())
    assert found[revision] == [OLD, model_hash(embedded), template_hash(embedded), 30]


@pytest.mark.parametrize("revision", ["None", NEW])
def test_without_a_revision_it_is_the_one_that_main_points_to(found, revision, tiny_base: Path):
    assert found[revision] == [NEW, model_hash(tiny_base), template_hash(tiny_base), 2]


def test_a_revision_that_was_not_fetched_is_named(found):
    assert found[NEVER].startswith(f"model {NAME!r} (revision {NEVER}) could not be fetched from the hub: ")
