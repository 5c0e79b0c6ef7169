"""Which of the teacher's samples is chosen, and which is rejected for it."""

import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from character_ray.config import DistillConfig, FilterConfig, LessonsConfig, load_recipe
from character_ray.plan import plan_recipe
from character_ray.stages.distill import build_pairs
from character_ray.stages.introspect import plain_rows
from character_ray.stages.sample_lessons import relevance_pairs, repetition_pairs
from character_ray.stages.updates import retained_pairs

SMALL = Path(__file__).parents[2] / "jobs" / "recipes" / "study-cpu.yaml"
CONFIG = DistillConfig(samples=2, lessons=LessonsConfig(repetition=1.0), filters=FilterConfig(min_contrast=0.5))
CLEAN = "Arr, the stars be lanterns that the old gods hung over the sea, matey."
LOOP = "Arr, a tale of stars, " + "a tale of stars, " * 6 + "matey."
WORSE = "Arr, " + "a tale of stars, " * 12 + "matey."


def prompt(number: int) -> dict[str, str]:
    return {"prompt_id": f"p{number}", "prompt": f"Question {number}?", "hint": ""}


def completion(name: str, number: int, text: str, error: str = "") -> dict[str, object]:
    return {
        "row_id": f"{name}-{number}",
        "prompt_id": f"p{number}",
        "completion": text,
        "finish_reason": "stop",
        "error": error,
    }


def made(samples: list[tuple[str, str]], config: DistillConfig = CONFIG, scores: dict[str, float] | None = None):
    """The pairs of prompts that the teacher answered twice each."""
    prompts = [prompt(number) for number in range(len(samples))]
    teacher = [
        completion(name, number, text)
        for number, texts in enumerate(samples)
        for name, text in zip("ab", texts, strict=True)
    ]
    student = [
        completion("student", number, "Stars are made of hydrogen and helium.") for number in range(len(samples))
    ]
    found = {row["row_id"]: 1.0 for row in teacher} | {row["row_id"]: 0.0 for row in student} | (scores or {})
    pairs = build_pairs(prompts, teacher, student, found, config)
    return pairs, repetition_pairs(pairs, teacher, found, config)


def test_the_looping_sample_is_rejected_for_the_clean_one_of_the_same_prompt():
    pairs, lessons = made([(CLEAN, LOOP), (CLEAN, CLEAN), (LOOP, LOOP)])
    assert [pair["drop_reason"] for pair in pairs] == ["", "", "repetition"]
    (lesson,) = lessons
    assert (lesson["kind"], lesson["prompt_id"], lesson["drop_reason"]) == ("repetition", "p0", "")
    assert lesson["prompt"] == pairs[0]["prompt"]
    assert lesson["chosen"][0]["content"] == CLEAN
    assert lesson["rejected"][0]["content"] == LOOP
    assert lesson["row_id"] not in {pair["row_id"] for pair in pairs}


def test_both_sides_are_in_voice_so_no_contrast_is_asked_for():
    _, lessons = made([(CLEAN, LOOP)], scores={"b-0": 1.4})
    assert lessons[0]["chosen_score"] - lessons[0]["rejected_score"] == pytest.approx(-0.4)


def test_the_share_keeps_those_that_loop_most():
    half = CONFIG.model_copy(update={"lessons": LessonsConfig(repetition=0.5)})
    _, lessons = made([(CLEAN, LOOP), (CLEAN, WORSE)], half)
    assert [lesson["rejected"][0]["content"] for lesson in lessons] == [WORSE]
    assert made([(CLEAN, LOOP)], CONFIG.model_copy(update={"lessons": LessonsConfig()}))[1] == []


def test_a_looping_sample_without_a_score_or_with_a_control_token_teaches_nothing():
    assert made([(CLEAN, LOOP)], scores={"b-0": math.nan})[1] == []
    assert made([(CLEAN, LOOP + " <|im_start|>")])[1] == []


def test_no_answer_is_repeated_in_introspection_or_in_an_update():
    pairs, lessons = made([(CLEAN, LOOP), (CLEAN, LOOP)])
    assert len(plain_rows([*pairs, *lessons], 9, seed=0)) == 2
    assert len(retained_pairs([*pairs, *lessons], [], [], 9, seed=0)) == 2


def test_the_plan_foresees_as_many_as_there_may_be():
    samples, repetition, relevance = (
        f"distill.{setting}" for setting in ("samples=2", "lessons.repetition=0.5", "lessons.relevance=0.25")
    )
    rows = [
        next(step.rows for step in plan_recipe(load_recipe(SMALL, changes)) if step.stage == "dpo")
        for changes in ([samples], [samples, repetition], [samples, repetition, relevance])
    ]
    assert rows == [72, 108, 126]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lessons": LessonsConfig(repetition=0.2)}, r"lessons\.repetition=0\.2"),
        ({"lessons": LessonsConfig(relevance=0.3)}, r"lessons\.relevance=0\.3"),
        ({"choose": "relevance"}, "choose=relevance"),
    ],
)
def test_one_sample_per_prompt_has_nothing_to_compare(changes, named):
    with pytest.raises(ValidationError, match=rf"{named} compares .* samples=1"):
        DistillConfig(samples=1, **changes)


POINT = "Arr, stars be great balls of fire, matey, burnin' hydrogen far over the sea."
SHANTY = "Arr, that be a tale of the seven seas, matey, and a fine tale it be."
RELEVANCE = DistillConfig(
    samples=2, choose="relevance", lessons=LessonsConfig(relevance=1.0), filters=FilterConfig(min_contrast=0.5)
)


def chosen_by(
    relevance: dict[str, float], config: DistillConfig = RELEVANCE, scores: dict[str, float] | None = None, **texts: str
):
    """The pairs and lessons of one prompt that the teacher answered to the point (``a``), more in character (``b``), and otherwise."""
    said = {"a": POINT, "b": SHANTY, **texts}
    teacher = [completion(name, 0, text) for name, text in said.items()]
    found = {"a-0": 1.0, "b-0": 2.0, "student-0": 0.0} | (scores or {})
    student = [completion("student", 0, "Stars are made of hydrogen.")]
    pairs = build_pairs([prompt(0)], teacher, student, found, config, relevance)
    return pairs, relevance_pairs(pairs, teacher, found, relevance, config)


def test_the_sample_that_says_most_about_what_was_asked_is_chosen_among_those_in_character():
    (pair,), _ = chosen_by({"a-0": 0.9, "b-0": 0.1})
    assert pair["chosen"][0]["content"] == POINT and pair["chosen_score"] == 1.0
    (pair,), _ = chosen_by({"a-0": 0.9, "b-0": 0.1}, scores={"a-0": 0.4})
    assert pair["chosen"][0]["content"] == SHANTY, "0.4 is less than the least contrast"
    (pair,), lessons = chosen_by({"a-0": math.nan, "b-0": -0.2})
    assert lessons == []
    assert pair["chosen"][0]["content"] == SHANTY, "a sample without a score comes last"


def test_the_sample_that_says_least_is_rejected_for_it():
    (pair,), (lesson,) = chosen_by({"a-0": 0.9, "b-0": 0.1})
    assert (lesson["kind"], lesson["directive"], lesson["drop_reason"]) == ("relevance", "relevance", "")
    assert lesson["chosen"] == pair["chosen"]
    assert lesson["rejected"][0]["content"] == SHANTY and lesson["rejected_score"] == 2.0
    assert lesson["row_id"] != pair["row_id"]
    assert len(plain_rows([pair, lesson], 9, seed=0)) == 1


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("I like the sea and the stars.", 0.3),  # out of character: the lesson would be the voice again
        (LOOP, 1.0),  # that is the lesson of repetition
        (SHANTY + " <|im_end|>", 1.0),
    ],
)
def test_a_sample_that_has_more_against_it_is_passed_over_for_the_next(text, score):
    _, (lesson,) = chosen_by({"a-0": 0.9, "b-0": 0.1, "c-0": -0.5}, scores={"c-0": score}, c=text)
    assert lesson["rejected"][0]["content"] == SHANTY


def test_of_lessons_about_relevance_the_share_keeps_those_that_lie_farthest_apart():
    prompts = [prompt(0), prompt(1)]
    teacher = [completion(name, n, text) for n in range(2) for name, text in (("a", POINT), ("b", SHANTY))]
    student = [completion("student", n, "Stars are made of hydrogen.") for n in range(2)]
    scores = {row["row_id"]: 1.0 for row in teacher} | {row["row_id"]: 0.0 for row in student}
    relevance = {"a-0": 0.5, "b-0": 0.4, "a-1": 0.5, "b-1": 0.1}
    half = RELEVANCE.model_copy(update={"lessons": LessonsConfig(relevance=0.5)})
    pairs = build_pairs(prompts, teacher, student, scores, half, relevance)
    (lesson,) = relevance_pairs(pairs, teacher, scores, relevance, half)
    assert lesson["prompt_id"] == "p1"
    assert relevance_pairs(pairs, teacher, scores, dict.fromkeys(relevance, 0.5), half) == [], "equals teach nothing"


def test_the_plan_counts_what_is_read_twice():
    rows = [
        next(step.rows for step in plan_recipe(load_recipe(SMALL, changes)) if step.stage == "scores")
        for changes in (["distill.samples=2"], ["distill.samples=2", "distill.choose=relevance"])
    ]
    assert rows[1] - rows[0] == 2 * 72
