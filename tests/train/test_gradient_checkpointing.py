"""Recomputing activations changes memory and time: losses and weights stay, with packed pairs and fused LoRA layers as they are trained."""

from pathlib import Path

import pytest
import torch
from peft.tuners.lora.layer import Linear

from character_ray.config import ClusterTrainConfig, DPOConfig, LoRAConfig, SFTConfig
from character_ray.parts import write_rows
from character_ray.rows import CONVERSATION, PAIR
from character_ray.training.fused_lora import _forward as fused
from character_ray.training.job import TrainJob
from character_ray.training.worker import _build_trainer
from tests.train.conftest import pair_row

CLUSTER = ClusterTrainConfig(
    device="cpu", precision="float32", zero_stage=0, in_process=True, cpus_per_worker=1, report_to=()
)
SMALL = {"lora": LoRAConfig(rank=4, alpha=8), "batch_size": 2, "micro_batch_size": 2, "learning_rate": 1e-2}
LONG = [{"role": "user", "content": "And now for something that takes a while to ask, but not to answer. " * 4}]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    pairs = [pair_row(number, f"Arr, {number}.", f"It is {number}.") | {"prompt": LONG} for number in range(6)]
    write_rows(folder / "dpo.parquet", pairs, PAIR)
    said = {"kind": "reflection", "role": "diary", "score": 1.0, "drop_reason": ""}
    talks = [
        said | {"row_id": str(number), "messages": [*LONG, {"role": "assistant", "content": f"Arr, {number}."}]}
        for number in range(6)
    ]
    write_rows(folder / "sft.parquet", talks, CONVERSATION)
    return folder


def trained(stage: str, base: Path, data: Path, folder: Path, *, checkpointing: bool):
    """Losses, weights, shapes that the layers read, and how often one layer did."""
    folder.mkdir()
    config = (DPOConfig if stage == "dpo" else SFTConfig)(**SMALL, gradient_checkpointing=checkpointing)
    job = TrainJob(stage, base, data / f"{stage}.parquet", folder, config, CLUSTER, seed=7)
    torch.manual_seed(job.seed)
    trainer = _build_trainer(job)
    layers = trainer.model.get_base_model().base_model
    shapes: list[tuple[int, ...]] = []
    passes: list[int] = []
    layers.register_forward_pre_hook(
        lambda _module, _args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    layers.layers[0].mlp.register_forward_pre_hook(lambda _module, _args: passes.append(1))
    adapted = [module for module in trainer.model.modules() if isinstance(module, Linear)]
    assert adapted
    assert all(module.forward.__func__ is fused for module in adapted)
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    weights = {name: each.detach() for name, each in trainer.model.named_parameters() if each.requires_grad}
    return losses, weights, shapes, len(passes)


@pytest.mark.parametrize("stage", ["dpo", "sft"])
def test_recomputed_activations_give_the_same_losses_and_weights(tiny_base, data, tmp_path, stage):
    plain, recomputed = (trained(stage, tiny_base, data, tmp_path / str(on), checkpointing=on) for on in (False, True))
    assert len(plain[0]) == 3
    assert plain[0][-1] < plain[0][0]
    assert recomputed[0] == pytest.approx(plain[0], rel=1e-5)
    assert plain[1].keys() == recomputed[1].keys()
    for name, weights in plain[1].items():
        assert torch.allclose(weights, recomputed[1][name], rtol=1e-3, atol=1e-5), name
    assert recomputed[2] == plain[2]
    assert recomputed[3] == plain[3] + 3, "each step's pass of the policy is computed twice"
    if stage == "dpo":
        assert all(rows < 4 for rows, _ in plain[2]), "two pairs are packed into fewer than four rows"
