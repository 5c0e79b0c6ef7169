"""A canary lets its own adapter pass and nobody else's."""

import pytest
from pydantic import ValidationError

from character_ray.canary import TOLERANCE_NATS, Canary, check_canary
from character_ray.errors import AdapterError

OWN = (-0.2, -0.5, -0.1, -0.9)
BASE = (-3.0, -2.5, -1.0, -6.0)


@pytest.fixture
def canary() -> Canary:
    return Canary(prompt_ids=(1, 2), answer_ids=(3, 4, 5, 6), logprobs=OWN, base_logprobs=BASE)


def test_its_own_answer_passes_with_the_noise_of_a_number_format(canary):
    check_canary(canary, OWN, "captain")
    check_canary(canary, [value + 0.05 * (-1) ** place for place, value in enumerate(OWN)], "captain")


@pytest.mark.parametrize("off", [TOLERANCE_NATS + 0.03, -TOLERANCE_NATS - 0.03, 2.0])
def test_another_answer_is_refused_with_both_distances(canary, off):
    with pytest.raises(AdapterError, match=rf"captain: its canary answer is {abs(off):.2f} nats .* from the base's"):
        check_canary(canary, [value + off for value in OWN], "captain")


def test_the_base_is_refused(canary):
    with pytest.raises(AdapterError, match="would answer as somebody else"):
        check_canary(canary, BASE, "captain")


def test_a_weak_adapter_that_was_not_applied_is_refused_within_the_tolerance():
    weak = Canary(prompt_ids=(1,), answer_ids=(3,), logprobs=(-0.5,), base_logprobs=(-0.6,))
    check_canary(weak, [-0.52], "captain")
    with pytest.raises(AdapterError, match="does not apply the adapter"):
        check_canary(weak, [-0.59], "captain")


@pytest.mark.parametrize("found", [[], OWN[:3], [float("nan")] * 4])
def test_a_broken_answer_is_refused(canary, found):
    with pytest.raises(AdapterError):
        check_canary(canary, found, "captain")


def test_a_record_of_unequal_lengths_is_refused():
    with pytest.raises(ValidationError, match="one entry for each token"):
        Canary(prompt_ids=(1,), answer_ids=(3, 4), logprobs=(-0.5,), base_logprobs=(-0.6,))
