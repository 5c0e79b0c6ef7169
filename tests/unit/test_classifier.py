"""The persona classifier on a real encoder of a few words: what it learns, that its test prompts are unseen, and its calibration."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import BoW

from character_ray.evaluation.calibration import calibration_error, reliability
from character_ray.evaluation.classifier import IN_CHARACTER, FrozenEncoder, PersonaClassifier, decided
from character_ray.evaluation.held_out import LabelledText
from character_ray.evaluation.multiclass import NONE
from character_ray.report.classifier_schema import Classifier

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
    return PersonaClassifier(FrozenEncoder(folder), "four words")


def written(texts: list[str], labels: list[bool], prompts: list[str]) -> list[LabelledText]:
    """Texts of a teacher and a student. Each has a word more, which the encoder does not know, so that no text is there twice."""
    return [
        LabelledText(f"{text} w{number}", IN_CHARACTER if own else NONE, prompt, "teacher" if own else "student")
        for number, (text, own, prompt) in enumerate(zip(texts, labels, prompts, strict=True))
    ]


def two_by_two() -> list[LabelledText]:
    """To every prompt two answers of the pirate and two plain ones."""
    texts = ["arr matey", "arr", "indeed sir", "indeed"] * PROMPTS
    return written(texts, [True, True, False, False] * PROMPTS, [f"p{n // EACH}" for n in range(len(texts))])


def test_it_learns_what_tells_the_persona_apart(classifier: PersonaClassifier):
    found = Classifier.model_validate(classifier.fit(two_by_two(), seed=0))
    assert found.accuracy.value == 1
    assert {name: (own.precision.value, own.recall.value, own.f1.value) for name, own in found.classes.items()} == {
        "plain": (1, 1, 1),
        "in_character": (1, 1, 1),
    }
    assert found.confusion == [[10, 0], [0, 10]]
    assert [own.support for own in found.classes.values()] == [10, 10]
    assert found.num_test == 20 == sum(own["n"] for own in found.reliability)
    pirate, plain, unknown = classifier.probability(["matey arr", "sir indeed", "nothing known"])
    assert pirate > 0.9 > 0.1 > plain
    assert unknown == pytest.approx(0.5, abs=0.1)
    # All of it is right, so the error is how far the head stays from being sure.
    assert found.expected_calibration_error.value is not None
    assert 0 < found.expected_calibration_error.value < 0.1


def test_no_prompt_stands_on_two_sides_of_the_split(classifier: PersonaClassifier):
    """Every answer has its prompt's word alone, and all answers to a prompt one label: who saw the prompt knows it, nobody else can."""
    texts = [word for word in OWN_WORDS for _ in range(EACH)]
    rows = written(texts, [number // EACH % 2 == 0 for number in range(len(texts))], texts)
    for seed in range(3):
        found = classifier.fit(rows, seed=seed)
        # 14, 5 and 5 of 24 prompts.
        assert (found["num_train"], found["num_calibrate"], found["num_test"]) == (14 * EACH, 5 * EACH, 5 * EACH)
        # Words of unseen prompts were never learnt, so that all of them get one answer, right for one class.
        supports = [own["support"] for own in found["classes"].values()]
        assert found["accuracy"]["value"] in [support / found["num_test"] for support in supports]
        assert "5 prompts" in found["accuracy"]["method"]
        assert len(found["reliability"]) == 1


def test_the_same_seed_draws_the_same_split_and_another_another(classifier: PersonaClassifier):
    rows = two_by_two()
    # One in seven says what the other side says, too.
    rows[::7] = [replace(row, text=f"indeed {row.text}") for row in rows[::7]]
    one, again, other = (classifier.fit(rows, seed=seed) for seed in (1, 1, 2))
    assert one == again != other


def test_a_text_that_is_tested_is_not_trained_on(classifier: PersonaClassifier):
    rows = two_by_two()
    rows[1] = replace(rows[1], text="arr arr")
    catch_phrase = [replace(row, text="arr arr") if "arr w" in row.text else row for row in rows]
    found = classifier.fit(catch_phrase, seed=0)
    assert found["repeated"] == 19  # of 24 on as many prompts, 5 of which are tested
    assert found["num_train"] + found["num_calibrate"] == 19 * EACH - 19
    assert classifier.fit(rows, seed=0)["repeated"] == 0


def test_a_temperature_mends_a_head_that_is_too_sure(classifier: PersonaClassifier):
    """One text in four says the opposite of what it is, and the words of its prompt let the head learn even that by heart."""
    draw = np.random.default_rng(0)
    labels = [number % 2 == 0 for number in range(PROMPTS * EACH)]
    prompts = [OWN_WORDS[number // EACH] for number in range(len(labels))]
    said = [
        ("arr matey" if own != lies else "indeed sir")
        for own, lies in zip(labels, draw.random(len(labels)) < 0.25, strict=True)
    ]
    rows = written([f"{text} {prompt}" for text, prompt in zip(said, prompts, strict=True)], labels, prompts)
    found = classifier.fit(rows, seed=4)
    assert found["temperature"] > 1.2
    assert found["expected_calibration_error"]["value"] < found["uncalibrated_error"]["value"]
    texts = ["arr matey", "indeed sir"]
    sure = classifier.probability(texts)
    classifier._temperature = 1.0
    assert (np.abs(classifier.probability(texts) - 0.5) > np.abs(sure - 0.5)).all()


def test_who_learnt_one_writer_s_style_misses_the_other(classifier: PersonaClassifier):
    """The trained model says matey where the teacher says arr, in plain words else: only who saw it can know that it is the persona's."""
    prompts = [f"p{number}" for number in range(PROMPTS)]

    def by(generator: str, text: str, label: str) -> list[LabelledText]:
        return [LabelledText(f"{text} {generator}{n}", label, prompt, generator) for n, prompt in enumerate(prompts)]

    rows = [
        *by("teacher", "arr", IN_CHARACTER),
        *by("dpo", "matey indeed", IN_CHARACTER),
        *by("full", "arr arr", IN_CHARACTER),
        *by("student", "indeed", NONE),
        *by("control", "sir", NONE),
    ]
    found = classifier.across_generators(rows, "student", seed=0)
    assert list(found) == ["teacher", "dpo", "full"]
    right = {name: {other: own["value"] for other, own in tested.items()} for name, tested in found.items()}
    assert right["teacher"] | {"control": 0} == {"teacher": 1, "dpo": 0, "full": 1, "student": 1, "control": 0}
    assert (right["dpo"]["dpo"], right["dpo"]["student"]) == (1, 1)
    assert {own["n"] for tested in found.values() for own in tested.values()} == {PROMPTS}


def test_an_answer_of_which_it_is_not_sure_is_left_undecided():
    found = decided(np.array([0.95, 0.92, 0.05, 0.6, 0.4]), ["a", "b", "c", "d", "e"], seed=0)
    assert found["decided_rate"]["value"] == pytest.approx(3 / 5)
    assert (found["persona_rate"]["value"], found["persona_rate"]["n"]) == (pytest.approx(2 / 3), 3)
    none = decided(np.array([0.5]), ["a"], seed=0)
    assert none["decided_rate"]["value"] == 0
    assert none["persona_rate"] == {"value": None, "reason": "it is sure of no answer"}


def test_reliability_and_its_error_by_hand():
    probability, labels = np.array([0.02, 0.08, 0.55, 0.51, 0.59, 0.95, 1.0]), np.array([0, 1, 1, 1, 0, 1, 1])
    bins = reliability(probability, labels)
    assert [(each["n"], each["observed"]) for each in bins] == [(2, 0.5), (3, pytest.approx(2 / 3)), (2, 1)]
    assert [each["confidence"] for each in bins] == pytest.approx([0.05, 0.55, 0.975])
    by_hand = (2 * 0.45 + 3 * (2 / 3 - 0.55) + 2 * 0.025) / 7
    assert calibration_error(probability, labels) == pytest.approx(by_hand)


def test_the_reported_error_is_that_of_the_reported_bins(classifier: PersonaClassifier):
    found = classifier.fit(two_by_two(), seed=3)
    bins = found["reliability"]
    by_bins = sum(each["n"] * abs(each["confidence"] - each["observed"]) for each in bins) / found["num_test"]
    assert found["expected_calibration_error"]["value"] == pytest.approx(by_bins)


def test_whoever_says_what_is_so_has_no_calibration_error():
    honest = np.array([0.75] * 4 + [0.25] * 4), np.array([1, 1, 1, 0, 0, 0, 0, 1])
    assert calibration_error(*honest) == 0
    assert calibration_error(np.array([1.0, 1.0]), np.array([0, 0])) == 1


def test_fewer_than_eight_texts_of_a_class_are_too_few(classifier: PersonaClassifier):
    rows = written(["arr"] * 7 + ["sir"] * 9, [True] * 7 + [False] * 9, [str(n) for n in range(16)])
    with pytest.raises(ValueError, match="7 in-character and 9 plain texts are too few"):
        classifier.fit(rows, seed=0)


def test_too_few_prompts_are_named(classifier: PersonaClassifier):
    texts, labels = ["arr", "sir"] * 10, [True, False] * 10
    with pytest.raises(ValueError, match="five prompts or more are needed"):
        classifier.fit(written(texts, labels, ["a", "a", "b", "b"] * 5), seed=0)
    apart = ["plain", "plain", "plain", "own", "own"]
    rows = written(texts, [n % 5 > 2 for n in range(20)], [apart[n % 5] + str(n % 5) for n in range(20)])
    with pytest.raises(ValueError, match="are of one class"):
        [classifier.fit(rows, seed=seed) for seed in range(10)]
