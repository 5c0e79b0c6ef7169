"""Choosing a persona: abstention, stickiness, calibration, and the real encoder on real constitutions."""

from pathlib import Path

import numpy as np
import pytest

from character_ray.constitution import load_constitution
from character_ray.encoder import Encoder
from character_ray.models import ENCODER, resolve_model
from character_ray.routing import (
    Calibration,
    Choice,
    EncoderRouter,
    KeywordRouter,
    Profile,
    choose_for_turns,
    profile_texts,
    user_turns,
)
from character_ray.routing.measure import measure_routing
from character_ray.routing.profiles import distinct_texts
from character_ray.routing.requests import routed_requests
from character_ray.routing.router import fit_calibration, probabilities_of

FOLDER = Path(__file__).parents[2] / "constitutions"
PERSONAS = ("captain-blackwood", "coach-reyes", "garden-poet", "harbor-coffee-agent")


@pytest.fixture(scope="module")
def constitutions():
    return [load_constitution(FOLDER / f"{name}.yaml") for name in PERSONAS]


@pytest.fixture(scope="module")
def encode():
    return Encoder(resolve_model(ENCODER))


def on_axes(texts):
    """One axis for each of three words."""
    vectors = np.array([[float(word in text) for word in ("sea", "rose", "run")] for text in texts]) + 1e-9
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def router(threshold=0.5):
    profiles = [Profile("pirate", ("sea", "the sea")), Profile("poet", ("rose", "a rose"))]
    return EncoderRouter(on_axes, profiles, Calibration(0.1, 0.4), threshold)


def test_a_text_close_to_no_profile_is_answered_by_the_base():
    assert router().choose("the sea").slug == "pirate"
    assert router().choose("run").slug is None
    assert router().choose("  ") == Choice(None, 0.0)


def test_a_text_between_two_profiles_is_left_undecided_when_the_threshold_asks_for_more():
    assert router(0.6).choose("sea and rose").slug is None
    assert router(0.6).choose("sea and rose", allowed=["poet"]).slug == "poet"


def test_nobody_is_chosen_who_is_not_allowed():
    assert router().choose("sea", allowed=["poet"]).slug is None
    assert router().choose("sea", allowed=[]) == Choice(None, 0.0)


def test_the_first_turn_that_decides_decides_for_good():
    choose = router().choose
    assert choose_for_turns(choose, ["run", "sea", "rose"]).slug == "pirate"
    assert choose_for_turns(choose, ["run", "sea"]) == choose_for_turns(choose, ["run", "sea", "rose", "rose"])
    assert choose_for_turns(choose, []).slug is None


def test_only_what_the_user_wrote_is_read():
    messages = [
        {"role": "system", "content": "secret"},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "image_url"}, "x"]},
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": "two"},
        {"role": "user", "content": None},
        17,
    ]
    assert user_turns(messages) == ["one", "two", ""]


def test_texts_that_two_profiles_share_tell_nobody_apart():
    profiles = [Profile("a", ("same", "own")), Profile("b", ("same",))]
    assert distinct_texts(profiles) == [("own",), ("same",)]


def test_calibration_finds_the_floor_between_near_and_far():
    near, far = np.full((40, 2), [0.7, 0.1]), np.full((40, 2), [0.15, 0.1])
    # One in forty of each is on the wrong side, or certainty would be likeliest.
    near[0], far[0] = [0.1, 0.1], [0.7, 0.1]
    found = fit_calibration(np.concatenate([near, far]), [0] * 40 + [-1] * 40)
    assert 0.15 < found.floor < 0.7
    rows = probabilities_of(np.array([[0.7, 0.1], [0.15, 0.1]]), found)
    assert rows.sum(1) == pytest.approx(1)
    assert rows[0].argmax() == 1
    assert rows[1].argmax() == 0


def test_a_calibration_without_texts_that_suit_none_is_refused():
    with pytest.raises(ValueError, match="suit none"):
        fit_calibration(np.ones((2, 2)), [0, 1])


def test_keywords_abstain_on_ties_and_on_nothing_in_common():
    words = KeywordRouter([Profile("pirate", ("ship anchor",)), Profile("poet", ("garden ship",))])
    assert words.choose("my anchors").slug == "pirate"
    assert words.choose("a ship").slug is None
    assert words.choose("anchor in the garden").slug is None


def test_templates_of_the_test_are_never_calibrated_on(constitutions):
    calibrate, test = (routed_requests(constitutions, part, 3, seed=0) for part in ("calibrate", "test"))
    assert not {each.text for each in calibrate} & {each.text for each in test}
    assert routed_requests(constitutions, "test", 3, seed=0) == test


def test_written_requests_use_no_word_of_the_vocabulary():
    for path in sorted(FOLDER.glob("*.yaml")):
        constitution = load_constitution(path)
        for request in routed_requests([constitution], "test", 1, seed=0):
            if request.group == "written":
                words = {word.lower() for word in constitution.persona.voice.vocabulary}
                padded = f" {request.text.lower().strip('.?!')} "
                assert not [word for word in words if f" {word} " in padded], request.text


def test_the_encoder_finds_personas_where_keywords_do_not_and_keeps_quiet_off_topic(constitutions, encode):
    found = measure_routing(constitutions, encode, threshold=0.5, per_template=2, seed=0)
    ours, keywords = found["routers"]["encoder"], found["routers"]["keywords"]
    assert ours["accuracy_written"]["value"] > keywords["accuracy_written"]["value"]
    assert ours["accuracy_decided"]["value"] > 0.85
    assert ours["abstained_off_topic"]["value"] > 0.85
    assert sum(map(sum, ours["confusion"])) == found["num_test"]


def test_routing_needs_two_personas_of_different_names(constitutions, encode):
    with pytest.raises(ValueError, match="different names"):
        measure_routing([constitutions[0]] * 2, encode, threshold=0.5, per_template=1, seed=0)


def test_a_profile_says_what_the_persona_is_about(constitutions):
    texts = profile_texts(constitutions[3])
    assert "My package is late." in texts
    assert any("roaster" in text for text in texts)
    assert len(texts) == len(set(texts))
