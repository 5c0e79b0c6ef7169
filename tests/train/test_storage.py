"""What a training will write is known before it begins, and so is whether it fits."""

import platform
import re
from pathlib import Path

import pytest
from peft import LoraConfig as PeftLora
from peft import get_peft_model
from transformers import AutoModelForCausalLM

from character_ray.config import ClusterTrainConfig, DPOConfig, LoRAConfig, ModelConfig, Recipe
from character_ray.errors import StorageError, TrainingError
from character_ray.pipeline.context import Context
from character_ray.training.job import TrainJob
from character_ray.training.storage import check_scratch, check_storage
from character_ray.training.targets import adapter_parameters
from character_ray.training.worker import FATAL, train_worker

CLUSTER = ClusterTrainConfig(device="cpu", precision="float32", report_to=())


def job_in(folder, base, rank: int = 4, **cluster) -> TrainJob:
    config = DPOConfig(lora=LoRAConfig(rank=rank, alpha=8))
    return TrainJob("dpo", base, folder, folder, config, CLUSTER.model_copy(update=cluster), seed=0)


def test_the_parameters_of_an_adapter_are_those_that_peft_makes(tiny_base):
    lora = LoRAConfig(rank=5, alpha=8)
    config = PeftLora(r=5, lora_alpha=8, target_modules=list(lora.target_modules), task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_base), config)
    assert adapter_parameters(tiny_base, lora) == model.num_parameters(only_trainable=True)


def test_what_fits_passes_and_leaves_nothing_behind(tiny_base, tmp_path):
    job = job_in(tmp_path, tiny_base, checkpoint_scratch=tmp_path / "scratch")
    check_storage(job)
    check_scratch(job)
    assert [path.name for path in tmp_path.iterdir()] == ["scratch"]
    assert not any((tmp_path / "scratch").iterdir())


def test_too_little_room_is_named_with_what_is_needed(tiny_base, tmp_path):
    with pytest.raises(
        TrainingError, match=r"GiB of room, but training the dpo adapter of rank 500000000 writes up to \d+\.\d GiB"
    ):
        check_storage(job_in(tmp_path, tiny_base, rank=500_000_000))


def test_a_folder_that_cannot_be_written_is_named(tiny_base, tmp_path):
    with pytest.raises(TrainingError, match="missing cannot be written"):
        check_storage(job_in(tmp_path / "missing", tiny_base))


def test_the_scratch_folder_is_looked_for_where_it_is_used_and_named_with_its_machine(tiny_base, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("a file where the folder should be")
    job = job_in(tmp_path, tiny_base, checkpoint_scratch=taken / "scratch")
    check_storage(job)  # the driver's machine need not have it
    named = re.escape(f"train.checkpoint_scratch={taken / 'scratch'} on {platform.node()} cannot be written")
    with pytest.raises(TrainingError, match=named):
        check_scratch(job)
    train_worker({"job": job})
    assert re.search(named, (tmp_path / FATAL).read_text())


def test_a_mirror_that_cannot_be_written_is_named_before_a_run_has_a_folder(tiny_base, bucket, tmp_path):
    recipe = Recipe(
        name="demo",
        constitution=Path("constitutions/captain-blackwood.yaml"),
        output=tmp_path / "runs",
        student=ModelConfig(name=str(tiny_base)),
        teacher=ModelConfig(name=str(tiny_base)),
        mirror=bucket.address,
    )
    with pytest.raises(StorageError, match="there is no bucket nowhere-at-all"):
        Context.open(recipe.model_copy(update={"mirror": "s3://nowhere-at-all/x"}))
    assert not (tmp_path / "runs").exists()
    assert Context.open(recipe).artefact("prompts", {}).mirror is not None
    assert bucket.names() == ["writable.txt"]
