"""The classifier over all personas: it knows what was planted, and cannot be fooled by what leaks."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss

from character_ray.evaluation.calibration import calibration_error, calibration_interval, fit_temperature
from character_ray.evaluation.generators import across_generators
from character_ray.evaluation.held_out import LabelledText, split_prompts
from character_ray.evaluation.multiclass import NONE, measure_classes, on_features
from character_ray.pipeline.classes_sheet import classes_sheet
from character_ray.report.sheet import render_sheet

CLASSES = (NONE, "captain", "poet")
WIDTH = 12


def corpus(distance: float, *, prompts: int = 60, seed: int = 0, style: float = 0.0):
    """Every class answers every prompt once; generator ``b`` writes half of them, with a style of its own."""
    draw = np.random.default_rng(seed)
    rows, features = [], []
    for prompt in range(prompts):
        for place, label in enumerate(CLASSES):
            generator = "ab"[prompt % 2]
            rows.append(LabelledText(f"{label} on {prompt}", label, f"prompt {prompt}", generator))
            feature = draw.standard_normal(WIDTH)
            feature[place] += distance
            feature[5] += style * (generator == "b")
            features.append(feature)
    return rows, on_features(np.array(features))


def test_planted_classes_are_told_apart_and_every_figure_agrees_with_the_confusion():
    found = measure_classes(*corpus(4.0), seed=0)
    assert found["classes"] == list(CLASSES)
    assert found["accuracy"]["value"] > 0.9
    confusion = np.array(found["confusion"])
    assert confusion.sum() == found["num_test"] == 36
    assert np.trace(confusion) / confusion.sum() == pytest.approx(found["accuracy"]["value"])
    truth, predicted = (np.concatenate([np.repeat(i, confusion[i].sum()) for i in range(3)]), [])
    for row in confusion:
        predicted += np.repeat(range(3), row).tolist()
    expected = f1_score(truth, predicted, average=None)
    assert [found["per_class"][name]["f1"]["value"] for name in CLASSES] == pytest.approx(expected.tolist())


def test_where_nothing_differs_it_guesses():
    accuracies = [measure_classes(*corpus(0.0, seed=seed), seed=seed)["accuracy"]["value"] for seed in range(6)]
    assert np.mean(accuracies) == pytest.approx(1 / 3, abs=0.13)  # 216 guesses: 4 standard errors


def test_no_prompt_is_on_two_sides_and_every_text_on_one():
    prompts = [f"prompt {number % 17}" for number in range(200)]
    parts = split_prompts(prompts, seed=1)
    assert (sum(part.astype(int) for part in parts) == 1).all()
    sides = [{prompt for prompt, inside in zip(prompts, part, strict=True) if inside} for part in parts]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert [len(side) for side in sides] == [10, 3, 4]


def test_a_text_that_is_tested_on_is_never_trained_on():
    """The same catch-phrase under every prompt: nothing is left to train on, and that is said, not passed over."""
    rows, learn = corpus(4.0)
    same = [
        LabelledText("Arr." if row.label == "captain" else row.text, row.label, row.prompt, row.generator)
        for row in rows
    ]
    found = measure_classes(same, learn, seed=0)
    assert found["repeated"] == 48  # the captain's texts on the 48 prompts that are not tested
    assert found["per_class"]["captain"]["recall"]["value"] == 0.0
    assert found["per_class"]["captain"]["precision"]["reason"] == "no tested text was taken for this class"
    assert measure_classes(rows, learn, seed=0)["repeated"] == 0


def test_one_model_s_style_does_not_pass_for_a_persona():
    """One generator writes only personas, in a style of its own: by style alone the split by prompt is easy, the other is not."""
    draw = np.random.default_rng(0)
    rows, features = [], []
    for prompt in range(60):
        for label, generator in ((NONE, "a"), ("captain", "b"), ("captain", "c"), (NONE, "c")):
            rows.append(LabelledText(f"{label} {generator} {prompt}", label, f"prompt {prompt}", generator))
            feature = draw.standard_normal(WIDTH)
            feature[0] += {"a": -6.0, "b": 6.0, "c": 0.0}[generator]
            features.append(feature)
    found = measure_classes(rows, on_features(np.array(features)), seed=0)
    assert found["accuracy"]["value"] > 0.65
    assert found["generators"]["c"]["value"] < 0.65
    honest = measure_classes(*corpus(4.0, style=1.0), seed=0)["generators"]
    assert honest["a"]["value"] > 0.8 and honest["b"]["value"] > 0.8


def test_the_temperature_undoes_overconfidence_and_minimises_the_loss():
    draw = np.random.default_rng(0)
    logits = draw.standard_normal((4000, 3)) * 1.5
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([draw.choice(3, p=chance) for chance in chances])
    assert fit_temperature(logits, labels) == pytest.approx(1.0, abs=0.08)
    assert fit_temperature(3 * logits, labels) == pytest.approx(3 * fit_temperature(logits, labels), rel=0.01)

    def loss(temperature: float) -> float:
        scaled = np.exp(3 * logits / temperature)
        return log_loss(labels, scaled / scaled.sum(1, keepdims=True))

    best = fit_temperature(3 * logits, labels)
    assert loss(best) <= min(loss(best * 0.9), loss(best * 1.1), loss(1.0))


def test_labels_that_are_all_guessed_right_do_not_make_it_certain():
    """Six of six right: no more than seven eighths sure, as many as one may expect of the next."""
    logits, labels = np.tile([2.0, 0.0], (6, 1)), np.zeros(6, dtype=int)
    scaled = logits[0] / fit_temperature(logits, labels)
    assert 1 / (1 + np.exp(scaled[1] - scaled[0])) == pytest.approx(7 / 8, abs=0.005)


def test_calibration_error_follows_its_definition():
    confidence, right = np.array([0.95, 0.95, 0.55, 0.55]), np.array([1.0, 1.0, 1.0, 0.0])
    assert calibration_error(confidence, right) == pytest.approx(0.5 * 0.05 + 0.5 * 0.05)
    assert calibration_error(np.ones(5), np.zeros(5)) == 1.0


@pytest.mark.parametrize(("sharpness", "truth"), [(1.0, 0.0), (3.0, 0.117)])
def test_the_interval_of_the_calibration_error_knows_that_noise_makes_an_error(sharpness, truth):
    """Labels drawn from probabilities, and said more surely than they are; the truth of the second is by two million texts."""
    draw, covered, prompts = np.random.default_rng(1), 0, [str(number) for number in range(100)]
    for trial in range(100):
        logits = draw.normal(0, 2.5, 100)
        labels = (draw.random(100) < 1 / (1 + np.exp(-logits))).astype(float)
        said = 1 / (1 + np.exp(-sharpness * logits))
        found = calibration_interval(said, labels, prompts, seed=trial, resamples=200)
        assert found.low <= found.value <= found.high
        covered += found.low <= truth <= found.high
    assert covered >= 85  # 0.92 in a longer simulation, less three standard errors of 100 trials


def test_the_surest_texts_are_decided_first():
    found = measure_classes(*corpus(1.5), seed=0)["abstention"]
    assert [each["decided"] for each in found] == [1.0, 0.9, 0.8, 0.7, 0.6, 0.5]
    assert found[0]["accuracy"]["n"] == 36 and found[-1]["accuracy"]["n"] == 18
    assert [each["threshold"] for each in found] == sorted(each["threshold"] for each in found)
    assert found[-1]["accuracy"]["value"] > found[0]["accuracy"]["value"]


def test_too_few_texts_are_named():
    rows, learn = corpus(4.0, prompts=5)
    with pytest.raises(ValueError, match="none 5, captain 5, poet 5"):
        measure_classes(rows, learn, seed=0)
    plain = [row for row in corpus(4.0)[0] if row.label == NONE]
    with pytest.raises(ValueError, match="two classes"):
        measure_classes(plain, learn, seed=0)


def test_the_page_shows_every_class_and_generator():
    found = measure_classes(*corpus(4.0), seed=0)
    page = render_sheet(classes_sheet({"runs": ["one", "two"], "encoder": "e", "seed": 0, "command": "c", **found}))
    assert "the right one of 3 classes" in page
    for name in (*CLASSES, "Generators left out", "Reliability", "Calibrated"):
        assert f">{name}<" in page
    assert page.count('class="bubble"') == sum(len(bins) for bins in found["reliability"].values()) > 2


def test_the_bins_of_the_reliability_diagram_make_the_calibration_error():
    found = measure_classes(*corpus(1.5), seed=0)
    for when, bins in found["reliability"].items():
        assert sum(each["n"] for each in bins) == found["num_test"]
        by_hand = sum(each["n"] * abs(each["confidence"] - each["observed"]) for each in bins) / found["num_test"]
        assert found["calibration_error"][when]["value"] == pytest.approx(by_hand)
    right = sum(each["n"] * each["observed"] for each in found["reliability"]["after"]) / found["num_test"]
    assert right == pytest.approx(found["accuracy"]["value"])


def test_every_text_is_tested_by_a_head_that_saw_neither_its_prompt_nor_the_same_text():
    """A learner that knows by heart what it was trained on finds nothing in the split by generator that it knows."""
    rows = [
        LabelledText(f"{label} on {prompt % 30}", label, f"prompt {prompt}", generator)
        for prompt in range(60)
        for label, generator in ((NONE, "student"), ("in_character", "teacher"), ("in_character", "full"))
    ]
    masks_seen: list[np.ndarray] = []

    def by_heart(masks, labels_N, num_classes):
        masks_seen.extend(masks)
        logits = []
        for mask in masks:
            known = {rows[n].text for n in np.flatnonzero(mask)} | {rows[n].prompt for n in np.flatnonzero(mask)}
            logits.append(
                np.array(
                    [
                        np.eye(2)[label if {row.text, row.prompt} & known else 1 - label]
                        for row, label in zip(rows, labels_N, strict=True)
                    ]
                )
            )
        return logits

    found = across_generators(rows, "student", by_heart, seed=0)
    assert len(masks_seen) == 2 * 5 and all(mask.any() for mask in masks_seen)
    assert {own["value"] for tested in found.values() for own in tested.values()} == {0.0}
    assert {own["n"] for tested in found.values() for own in tested.values()} == {60}


def test_what_was_trained_on_need_not_be_answered():
    """A learner may leave the rows of its mask without an answer: nothing measured looks at them."""
    rows, learn = corpus(4.0)

    def silent(masks, labels_N, num_classes):
        return [
            np.where(mask[:, None], np.nan, own)
            for mask, own in zip(masks, learn(masks, labels_N, num_classes), strict=True)
        ]

    assert measure_classes(rows, silent, seed=0) == measure_classes(rows, learn, seed=0)
