"""The recipe's dropout draws in the adapter that is trained, and nowhere else."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from character_ray.config import ClusterTrainConfig, DPOConfig, LoRAConfig, SFTConfig, load_recipe
from character_ray.constitution import load_constitution
from character_ray.parts import write_rows
from character_ray.pipeline.adapters import train_dpo
from character_ray.pipeline.context import Persona
from character_ray.rows import CONVERSATION, PAIR
from character_ray.training.dropout import leave_dropout_to
from character_ray.training.job import TrainJob
from character_ray.training.worker import _build_trainer
from tests.train.conftest import pair_row

CLUSTER = ClusterTrainConfig(
    device="cpu", precision="float32", zero_stage=0, in_process=True, cpus_per_worker=1, report_to=()
)
IDS = torch.arange(5, 45).view(2, 20)


@pytest.fixture
def build(tiny_base: Path, tmp_path: Path):
    """A trainer as a worker builds it."""

    def make(stage: str, dropout: float, parent: Path | None = None):
        folder = tmp_path / f"{stage}-{dropout}-{parent is not None}"
        folder.mkdir()
        if stage == "dpo":
            write_rows(folder / "data.parquet", [pair_row(n, f"Arr, {n}.", f"It is {n}.") for n in range(6)], PAIR)
        else:
            messages = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Arr, the captain."}]
            row = {"kind": "reflection", "role": "diary", "messages": messages, "score": 1.0, "drop_reason": ""}
            write_rows(folder / "data.parquet", [row | {"row_id": str(n)} for n in range(6)], CONVERSATION)
        config = (DPOConfig if stage == "dpo" else SFTConfig)(
            lora=LoRAConfig(rank=4, alpha=8, dropout=dropout), batch_size=2, micro_batch_size=2, learning_rate=1e-2
        )
        torch.manual_seed(7)
        job = TrainJob(stage, tiny_base, folder / "data.parquet", folder, config, CLUSTER, seed=7, parent=parent)
        return _build_trainer(job)

    return make


@pytest.fixture
def dropping_parent(tmp_path: Path, random_adapter) -> Path:
    """A trained adapter that was trained with dropout itself."""
    import json

    folder = random_adapter(tmp_path / "parent", 4, 8, seed=1)
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"lora_dropout": 0.5}))
    return folder


def logits(model, seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    with torch.no_grad():
        return model(IDS).logits


def with_factors(trainer):
    """The trainer's model in training, its trained adapter not zero."""
    torch.manual_seed(0)
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad and "lora_B" in name:
            nn.init.normal_(parameter, std=0.2)
    return trainer.model.train()


def draws(model) -> bool:
    return not torch.equal(logits(model, 1), logits(model, 2))


@pytest.mark.parametrize("stage", ["dpo", "sft"])
def test_the_policy_drops_as_the_recipe_says_and_not_in_evaluation(build, stage):
    model = with_factors(build(stage, 0.3))
    assert draws(model)
    assert not draws(model.eval())
    assert not draws(with_factors(build(stage, 0.0)))


def test_the_reference_never_drops(build, dropping_parent):
    model = with_factors(build("dpo", 0.3))
    with model.disable_adapter():
        assert not draws(model)
    later = build("dpo", 0.3, dropping_parent).model.train()
    assert draws(later)
    later.set_adapter("ref")
    assert not draws(later)


def test_a_round_that_goes_on_drops_as_its_own_recipe_says_not_as_its_parents(build, dropping_parent):
    assert not draws(build("dpo", 0.0, dropping_parent).model.train())


def test_the_frozen_adapter_beneath_computes_as_it_is_served(build, dropping_parent):
    assert not draws(with_factors(build("sft", 0.0, dropping_parent)))
    assert draws(with_factors(build("sft", 0.3, dropping_parent)))


@pytest.mark.parametrize("later_round", [False, True])
def test_a_training_with_dropout_differs_from_one_without_and_starts_at_its_reference(
    build, dropping_parent, later_round
):
    losses = []
    for dropout in (0.0, 0.5):
        trainer = build("dpo", dropout, dropping_parent if later_round else None)
        trainer.train()
        losses.append([line["loss"] for line in trainer.state.log_history if "loss" in line])
    assert losses[0][0] == pytest.approx(0.6931, abs=1e-3)
    # Factors that are 0 make nothing of what is dropped.
    assert (losses[1][0] == pytest.approx(0.6931, abs=1e-4)) is not later_round
    assert losses[1][1:] != losses[0][1:]


class Asked(Exception):
    """Carries the inputs of a training that would begin."""


@pytest.mark.parametrize(("dropout", "anew"), [(0.0, False), (0.1, True)])
def test_only_trainings_with_dropout_are_made_anew(monkeypatch, dropout, anew):
    def ask(_stage: str, inputs: dict) -> None:
        raise Asked(inputs)

    root = Path(__file__).resolve().parents[2]
    monkeypatch.chdir(root)
    recipe = load_recipe(root / "jobs" / "recipes" / "demo-cpu.yaml", [f"dpo.lora.dropout={dropout}"])
    context = SimpleNamespace(recipe=recipe, student=SimpleNamespace(identity={}), artefact=ask)
    with pytest.raises(Asked) as asked:
        train_dpo(context, Persona(load_constitution(recipe.constitution)), SimpleNamespace(fingerprint="pairs"))
    assert ("dropout" in asked.value.args[0]) is anew


def test_a_base_with_dropout_of_its_own_is_still(build):
    model = with_factors(build("dpo", 0.0))
    layer = model.get_base_model().model.layers[0].mlp
    layer.register_module("drop", nn.Dropout(0.5))
    layer.register_forward_hook(lambda module, _args, output: module.drop(output))
    assert draws(model)
    leave_dropout_to(model)
    assert not draws(model)
