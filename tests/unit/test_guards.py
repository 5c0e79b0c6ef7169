"""When a training has left its path."""

from types import SimpleNamespace

import pytest

from character_ray.errors import TrainingError
from character_ray.training.guards import EXPLODED, LossHolds
from character_ray.training.step_rows import StepRows


def read(*losses: float) -> None:
    arguments = SimpleNamespace(learning_rate=1e-4)
    for step, loss in enumerate(losses, start=1):
        state = SimpleNamespace(global_step=step, max_steps=9, log_history=[{"loss": each} for each in losses[:step]])
        # Of each step another, as after a kill: only the history is the same.
        LossHolds(StepRows()).read(arguments, state, None, {"loss": loss})


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
