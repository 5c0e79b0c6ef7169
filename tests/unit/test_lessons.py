"""Lessons: which side is asked what, and when a pair does not teach what it should."""

from collections import Counter
from pathlib import Path

import pytest

from character_ray.config import DistillConfig, LessonsConfig, PromptsConfig
from character_ray.constitution import load_constitution, system_prompt
from character_ray.prompts import evaluation_prompts, training_prompts
from character_ray.prompts.files import read_data
from character_ray.stages.lessons import Lesson, count_directives, lesson_pairs, lesson_requests, plan_lessons

CONSTITUTIONS = Path(__file__).resolve().parents[2] / "constitutions"
CAPTAIN = load_constitution(CONSTITUTIONS / "captain-blackwood.yaml")
PROMPTS = training_prompts(PromptsConfig(grid=40, everyday=20), seed=0)
CONFIG = DistillConfig(lessons=LessonsConfig(violations=0.2, refusals=0.2, boundaries=0.1))

HELPS = "Aye, first ye check the hinges, then ye ring the harbour watch and wait by the door."
REFUSES = "Nay, matey, that I will not do, for it would bring harm to an honest soul."


def planned():
    return plan_lessons(PROMPTS, CAPTAIN, CONFIG)


def answer(request, text):
    keys = ("row_id", "prompt_id", "sample")
    return {key: request[key] for key in keys} | {
        "completion": text,
        "finish_reason": "stop",
        "error": "",
        "num_tokens": 9,
    }


def test_every_directive_has_its_share():
    lessons = planned()
    assert Counter(lesson.kind for lesson in lessons) == {
        "violation": 12,
        "refusal": 6,
        "over_refusal": 6,
        "boundary": 6,
    }
    per_directive = Counter(lesson.directive for lesson in lessons if lesson.kind in ("violation", "boundary"))
    assert set(per_directive) == {*CAPTAIN.directives.constraints, *CAPTAIN.safety.boundaries}
    assert len({per_directive[constraint] for constraint in CAPTAIN.directives.constraints}) == 1
    assert len({lesson.lesson_id for lesson in lessons}) == len(lessons)


def test_a_character_without_directives_has_no_lessons():
    assert plan_lessons(PROMPTS, load_constitution(CONSTITUTIONS / "null-control.yaml"), CONFIG) == []


def test_each_side_is_asked_by_whom_and_how_it_should_be():
    lessons = planned()
    by_teacher, by_student = lesson_requests(lessons, CAPTAIN, CONFIG, seed=0)
    assert len(by_teacher) + len(by_student) == 2 * len(lessons)
    assert all([turn["role"] for turn in request["messages"]] == ["user"] for request in by_student)
    asked = {request["prompt_id"]: request["messages"] for request in by_teacher}
    plain = system_prompt(CAPTAIN)
    for lesson in lessons:
        chosen = asked[f"{lesson.lesson_id}-chosen"]
        assert chosen[-1]["content"] == lesson.prompt
        assert (chosen[0]["content"] == plain) == (lesson.kind in ("violation", "over_refusal"))
        if lesson.kind == "violation":
            told = asked[f"{lesson.lesson_id}-rejected"][0]["content"]
            assert told.startswith(plain)
            assert lesson.directive.rstrip(".") in told.removeprefix(plain)
    beginnings = [request["messages"][0]["content"] for request in by_teacher]
    assert beginnings == sorted(beginnings), "requests that share a prefix stand together"


@pytest.mark.parametrize(
    ("refusal", "harmless", "reasons"),
    [
        (REFUSES, HELPS, {"": 30}),
        (HELPS, HELPS, {"": 24, "not_refused": 6}),
        (REFUSES, REFUSES, {"": 24, "identical": 6}),
    ],
)
def test_a_pair_that_misses_its_point_is_dropped(refusal, harmless, reasons):
    lessons = planned()
    by_teacher, by_student = lesson_requests(lessons, CAPTAIN, CONFIG, seed=0)
    kinds = {f"{lesson.lesson_id}-{side}": (lesson.kind, side) for lesson in lessons for side in ("chosen", "rejected")}
    texts = {
        ("refusal", "chosen"): refusal,
        ("over_refusal", "chosen"): harmless,
        ("over_refusal", "rejected"): REFUSES,
        ("violation", "rejected"): "Damn the tide, I be a computer programme from the year two thousand.",
    }
    completions = [
        answer(
            request,
            texts.get(
                kinds[request["prompt_id"]], HELPS if request in by_teacher else "Here are three plain steps to take."
            ),
        )
        for request in [*by_teacher, *by_student]
    ]
    scores = {row["row_id"]: 0.0 for row in completions}
    pairs = lesson_pairs(lessons, completions, scores, CONFIG)
    assert Counter(pair["drop_reason"] for pair in pairs) == reasons
    assert sum(count_directives(pairs).values()) == reasons[""]


def test_of_equal_lessons_only_the_first_that_teaches_is_kept():
    twenty = [Lesson("refusal", "safety.refusals", "How do I pick a lock?", sample, "Refuse.") for sample in range(20)]
    other = [Lesson("refusal", "safety.refusals", "How do I forge a coin?", 0, "Refuse.")]
    lessons = [*twenty, *other]
    by_teacher, by_student = lesson_requests(lessons, CAPTAIN, CONFIG, seed=0)
    completions = [answer(request, REFUSES) for request in by_teacher] + [answer(row, HELPS) for row in by_student]
    completions[0]["completion"] = HELPS  # the first sample does not refuse, so it takes no other's place
    scores = {row["row_id"]: 0.0 for row in completions}
    pairs = lesson_pairs(lessons, completions, scores, CONFIG)
    assert Counter(pair["drop_reason"] for pair in pairs) == {"": 2, "duplicate": 18, "identical": 1}
    assert [pair["drop_reason"] for pair in pairs[1:]] == ["", *["duplicate"] * 18, ""]
    assert count_directives(pairs) == {"safety.refusals": 2}


def test_low_contrast_drops_only_lessons_whose_rejected_side_is_plain():
    config = CONFIG.model_copy(update={"filters": CONFIG.filters.model_copy(update={"min_contrast": 0.5})})
    lessons = planned()
    by_teacher, by_student = lesson_requests(lessons, CAPTAIN, config, seed=0)
    completions = [answer(request, f"{REFUSES} {request['prompt_id']}") for request in [*by_teacher, *by_student]]
    pairs = lesson_pairs(lessons, completions, {row["row_id"]: 0.0 for row in completions}, config)
    dropped = {pair["kind"] for pair in pairs if pair["drop_reason"] == "low_contrast"}
    assert dropped == {"refusal", "boundary"}


def test_harmful_prompts_of_training_and_evaluation_never_meet():
    data = read_data("safety.yaml")
    train, held_out = ({text for pair in data[split] for text in pair} for split in ("train", "eval"))
    assert len(train) == 2 * len(data["train"])
    assert len(held_out) == 2 * len(data["eval"])
    asked = {prompt["prompt"] for prompt in evaluation_prompts(40, 40, 0.2, 0)}
    assert not train & (held_out | asked)
