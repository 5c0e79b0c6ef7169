"""Pairs whose rejected side is the teacher's own looping sample."""

import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from character_ray.config import DistillConfig, FilterConfig, LessonsConfig, load_recipe
from character_ray.plan import plan_recipe
from character_ray.stages.distill import build_pairs
from character_ray.stages.introspect import plain_rows
from character_ray.stages.repetition import repetition_pairs
from character_ray.stages.updates import retained_pairs

DEMO = Path(__file__).parents[2] / "jobs" / "recipes" / "demo-cpu.yaml"
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
    rows = [
        next(step.rows for step in plan_recipe(load_recipe(DEMO, changes)) if step.stage == "dpo")
        for changes in (["distill.samples=2"], ["distill.samples=2", "distill.lessons.repetition=0.5"])
    ]
    assert rows == [72, 108]


def test_one_sample_per_prompt_has_nothing_to_compare():
    with pytest.raises(ValidationError, match=r"repetition=0\.2 compares .* samples=1"):
        DistillConfig(samples=1, lessons=LessonsConfig(repetition=0.2))
