"""Checkpoints that reach storage behind the training: whole, by every worker, or not at all."""

from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from character_ray.config import ClusterTrainConfig, SFTConfig
from character_ray.errors import TrainingError
from character_ray.training.arguments import trainer_arguments
from character_ray.training.checkpoint_copy import CopiesCheckpoints, files_of
from character_ray.training.checkpoints import last_complete
from character_ray.training.job import TrainJob

FILES = (
    "adapter_model.safetensors",
    "global_step20/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt",
    "global_step20/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt",
    "global_step20/mp_rank_00_model_states.pt",
    "global_step20/zero_pp_rank_1_mp_rank_00_model_states.pt",
    "latest",
    "rng_state_0.pth",
    "rng_state_1.pth",
    "trainer_state.json",
)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    for step in (20, 40):
        for name in FILES:
            path = tmp_path / "scratch" / f"checkpoint-{step}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
    return tmp_path / "scratch"


def save(callback: CopiesCheckpoints, scratch: Path, step: int) -> None:
    state = TrainerState()
    state.global_step = step
    callback.on_save(TrainingArguments(output_dir=str(scratch), use_cpu=True), state, TrainerControl())


def end(callback: CopiesCheckpoints, scratch: Path) -> None:
    callback.on_train_end(TrainingArguments(output_dir=str(scratch), use_cpu=True), TrainerState(), TrainerControl())


def test_every_file_has_one_owner(scratch: Path):
    owned = [list(map(str, files_of(rank, scratch / "checkpoint-20"))) for rank in (0, 1, 2)]
    assert sorted(owned[0] + owned[1]) == sorted(FILES)
    assert [name for name in FILES if "rank_1" in name or "state_1" in name] == owned[1]
    assert owned[2] == []


def test_a_checkpoint_counts_once_every_worker_has_copied_its_files(scratch: Path, tmp_path: Path):
    storage = tmp_path / "storage"
    first, second = (CopiesCheckpoints(storage, rank, 2) for rank in (0, 1))
    save(first, scratch, 20)
    end(first, scratch)
    assert last_complete(storage) is None
    save(second, scratch, 20)
    end(second, scratch)
    found = last_complete(storage)
    assert found == str(storage / "checkpoint-20")
    assert all((Path(found) / name).is_file() for name in FILES)


def test_an_older_checkpoint_goes_when_a_newer_one_has_arrived(scratch: Path, tmp_path: Path):
    storage = tmp_path / "storage"
    callback = CopiesCheckpoints(storage, 0, 1)
    for step in (20, 40):
        save(callback, scratch, step)
    end(callback, scratch)
    assert [path.name for path in storage.iterdir()] == ["checkpoint-40"]


def test_what_a_killed_attempt_began_to_copy_is_removed(scratch: Path, tmp_path: Path):
    storage = tmp_path / "storage"
    begun = storage / "copying-20"
    begun.mkdir(parents=True)
    (begun / "copied-1").touch()
    arguments = TrainingArguments(output_dir=str(scratch), use_cpu=True)
    CopiesCheckpoints(storage, 0, 2).on_train_begin(arguments, TrainerState(), TrainerControl())
    assert not begun.exists()
    assert not any(scratch.iterdir()), "a higher step of that attempt would make the trainer drop the next checkpoint"


def test_the_trainer_keeps_the_checkpoint_that_is_being_copied(tmp_path: Path):
    def kept(scratch: Path | None) -> int:
        cluster = ClusterTrainConfig(device="cpu", precision="float32", report_to=(), checkpoint_scratch=scratch)
        job = TrainJob("sft", tmp_path, tmp_path, tmp_path, SFTConfig(), cluster, seed=0)
        return int(trainer_arguments(job)["save_total_limit"])

    # A new one is written before the copy of the last is waited for.
    assert kept(tmp_path / "scratch") == 2
    assert kept(None) == 1


def test_a_copy_that_fails_ends_the_training_with_the_place(scratch: Path, tmp_path: Path):
    storage = tmp_path / "storage"
    storage.write_text("a file where a folder should be")
    callback = CopiesCheckpoints(storage, 0, 1)
    save(callback, scratch, 20)
    with pytest.raises(TrainingError, match=f"could not be copied to {storage}"):
        end(callback, scratch)
