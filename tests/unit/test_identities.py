"""A judge is told to be a contestant's weights by their hash, else by name and address."""

from pathlib import Path

import pytest

from character_ray.config import Recipe
from character_ray.pipeline.identities import Candidate, Identity, identity_of_run, same_weights, shared
from character_ray.runs import write_json
from tests.finished_run import ROOT

HERE = "http://here/v1"


@pytest.mark.parametrize(
    ("one", "other", "basis"),
    [
        (Identity("a", HERE, "1"), Identity("b", hash="1"), "hash"),
        (Identity("a", HERE, "1"), Identity("a", HERE, "2"), None),
        (Identity("a", HERE), Identity("a", HERE), "address"),
        (Identity("a", HERE, "1"), Identity("a", HERE), "address"),
        (Identity("a", HERE), Identity("a", "http://there/v1"), "name"),
        (Identity("a", HERE), Identity("a", hash="1"), "name"),
        (Identity("a"), Identity("b"), None),
    ],
)
def test_hashes_decide_where_both_are_known_and_else_name_and_address(one, other, basis):
    assert same_weights(one, other) == same_weights(other, one) == basis


def test_what_was_trained_on_the_judge_shares_its_weights_but_did_not_write_with_them():
    judge = Identity("judge", hash="1")
    players = [
        [Candidate(Identity("x", hash="1"), wrote=True)],
        [Candidate(Identity("y", HERE, "2"), wrote=True), Candidate(Identity("z", HERE, "1"), wrote=False)],
        [Candidate(Identity("judge", HERE, "3"), wrote=True)],
    ]
    assert shared(judge, players) == {0: "hash", 1: "hash"}
    assert shared(judge, players, wrote=True) == {0: "hash"}


def test_a_run_tells_the_hashes_of_its_student_and_teacher_and_the_address_of_one_elsewhere(tmp_path: Path):
    stages = {
        "answers-full": {"artefact": "x", "inputs": {"model": {"hash": "student"}}},
        "teacher": {"artefact": "x", "inputs": {"teacher": {"hash": "teacher"}}},
    }
    write_json(tmp_path / "run.json", {"recipe": {}, "stages": stages})
    plain = {"name": "r", "constitution": ROOT / "constitutions" / "captain-blackwood.yaml"}
    student = {"name": "s", "revision": "main"}
    recipe = Recipe.model_validate(plain | {"student": student, "teacher": student})
    assert identity_of_run(tmp_path, recipe, "full") == Identity("s@main", hash="student")
    assert identity_of_run(tmp_path, recipe, "base") == Identity("s@main")
    assert identity_of_run(tmp_path, recipe, "teacher").hash == "teacher"
    away = plain | {"teacher": {"name": "t"}, "teacher_endpoint": {"url": f"{HERE}/"}}
    assert identity_of_run(tmp_path, Recipe.model_validate(away), "teacher") == Identity("t", HERE)
