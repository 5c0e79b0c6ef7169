"""Going on from the newest checkpoint that was written to its end."""

from pathlib import Path

import pytest

from character_ray.training.checkpoints import last_complete


@pytest.fixture
def checkpoint(tmp_path: Path):
    def make(step: int, state: str | None) -> str:
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
        return str(folder)

    return make


def test_the_newest_is_the_one_of_the_highest_step(checkpoint, tmp_path):
    checkpoint(90, "{}")
    newest = checkpoint(100, "{}")
    assert last_complete(tmp_path) == newest


@pytest.mark.parametrize("state", [None, "", '{"epoch": 0.'], ids=["missing", "empty", "torn"])
def test_one_whose_saving_was_cut_off_is_passed_over(checkpoint, tmp_path, state):
    complete = checkpoint(20, "{}")
    checkpoint(40, state)
    assert last_complete(tmp_path) == complete


def test_without_a_complete_one_training_starts_afresh(checkpoint, tmp_path):
    assert last_complete(tmp_path / "none") is None
    checkpoint(20, None)
    assert last_complete(tmp_path) is None
