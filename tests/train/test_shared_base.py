"""Trainings that share a base's weights learn what each would alone, from memory that none of them owns."""

import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from character_ray.config import ClusterTrainConfig, DPOConfig, LoRAConfig
from character_ray.errors import TrainingError
from character_ray.parts import write_rows
from character_ray.rows import PAIR
from character_ray.training.base_model import in_precision, load_base
from character_ray.training.job import TrainJob
from character_ray.training.launch import train
from character_ray.training.lent_weights import WeightsHolder, adopt
from tests.train.conftest import pair_row

ALONE = ClusterTrainConfig(device="cpu", precision="float32", zero_stage=0, in_process=True, report_to=())


IDLE_S = 0.5


class HoldsNothing(WeightsHolder):
    """A holder for which no GPU is needed."""

    def __init__(self) -> None:
        super().__init__(Path(), "float32", {}, "none", idle_s=IDLE_S)

    def load(self, base: Path, precision: str, options: dict[str, object]) -> dict[str, torch.Tensor]:
        return {}


@pytest.fixture
def job(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainJob:
    """A training whose base lies on disk in half its precision."""
    monkeypatch.setenv("CHARACTER_RAY_CACHE", str(tmp_path / "cache"))
    base = tmp_path / "bfloat16"
    AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.bfloat16).save_pretrained(base)
    AutoTokenizer.from_pretrained(tiny_base).save_pretrained(base)
    rows = [pair_row(number, f"Arr, {number} be me answer.", f"It is {number}.") for number in range(16)]
    write_rows(tmp_path / "pairs.parquet", rows, PAIR)
    config = DPOConfig(lora=LoRAConfig(rank=4, alpha=8), batch_size=4, micro_batch_size=4, max_length=64)
    return TrainJob("dpo", base, tmp_path / "pairs.parquet", tmp_path / "alone", config, ALONE, seed=3)


def test_a_shared_base_is_a_mapped_file_and_trains_to_the_same_bits(job: TrainJob, tmp_path: Path):
    shared = replace(job, folder=tmp_path / "shared", cluster=ALONE.model_copy(update={"share_base": True}))
    for each in (job, shared):
        each.folder.mkdir()
        train(each, "dpo", 16)
    alone, together = (load_file(each.adapter / "adapter_model.safetensors") for each in (job, shared))
    assert alone.keys() == together.keys()
    assert all(torch.equal(alone[name], together[name]) for name in alone)
    configs = [(each.adapter / "adapter_config.json").read_text(encoding="utf-8") for each in (job, shared)]
    assert configs[0] == configs[1]
    model, folder = load_base(shared), in_precision(job.base, "float32")
    assert folder.is_relative_to(tmp_path / "cache")
    inside = [mapped_file(parameter.data_ptr()) for parameter in model.parameters()]
    assert set(inside) == {str(folder / "model.safetensors")}
    assert mapped_file(next(load_base(job).parameters()).data_ptr()) != inside[0]


def test_a_base_in_the_precision_of_the_training_is_read_from_its_own_folder(tiny_base: Path):
    assert in_precision(tiny_base, "float32") == tiny_base


def test_weights_of_another_model_are_not_adopted(tiny_base: Path):
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    adopt(model, weights)
    assert all(parameter.data_ptr() == weights[name].data_ptr() for name, parameter in model.named_parameters())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    narrow = weights | {"model.norm.weight": weights["model.norm.weight"].bfloat16()}
    with pytest.raises(TrainingError, match=r"model\.norm\.weight \(1 in all\) differ"):
        adopt(model, narrow)
    with pytest.raises(TrainingError, match=r"another \(1 in all\) differ"):
        adopt(model, weights | {"another": weights["model.norm.weight"]})


@pytest.mark.usefixtures("local_ray")
def test_a_holder_stays_while_a_process_it_lent_to_is_alive_and_ends_by_itself():
    holder = ray.remote(num_cpus=0)(HoldsNothing).options(name="nothing", lifetime="detached").remote()
    borrower = subprocess.Popen(["sleep", "60"])
    assert ray.get(holder.lend.remote(borrower.pid)) == {}
    time.sleep(4 * IDLE_S)
    assert ray.get(holder.lend.remote(borrower.pid)) == {}
    borrower.kill()  # and not waited for yet: a process that nobody has asked about is not alive either
    deadline = time.monotonic() + 60
    with pytest.raises(ray.exceptions.RayActorError):
        while time.monotonic() < deadline:
            ray.get(holder.__ray_ready__.remote())
            time.sleep(0.1)
    borrower.wait()
    with pytest.raises(ValueError, match="nothing"):
        ray.get_actor("nothing")


def mapped_file(address: int) -> str:
    """The file whose mapping into this process holds the address; empty for memory that belongs to no file."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        span, *_, last = line.split(maxsplit=5)
        first, end = (int(edge, 16) for edge in span.split("-"))
        if first <= address < end:
            return last if last.startswith("/") else ""
    return ""
