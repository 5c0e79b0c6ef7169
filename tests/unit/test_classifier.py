"""The persona classifier on a real encoder of a few words: what it learns, that its test prompts are unseen, and its calibration."""

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import BoW

from character_ray.evaluation.classifier import PersonaClassifier, reliability
from character_ray.evaluation.multiclass import calibration_error
from character_ray.report.schema import Classifier

PROMPTS = 24
EACH = 4
OWN_WORDS = [f"prompt{number}" for number in range(PROMPTS)]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> PersonaClassifier:
    """Counts the pirate's words, the plain ones, and a word for each prompt."""
    folder: Path = tmp_path_factory.mktemp("encoder")
    SentenceTransformer(modules=[BoW(vocab=["arr", "matey", "indeed", "sir", *OWN_WORDS])], device="cpu").save(
        str(folder)
    )
    return PersonaClassifier(folder, "four words")


def two_by_two() -> tuple[list[str], list[bool], list[str]]:
    """To every prompt two answers of the pirate and two plain ones."""
    texts = ["arr matey", "arr", "indeed sir", "indeed"] * PROMPTS
    return texts, [True, True, False, False] * PROMPTS, [f"p{number // EACH}" for number in range(len(texts))]


def test_it_learns_what_tells_the_persona_apart(classifier: PersonaClassifier):
    found = Classifier.model_validate(classifier.fit(*two_by_two(), seed=0))
    assert found.accuracy.value == 1
    assert {name: (own.precision, own.recall, own.f1) for name, own in found.classes.items()} == {
        "plain": (1, 1, 1),
        "in_character": (1, 1, 1),
    }
    assert (
        sum(own.support for own in found.classes.values())
        == found.num_test
        == sum(own["n"] for own in found.reliability)
    )
    pirate, plain, unknown = classifier.probability(["matey arr", "sir indeed", "nothing known"])
    assert pirate > 0.9 > 0.1 > plain
    assert unknown == pytest.approx(0.5, abs=0.1)
    # All of it is right, so the error is how far the head stays from being sure.
    assert 0 < found.expected_calibration_error < 0.1


def test_no_prompt_stands_on_both_sides_of_the_split(classifier: PersonaClassifier):
    """Every answer has its prompt's word alone, and all answers to a prompt one label: who saw the prompt knows it, nobody else can."""
    texts = [word for word in OWN_WORDS for _ in range(EACH)]
    labels = [number // EACH % 2 == 0 for number in range(len(texts))]
    for seed in range(3):
        found = classifier.fit(texts, labels, texts, seed=seed)
        assert (found["num_train"], found["num_test"]) == (len(texts) * 3 / 4, len(texts) / 4)
        # Words of unseen prompts were never learnt, so that all of them get one answer, right for one class.
        supports = [own["support"] for own in found["classes"].values()]
        assert found["accuracy"]["value"] in [support / found["num_test"] for support in supports]
        assert "6 prompts" in found["accuracy"]["method"]
        assert len(found["reliability"]) == 1


def test_the_same_seed_draws_the_same_split_and_another_another(classifier: PersonaClassifier):
    texts, labels, prompts = two_by_two()
    texts = [f"{text} {'indeed' if number % 7 == 0 else ''}" for number, text in enumerate(texts)]
    one, again, other = (classifier.fit(texts, labels, prompts, seed=seed) for seed in (1, 1, 2))
    assert one == again != other


def test_reliability_and_its_error_by_hand():
    probability, labels = np.array([0.02, 0.08, 0.55, 0.51, 0.59, 0.95, 1.0]), np.array([0, 1, 1, 1, 0, 1, 1])
    bins = reliability(probability, labels)
    assert [(each["n"], each["observed"]) for each in bins] == [(2, 0.5), (3, pytest.approx(2 / 3)), (2, 1)]
    assert [each["confidence"] for each in bins] == pytest.approx([0.05, 0.55, 0.975])
    by_hand = (2 * 0.45 + 3 * (2 / 3 - 0.55) + 2 * 0.025) / 7
    assert calibration_error(probability, labels) == pytest.approx(by_hand)


def test_the_reported_error_is_that_of_the_reported_bins(classifier: PersonaClassifier):
    found = classifier.fit(*two_by_two(), seed=3)
    bins = found["reliability"]
    by_bins = sum(each["n"] * abs(each["confidence"] - each["observed"]) for each in bins) / found["num_test"]
    assert found["expected_calibration_error"] == pytest.approx(by_bins)


def test_whoever_says_what_is_so_has_no_calibration_error():
    honest = np.array([0.75] * 4 + [0.25] * 4), np.array([1, 1, 1, 0, 0, 0, 0, 1])
    assert calibration_error(*honest) == 0
    assert calibration_error(np.array([1.0, 1.0]), np.array([0, 0])) == 1


def test_fewer_than_eight_texts_of_a_class_are_too_few(classifier: PersonaClassifier):
    with pytest.raises(ValueError, match="7 in-character and 9 plain texts are too few"):
        classifier.fit(["arr"] * 7 + ["sir"] * 9, [True] * 7 + [False] * 9, [str(n) for n in range(16)], seed=0)
