"""What a run calls its adapters: the served one by a link that follows every attempt, references by all that they were computed from."""

from pathlib import Path

import pytest

from character_ray.config import Recipe
from character_ray.constitution import load_constitution
from character_ray.pipeline import adapters
from character_ray.pipeline.adapters import link_deliverable, train_dpo
from character_ray.pipeline.context import Context, Model, Persona
from character_ray.runs import Artefact, Run, Store
from character_ray.training.job import TrainJob

CAPTAIN = Path(__file__).parents[2] / "constitutions" / "captain-blackwood.yaml"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "demo"
    folder.mkdir()
    return folder


def joined(tmp_path: Path, rank: int, *, recompressed: bool) -> Artefact:
    artefact = Store(tmp_path / "store").artefact("full", {"rank": rank})
    for name in ("adapter", "served") if recompressed else ("adapter",):
        (artefact.folder / name).mkdir()
        (artefact.folder / name / "name").write_text(f"{name} {rank}")
    return artefact


@pytest.mark.parametrize("first_recompressed", [False, True])
def test_the_adapter_of_a_run_is_that_of_its_last_attempt(tmp_path, run, first_recompressed):
    link_deliverable(run, joined(tmp_path, 1, recompressed=first_recompressed))
    assert (run / "adapter" / "name").read_text() == ("served 1" if first_recompressed else "adapter 1")
    link_deliverable(run, joined(tmp_path, 2, recompressed=not first_recompressed))
    assert (run / "adapter" / "name").read_text() == ("adapter 2" if first_recompressed else "served 2")
    assert [path.name for path in run.iterdir()] == ["adapter"]


def test_a_link_that_leads_nowhere_is_replaced(tmp_path, run):
    (run / "adapter").symlink_to(Path("full") / "served")
    link_deliverable(run, joined(tmp_path, 1, recompressed=False))
    assert (run / "adapter" / "name").read_text() == "adapter 1"


def test_the_adapter_stays_that_of_the_report_until_the_next_one_is_linked(tmp_path, run):
    first, second = joined(tmp_path, 1, recompressed=False), joined(tmp_path, 2, recompressed=False)
    (run / "full").symlink_to(first.folder)
    link_deliverable(run, first)
    (run / "full").unlink()
    (run / "full").symlink_to(second.folder)
    assert (run / "adapter" / "name").read_text() == "adapter 1"


def test_only_trainings_on_the_same_pairs_share_what_the_reference_said(tmp_path, monkeypatch):
    base = tmp_path / "base"
    base.mkdir()
    (base / "model.safetensors").write_bytes(bytes(16))
    model, store = Model("base", base), Store(tmp_path / "store")
    found: list[Path | None] = []

    class Asked(Exception):
        """Nothing is trained here."""

    def train(job: TrainJob, *_):
        found.append(job.references)
        raise Asked

    monkeypatch.setattr(adapters, "train", train)
    for pairs, rate in (("these", 1e-4), ("these", 2e-4), ("those", 1e-4)):
        recipe = Recipe(name="demo", constitution=CAPTAIN, output=tmp_path, dpo={"learning_rate": rate})
        data = store.artefact("pairs", {"pairs": pairs})
        data.finish({"rows_out": 8})
        context = Context(recipe, model, model, store, Run(recipe.folder, {}))
        with pytest.raises(Asked):
            train_dpo(context, Persona(load_constitution(CAPTAIN)), data)
    assert found[0] == found[1] != found[2]
