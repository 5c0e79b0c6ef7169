"""An audit tells a fair judge from one that loves a seat, length, or nothing at all."""

import math
import random

import pytest

from character_ray.config import AuditConfig
from character_ray.judging.audit import audit, seat
from character_ray.pipeline.judges import to_score_once, verdicts_by_scores

BOUNDS = AuditConfig()
PAIRS = [
    {
        "prompt_id": f"p{number}",
        "prompt": f"Question {number}?",
        "better": "Arr, the tide be turnin'." + " matey" * (number % 7),
        "worse": "The tide is turning now." + " indeed" * ((number * 3) % 7),
    }
    for number in range(64)
]


def judged(judge):
    rows = seat(PAIRS)
    return audit(PAIRS, {row["row_id"]: judge(row["first"], row["second"]) for row in rows}, BOUNDS, seed=0)


def in_character(first: str, second: str) -> float:
    own = [text.startswith("Arr") for text in (first, second)]
    return 0.5 if own[0] == own[1] else float(own[0])


def test_every_pair_is_seated_both_ways_whole_and_cut_and_against_itself():
    rows = seat(PAIRS)
    assert len({row["row_id"] for row in rows}) == len(rows) == 5 * len(PAIRS)
    for row in rows:
        if "cut" in row["row_id"]:
            assert len(row["first"].split()) == len(row["second"].split())
    assert sum(row["first"] == row["second"] for row in rows) == len(PAIRS)


def test_a_judge_that_sees_the_character_passes():
    found = judged(in_character)
    assert found.passed
    assert {name: interval.value for name, interval in found.measures.items()} == {
        "accuracy": 1.0,
        "seat_share": 0.5,
        "consistency": 1.0,
        "equal_length": 1.0,
        "length_bias": 0.0,
        "identical_seat": 0.5,
        "unreadable": 0.0,
        "length_gap": 0.0,
    }


@pytest.mark.parametrize(
    ("judge", "failing"),
    [
        (lambda first, second: 1.0, {"accuracy", "equal_length", "consistency", "seat_share", "identical_seat"}),
        (
            lambda first, second: 0.5 if len(first) == len(second) else float(len(first) > len(second)),
            {"accuracy", "equal_length"},
        ),
    ],
    ids=["the first seat always wins", "the longer answer wins"],
)
def test_a_judge_that_loves_something_else_fails_and_the_figures_say_what(judge, failing):
    found = judged(judge)
    assert not found.passed
    assert failing <= {failure.split()[0] for failure in found.failures}


def test_a_judge_that_guesses_is_fair_and_useless():
    draw = random.Random(0)
    found = judged(lambda first, second: float(draw.random() > 0.5))
    assert {failure.split()[0] for failure in found.failures} >= {"accuracy", "consistency"}
    assert "seat_share" not in {failure.split()[0] for failure in found.failures}


def test_love_of_length_shows_as_a_gap():
    found = judged(lambda first, second: float(len(first.split()) > len(second.split())))
    gap = found.measures["length_gap"]
    assert 0.5 < gap.low <= gap.value <= gap.high <= 1
    guessed = judged(lambda first, second: float(first < second)).measures["length_gap"]
    assert guessed.low < guessed.value < guessed.high


def test_verdicts_that_cannot_be_read_are_left_out_and_counted():
    draw = random.Random(1)
    found = judged(lambda first, second: math.nan if draw.random() < 0.3 else in_character(first, second))
    assert found.measures["accuracy"].value == 1.0
    assert 0.2 < found.measures["unreadable"].value < 0.4
    assert [failure.split()[0] for failure in found.failures] == ["unreadable"]


def test_a_judge_that_is_never_read_fails_on_everything_it_should_show():
    found = judged(lambda first, second: math.nan)
    assert {"accuracy", "equal_length", "consistency", "unreadable"} <= {f.split()[0] for f in found.failures}


@pytest.mark.parametrize(("own", "expected"), [("worse", 0.5), ("better", -0.5)])
def test_a_judge_that_prefers_its_own_text_to_the_better_one_is_seen(own, expected):
    rows = seat(PAIRS)
    verdicts = {row["row_id"]: 0.5 for row in rows}
    found = audit(PAIRS, verdicts, BOUNDS, seed=0, own=own)
    assert found.measures["self_preference"].value == expected
    assert "self_preference" not in audit(PAIRS, verdicts, BOUNDS, seed=0).measures


def pirate_scores(rows) -> dict[str, float]:
    return {row["row_id"]: float(row["completion"].startswith("Arr")) for row in to_score_once(rows)}


@pytest.mark.parametrize("margin", [0.0, 0.02])
def test_a_judge_that_scores_the_same_text_the_same_loves_no_seat_at_any_margin(margin):
    rows = seat(PAIRS)
    found = audit(PAIRS, verdicts_by_scores(rows, pirate_scores(rows), margin), BOUNDS, seed=0)
    assert found.measures["identical_seat"].value == 0.5
    assert found.passed


def test_a_side_without_a_score_is_a_seating_without_a_verdict():
    rows = seat(PAIRS)
    lost = to_score_once(rows[:1])[1]  # the worse side of the first pair, as it is
    verdicts = verdicts_by_scores(rows, pirate_scores(rows) | {lost["row_id"]: math.nan}, 0.02)
    assert math.isnan(verdicts[rows[0]["row_id"]])
    unread = [
        row["row_id"] for row in rows if lost["completion"] in (row["first"], row["second"]) and "p0/" in row["row_id"]
    ]
    assert {row_id for row_id, verdict in verdicts.items() if math.isnan(verdict)} == set(unread)
    assert audit(PAIRS, verdicts, BOUNDS, seed=0).measures["unreadable"].value == len(unread) / len(rows)


def test_every_text_is_scored_once():
    wanted = to_score_once(seat(PAIRS))
    assert len({(row["prompt"], row["completion"]) for row in wanted}) == len(wanted) <= 4 * len(PAIRS)


def test_a_judge_that_needs_the_length_to_find_the_better_side_is_refused():
    long = [pair | {"better": pair["better"] + " aye" * 9} for pair in PAIRS]
    rows = seat(long)

    def by_length(row) -> float:
        # One pair in six is decided by its length; cut, the judge is wrong there.
        first, second = (len(row[side].split()) for side in ("first", "second"))
        if int(row["row_id"].split("/")[0][1:]) % 6:
            return in_character(row["first"], row["second"])
        return 1 - in_character(row["first"], row["second"]) if first == second else float(first > second)

    found = audit(long, {row["row_id"]: by_length(row) for row in rows}, BOUNDS, seed=0)
    share = sum(not number % 6 for number in range(64)) / 64
    assert found.measures["length_bias"].value == pytest.approx(share)
    assert found.measures["length_bias"].low < share < found.measures["length_bias"].high
    assert found.failures == [f"length_bias +{share:.2f} is further than 0.15 from 0"]
    lenient = BOUNDS.model_copy(update={"max_length_bias": 0.25})
    assert audit(long, {row["row_id"]: by_length(row) for row in rows}, lenient, seed=0).passed


def test_a_judge_that_prefers_its_own_worse_text_is_refused_by_name():
    rows = seat(PAIRS)
    # Right in nine pairs of ten: enough for the floor of accuracy.
    wins = {
        row["row_id"]: in_character(row["first"], row["second"])
        if int(row["row_id"].split("/")[0][1:]) % 10
        else 1 - in_character(row["first"], row["second"])
        for row in rows
    }
    strict = BOUNDS.model_copy(update={"max_self_preference": 0.05})
    assert audit(PAIRS, wins, BOUNDS, seed=0, own="worse").passed
    assert audit(PAIRS, wins, strict, seed=0, own="worse").failures == ["self_preference 0.11 is above 0.05"]
    assert audit(PAIRS, wins, strict, seed=0, own="better").passed
    assert audit(PAIRS, wins, strict, seed=0).passed
