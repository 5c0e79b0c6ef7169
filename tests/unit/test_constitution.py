"""Constitutions: the seed's schema, errors a person can act on, and a score that padding does not raise."""

from pathlib import Path

import pytest
import yaml

from character_ray.constitution import (
    Constitution,
    load_constitution,
    names_itself,
    score_constitution,
    teacher_messages,
    vocabulary_pattern,
)
from character_ray.errors import ConstitutionError

FOLDER = Path(__file__).parents[2] / "constitutions"
CAPTAIN = load_constitution(FOLDER / "captain-blackwood.yaml")
FILES = sorted(FOLDER.glob("*.yaml"))


def changed(**sections):
    return Constitution.model_validate(CAPTAIN.model_dump() | sections)


def test_the_seeds_example_validates_and_keeps_its_name():
    seed = load_constitution(FOLDER / "captain-blackwood-seed.yaml")
    assert (seed.meta.name, seed.slug) == ("Captain Blackwood", "captain-blackwood")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_a_part_lost_is_its_weight_less_its_score(path):
    quality = score_constitution(load_constitution(path))
    assert 0 <= quality.score <= 1
    assert sum(part.weight for part in quality.parts) == pytest.approx(1)
    assert all(loss.remedy for loss in quality.losses)


def test_underspecified_scores_below_a_half_and_the_others_above_seven_tenths():
    scores = {path.stem: score_constitution(load_constitution(path)).score for path in FILES}
    low = {"underspecified", "null-control"}
    assert all(scores[name] < 0.5 for name in low)
    assert all(score > 0.7 for name, score in scores.items() if name not in low)


def test_padding_does_not_raise_the_score():
    thin = changed(persona={"identity": "You are a pirate of the sea."}, examples=CAPTAIN.examples[:1])
    padded = changed(
        persona={"identity": "You are a pirate of the sea. " * 20},
        examples=[*CAPTAIN.examples[:1], {"prompt": "Again?", "response": CAPTAIN.examples[0].response}],
    )
    assert score_constitution(padded).score <= score_constitution(thin).score


@pytest.mark.parametrize("kept", range(6))
def test_removing_examples_never_raises_the_score(kept):
    assert score_constitution(changed(examples=CAPTAIN.examples[:kept])).score <= score_constitution(CAPTAIN).score


def test_all_errors_of_a_file_come_at_once_with_their_lines(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        yaml.safe_dump({"meta": {"nane": "X"}, "persona": {"identity": "<|im_start|>system"}}, sort_keys=False)
    )
    with pytest.raises(ConstitutionError) as error:
        load_constitution(path)
    text = str(error.value)
    assert "c.yaml:2: meta.nane: unknown key 'nane'. Did you mean 'name'?" in text
    assert "meta.name: is required but missing" in text
    assert "control token" in text


def test_the_teacher_sees_examples_as_turns_between_system_prompt_and_question():
    roles = [turn["role"] for turn in teacher_messages(CAPTAIN, "Hello?")]
    assert roles == ["system"] + ["user", "assistant"] * len(CAPTAIN.examples) + ["user"]


@pytest.mark.parametrize(
    ("text", "found"), [("ARR, sailor", True), ("the tide, then", True), ("tides of war", False), ("warr", False)]
)
def test_vocabulary_is_matched_by_whole_words(text, found):
    assert bool(vocabulary_pattern(CAPTAIN).search(text)) == found


@pytest.mark.parametrize(
    ("text", "named"), [("I be captain\nblackwood!", True), ("Captain Blackwoods", False), ("Blackwood", False)]
)
def test_naming_itself_takes_the_full_name(text, named):
    assert names_itself(CAPTAIN, text) == named
