"""Probes find what was planted in activations, and nothing where nothing was."""

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from character_ray.evaluation.probing.activations import Activations
from character_ray.evaluation.probing.causal import choose_layer
from character_ray.evaluation.probing.contrasts import probe_contrasts
from character_ray.evaluation.probing.layers import find_clusters, gap, mean_difference, probe_layer

PROMPTS = [f"prompt {number}" for number in range(24)]
NAMES = [*PROMPTS, *PROMPTS]
LABELS = [True] * 24 + [False] * 24
WIDTH = 96


def noise(seed: int, rows: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, WIDTH))


def planted(seed: int, distance: float) -> np.ndarray:
    """Noise whose first half is moved along the first axis."""
    activations = noise(seed)
    activations[:24, 0] += distance
    return activations


def test_a_planted_difference_is_found_and_shuffled_labels_are_not():
    probe = probe_layer(planted(0, 12.0), LABELS, NAMES, seed=0)
    assert probe.accuracy.value == 1.0
    assert 0.3 < probe.control < 0.7
    assert probe.selectivity == pytest.approx(1.0 - probe.control)
    assert probe.gap == pytest.approx(12.0, rel=0.35)  # of two samples of 24, each with standard deviation 1


def test_where_nothing_differs_the_probe_guesses():
    """More dimensions than texts: any labelling can be learnt by heart, and none holds on other prompts."""
    probes = [probe_layer(noise(seed), LABELS, NAMES, seed=seed) for seed in range(8)]
    assert np.mean([probe.accuracy.value for probe in probes]) == pytest.approx(0.5, abs=0.1)  # 384 guesses: 4 s.e.
    assert abs(np.mean([probe.selectivity for probe in probes])) < 0.12


def test_what_belongs_to_a_prompt_does_not_leak_into_other_prompts():
    """Both texts of a prompt share a strong signature and carry the same label: only a probe that saw the prompt could know it."""
    signature = np.random.default_rng(3).standard_normal((24, WIDTH)) * 10
    by_prompt = [number % 2 == 0 for number in range(24)]
    activations = np.concatenate([signature, signature]) + noise(4) * 0.01
    probe = probe_layer(activations, by_prompt * 2, NAMES, seed=0)
    assert probe.accuracy.value < 0.75


def test_the_result_does_not_depend_on_rotation_or_shift_of_the_space():
    activations = planted(1, 3.0)
    rotation, _ = np.linalg.qr(noise(9, WIDTH))
    here = probe_layer(activations, LABELS, NAMES, seed=0)
    there = probe_layer(activations @ rotation + 5.0, LABELS, NAMES, seed=0)
    assert there.accuracy == here.accuracy
    assert there.gap == pytest.approx(here.gap)


def test_direction_and_gap_follow_their_definitions():
    activations, labels = planted(2, 4.0), np.array(LABELS)
    direction = mean_difference(activations, labels)
    assert direction == pytest.approx(activations[:24].mean(0) - activations[24:].mean(0))
    along = activations[:, 0]
    pooled = ((along[:24].std() ** 2 + along[24:].std() ** 2) / 2) ** 0.5
    assert gap(along, labels) == pytest.approx((along[:24].mean() - along[24:].mean()) / pooled)
    assert np.isnan(gap(np.ones(48), labels))


def test_clusters_far_apart_are_distinct_and_the_silhouette_is_the_library_s():
    activations = planted(5, 40.0)
    found = find_clusters(activations, LABELS, NAMES, seed=0)
    assert found.distinct and found.rand_index == 1.0 and found.p_value == 0.01
    assert found.silhouette == pytest.approx(silhouette_samples(activations, LABELS).mean())
    assert abs(found.control) < 0.1


def test_a_difference_that_is_real_but_small_is_no_distinct_cluster():
    found = find_clusters(planted(6, 4.0), LABELS, NAMES, seed=0)
    assert found.p_value < 0.05 and found.silhouette < 0.25 and not found.distinct


def test_prompts_far_apart_do_not_pass_for_a_persona():
    """Two texts of each prompt lie together, the prompts far apart: clusters there are, but not of the persona."""
    signature = np.random.default_rng(7).standard_normal((24, WIDTH)) * 20
    found = find_clusters(np.concatenate([signature, signature]) + noise(8), LABELS, NAMES, seed=0)
    assert not found.distinct and found.p_value > 0.05


@pytest.mark.parametrize(
    ("labels", "names"), [([True] * 48, NAMES), (LABELS, ["one"] * 48)], ids=["one class", "one prompt"]
)
def test_what_cannot_be_probed_is_refused(labels, names):
    with pytest.raises(ValueError, match="both classes and at least four prompts"):
        probe_layer(noise(0), labels, names, seed=0)
    with pytest.raises(ValueError, match="both classes and at least four prompts"):
        find_clusters(noise(0), labels, names, seed=0)


def test_the_layer_is_the_middle_one_that_separates_best():
    layers = [noise(seed, 24) for seed in range(8)]
    outside = np.stack([noise(seed + 50, 24) for seed in range(8)], axis=1)
    for layer, distance in ((0, 50.0), (4, 9.0), (3, 5.0)):
        layers[layer][:, 0] += distance
    assert choose_layer(np.stack(layers, axis=1), outside) == 4  # layer 0 separates more, but is not in the middle


def test_training_that_moves_where_the_constitution_moves_transfers_and_other_training_does_not():
    draw = np.random.default_rng(0)
    base, direction, other = draw.standard_normal((24, 3, WIDTH)), np.zeros(WIDTH), np.zeros(WIDTH)
    direction[0], other[1] = 12.0, 12.0

    def moved(shift: np.ndarray) -> Activations:
        return Activations(base + shift, base + shift)

    still = Activations(base, base)
    sides = {("base", "base"): still, ("base", "full"): still, ("full", "base"): still}
    sides["prompted", "prompted"] = moved(direction)
    same = probe_contrasts({**sides, ("full", "full"): moved(direction)}, PROMPTS, seed=0, resamples=100)
    elsewhere = probe_contrasts({**sides, ("full", "full"): moved(other)}, PROMPTS, seed=0, resamples=100)
    for layer in same["transfer"]:
        assert layer["full"]["value"] == 1.0 and layer["base"]["value"] == 0.0
        assert layer["cosine"] == pytest.approx(1.0)
    for layer in elsewhere["transfer"]:
        assert layer["full"]["value"] < 0.3
        assert layer["cosine"] == pytest.approx(0.0, abs=1e-9)
    contrasts = same["contrasts"]
    assert set(contrasts) == {"both", "words", "weights", "before", "context"}
    assert [layer["layer"] for layer in contrasts["both"]["layers"]] == [1, 2, 3]
    assert contrasts["both"]["layers"][0]["direction_norm"] == pytest.approx(12.0)
    assert contrasts["words"]["layers"][0]["direction_norm"] == 0.0
