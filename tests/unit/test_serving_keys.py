"""API keys: who is let in, to whom, and how often."""

import pytest

from character_ray.errors import ServingError
from character_ray.serving.key_watch import ENVIRONMENT, KeyWatch, gather_keys, keys_of_environment
from character_ray.serving.keys import KeyRing, add_key, load_keys


class Clock:
    """Stands still until it is moved."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def ring(tmp_path, clock=None, **options):
    secret = add_key(tmp_path / "keys.yaml", "website", **options)
    return f"Bearer {secret}", KeyRing(load_keys(tmp_path / "keys.yaml"), clock or Clock())


def test_the_file_keeps_no_key_and_a_known_key_opens(tmp_path):
    header, keys = ring(tmp_path)
    assert header.removeprefix("Bearer ") not in (tmp_path / "keys.yaml").read_text()
    assert (tmp_path / "keys.yaml").stat().st_mode & 0o077 == 0
    assert keys.refuse(header, "captain") is None
    assert keys.refuse(header.replace("Bearer", "bearer"), "captain") is None


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer cr-wrong", "Basic abc", "cr-wrong"])
def test_no_or_a_wrong_key_is_refused(tmp_path, header):
    _, keys = ring(tmp_path)
    refusal = keys.refuse(header, "captain")
    assert refusal is not None
    assert refusal.status == 401


def test_without_keys_everybody_is_let_in():
    assert KeyRing(()).refuse(None, "captain") is None
    assert KeyRing(()).sees(None, "captain")


def test_a_key_opens_its_personas_only(tmp_path):
    header, keys = ring(tmp_path, personas=("poet",))
    assert keys.refuse(header, "poet") is None
    refusal = keys.refuse(header, "captain")
    assert refusal is not None
    assert refusal.status == 403
    assert keys.sees(header, "poet")
    assert not keys.sees(header, "captain")


@pytest.mark.parametrize("scores", [True, False])
def test_only_a_key_made_for_it_may_score(tmp_path, scores):
    header, keys = ring(tmp_path, scores=scores)
    assert keys.may_score(header) is scores
    assert not keys.may_score("Bearer cr-wrong")
    assert KeyRing(()).may_score(None)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"scores": True}, None),
        ({"personas": ("judge",)}, None),
        ({}, "takes a key that may score"),
        ({"personas": ("poet",), "scores": True}, "only for poet"),
    ],
)
def test_the_judge_is_for_keys_that_may_score_or_whose_list_names_it(tmp_path, options, why):
    header, keys = ring(tmp_path, **options)
    refusal = keys.refuse(header, "judge")
    assert keys.sees(header, "judge") is (why is None)
    if why is None:
        assert refusal is None
    else:
        assert (refusal.status, refusal.code) == (403, "model_not_allowed")
        assert why in refusal.message
    assert KeyRing(()).refuse(None, "judge") is None, "without keys everybody may"


def test_a_rate_is_kept_over_any_minute_and_refills_evenly(tmp_path):
    clock = Clock()
    header, keys = ring(tmp_path, clock, requests_per_minute=6)
    assert [keys.refuse(header, "captain") for _ in range(6)] == [None] * 6
    refusal = keys.refuse(header, "captain")
    assert refusal is not None
    assert (refusal.status, round(refusal.retry_after_s)) == (429, 10)
    clock.now += 10
    assert keys.refuse(header, "captain") is None
    assert keys.refuse(header, "captain") is not None
    clock.now += 3600
    assert [keys.refuse(header, "captain") is None for _ in range(8)] == [True] * 6 + [False] * 2


def test_asking_about_models_costs_nothing(tmp_path):
    header, keys = ring(tmp_path, requests_per_minute=1)
    assert [keys.refuse(header) for _ in range(5)] == [None] * 5


def test_names_are_given_once_and_faults_of_the_file_are_named(tmp_path):
    path = tmp_path / "keys.yaml"
    add_key(path, "website")
    add_key(path, "phone", personas=("poet",), requests_per_minute=30)
    assert [key.name for key in load_keys(path)] == ["website", "phone"]
    with pytest.raises(ServingError, match="already has a key named 'website'"):
        add_key(path, "website")
    path.write_text("keys: [{name: x, sha256: abc}]\n")
    with pytest.raises(ServingError, match=r"sha256"):
        load_keys(path)
    path.write_text("keys: []\n")
    with pytest.raises(ServingError, match="holds no key"):
        load_keys(path)


def test_a_key_is_revoked_and_another_added_while_the_server_runs(tmp_path):
    path = tmp_path / "keys.yaml"
    first, keys = ring(tmp_path)
    watch = KeyWatch(keys, path)
    watch.look()
    second = f"Bearer {add_key(path, 'phone')}"
    watch.look()
    assert [keys.refuse(header, "captain") for header in (first, second)] == [None, None]
    path.write_text(
        path.read_text().partition("- name: website")[0]
        + "- name: phone"
        + path.read_text().partition("- name: phone")[2]
    )
    watch.look()
    assert [keys.refuse(header, "captain") is None for header in (first, second)] == [False, True]
    path.write_text("keys: []\n")
    watch.look()
    assert keys.refuse(second, "captain").status == 401, "no key is left, and nobody is let in"
    assert not keys.may_score(None)


@pytest.mark.parametrize("damage", ["keys: [{name: x, sha256: abc}]\n", "keys: [", None])
def test_a_file_that_cannot_be_read_leaves_the_keys_as_they_are_and_is_told_once(tmp_path, caplog, damage):
    path = tmp_path / "keys.yaml"
    header, keys = ring(tmp_path)
    watch = KeyWatch(keys, path)
    watch.look()
    path.unlink()
    if damage:
        path.write_text(damage)
    watch.look()
    watch.look()
    assert keys.refuse(header, "captain") is None
    assert keys.refuse("Bearer cr-wrong", "captain").status == 401
    assert sum("stay as they were" in record.message for record in caplog.records) == 1


def test_keys_may_stand_in_the_environment_beside_the_file(tmp_path):
    path = tmp_path / "keys.yaml"
    header = f"Bearer {add_key(path, 'website')}"
    lasting = keys_of_environment({ENVIRONMENT: path.read_text()})
    assert keys_of_environment({}) == ()
    other = f"Bearer {add_key(tmp_path / 'other.yaml', 'phone')}"
    keys = KeyRing(gather_keys(tmp_path / "other.yaml", lasting))
    (tmp_path / "other.yaml").write_text("keys: []\n")
    KeyWatch(keys, tmp_path / "other.yaml", lasting).look()
    assert [keys.refuse(each, "captain") is None for each in (header, other)] == [True, False]
    with pytest.raises(ServingError, match="two keys have the name website"):
        gather_keys(path, lasting)
    with pytest.raises(ServingError, match=rf"{ENVIRONMENT}:1"):
        keys_of_environment({ENVIRONMENT: "keys: [{name: x, sha256: abc}]"})
    with pytest.raises(ServingError, match=f"{ENVIRONMENT} holds no key"):
        keys_of_environment({ENVIRONMENT: "keys: []"})


@pytest.mark.parametrize("candidates", [True, False])
def test_only_a_key_made_for_it_may_ask_for_candidates(tmp_path, candidates):
    header, keys = ring(tmp_path, candidates=candidates)
    assert keys.may_try(header) is candidates
    assert not KeyRing(()).may_try(None), "without keys the recipe decides"
