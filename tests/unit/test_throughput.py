"""Rates of a training from what it logs."""

import pytest

from character_ray.config import ModelConfig
from character_ray.models import resolve_model
from character_ray.training.throughput import Throughput, flops_per_token


def test_a_rate_lies_between_two_steps():
    throughput = Throughput(6e9, "NVIDIA H100 80GB HBM3", workers=2)
    assert throughput.step(1000, 1.0) == {}
    # 50,000 tokens a second at 6 GFLOP each are 300 TFLOP/s of two cards' 1,978.
    assert throughput.step(101_000, 3.0) == {"tokens_per_s": 50_000.0, "mfu": pytest.approx(0.1517, abs=1e-4)}


def test_a_clock_that_starts_anew_gives_no_rate():
    throughput = Throughput(6e9, "NVIDIA H100 80GB HBM3", workers=1)
    throughput.step(1000, 100.0)
    assert throughput.step(2000, 1.0) == {}


@pytest.mark.parametrize(("per_token", "device"), [(None, "NVIDIA H100 80GB HBM3"), (6e9, ""), (6e9, "A card of 2031")])
def test_what_is_not_known_is_left_out(per_token, device):
    throughput = Throughput(per_token, device, workers=1)
    throughput.step(0, 1.0)
    assert throughput.step(500, 2.0) == {"tokens_per_s": 500.0}


def test_the_embedded_model_costs_two_operations_a_parameter_and_reading():
    assert flops_per_token(resolve_model(ModelConfig()), readings=3) == pytest.approx(6 * 134.5e6, rel=0.01)
