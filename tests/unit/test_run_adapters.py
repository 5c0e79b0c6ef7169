"""What a run calls its adapters: the served one by a link that follows every attempt, references by all that they were computed from."""

from pathlib import Path

import pytest

from character_ray.pipeline.adapters import link_deliverable
from character_ray.runs import Artefact, Store


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
