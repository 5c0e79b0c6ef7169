"""When a training has left its path."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from character_ray.errors import AdapterError, TrainingError
from character_ray.training.factors import check_finite
from character_ray.training.guards import EXPLODED, LossHolds, StartsAtReference
from character_ray.training.step_rows import StepRows


def read(*losses: float, **further: float) -> None:
    arguments = SimpleNamespace(learning_rate=1e-4)
    for step, loss in enumerate(losses, start=1):
        state = SimpleNamespace(global_step=step, max_steps=9, log_history=[{"loss": each} for each in losses[:step]])
        # Of each step another, as after a kill: only the history is the same.
        LossHolds(StepRows()).read(arguments, state, None, {"loss": loss, **further})


def test_a_loss_that_grows_to_many_times_the_first_ends_the_training():
    with pytest.raises(
        TrainingError, match=r"the loss is 25 at step 3 of 9, where it began with 2; .* lower learning_rate"
    ):
        read(2.0, 3.0, 25.0)
    read(2.0, EXPLODED * 2.0)


def test_after_a_low_start_the_bound_is_that_of_a_loss_of_one():
    read(0.01, 5.0)
    with pytest.raises(TrainingError):
        read(0.01, EXPLODED + 1.0)


@pytest.mark.parametrize("norm", [float("nan"), float("inf")])
def test_a_gradient_that_is_no_number_ends_the_training_though_the_loss_is_one(norm):
    read(2.0, 1.0, grad_norm=3.0)
    with pytest.raises(
        TrainingError, match=r"the gradient's norm is (nan|inf) at step 1 of 9, .* lower learning_rate=0.0001"
    ):
        read(2.0, grad_norm=norm)


def test_a_training_whose_first_gradient_is_nothing_is_ended():
    with pytest.raises(
        TrainingError, match=r"norm is 0 at step 1 of 9, so nothing would be learnt.*train.compile_layers"
    ):
        read(0.69, grad_norm=0.0)
    read(0.69)  # not every optimizer tells


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_adapter_of_what_is_no_number_is_not_finished(tmp_path, value):
    factors = {"a.lora_A.weight": torch.ones(2, 3), "a.lora_B.weight": torch.ones(3, 2, dtype=torch.bfloat16)}
    save_file(factors, tmp_path / "adapter_model.safetensors")
    check_finite(tmp_path)
    factors["a.lora_B.weight"][2, 1] = value
    save_file(factors, tmp_path / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match=r"1 of 2 factors .* a\.lora_B\.weight for one"):
        check_finite(tmp_path)


def test_a_training_that_does_not_start_at_its_reference_is_stopped():
    guard, state = StartsAtReference(), SimpleNamespace(global_step=1)
    guard.read(None, state, None, {"rewards/chosen": 0.001, "rewards/rejected": -0.001})
    guard.read(None, SimpleNamespace(global_step=2), None, {"rewards/chosen": 1.0, "rewards/rejected": 0.0})
    with pytest.raises(TrainingError, match=r"implicit rewards are .*'chosen': 0\.5.* must be 0 within 0\.01"):
        guard.read(None, state, None, {"rewards/chosen": 0.5, "rewards/rejected": 0.0})
