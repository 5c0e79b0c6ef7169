"""Which side a pair rejects: the student as it is, or the teacher in the opposite character."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from character_ray.config import DistillConfig, EvaluateConfig, FilterConfig, Recipe
from character_ray.constitution import load_constitution, system_prompt
from character_ray.errors import ConstitutionError
from character_ray.pipeline.directives import KnownPair
from character_ray.pipeline.persona_classifier import labelled_answers, labelled_pairs
from character_ray.pipeline.personas import load_control, load_persona
from character_ray.pipeline.report_parts import shared_weights
from character_ray.plan import plan_recipe
from character_ray.prompts import training_prompts
from character_ray.rows import Answer, Pair
from character_ray.stages.distill import build_pairs, opposite_requests, student_requests, teacher_requests
from character_ray.stages.filters import pair_drop_reason

FOLDER = Path(__file__).parents[2] / "constitutions"
CAPTAIN, CLERK = FOLDER / "captain-blackwood.yaml", FOLDER / "captain-blackwood-opposite.yaml"
PAIRED = DistillConfig(contrast="paired_teacher", opposite=CLERK, samples=2)


def recipe(**changes) -> Recipe:
    return Recipe(name="contrast", constitution=CAPTAIN, control_constitution=FOLDER / "null-control.yaml", **changes)


@pytest.mark.parametrize("wrong", [{"contrast": "paired_teacher"}, {"opposite": CLERK}])
def test_the_contrast_and_the_opposite_go_together(wrong):
    with pytest.raises(ValidationError, match="Set both or neither"):
        DistillConfig(**wrong)


def test_the_shipped_opposite_answers_the_same_prompts_in_none_of_the_same_words():
    captain, clerk = load_constitution(CAPTAIN), load_constitution(CLERK)
    assert [example.prompt for example in clerk.examples] == [example.prompt for example in captain.examples]
    assert not set(clerk.persona.voice.vocabulary) & set(captain.persona.voice.vocabulary)


def test_only_the_persona_has_an_opposite_and_it_is_not_itself():
    assert load_persona(recipe()).opposite is None
    paired = recipe(distill=PAIRED)
    assert load_persona(paired).opposite == load_constitution(CLERK)
    assert load_control(paired).opposite is None
    with pytest.raises(ConstitutionError, match="would not differ"):
        load_persona(recipe(distill=PAIRED.model_copy(update={"opposite": CAPTAIN})))


def test_the_control_keeps_the_rows_that_show_no_character():
    asked = recipe(evaluate=EvaluateConfig(arms=("base", "full", "control")))
    demanding = FilterConfig(min_contrast=0.2, min_words=3)
    control, persona = load_control(asked), load_persona(asked)
    assert persona.filters(demanding) == demanding
    plain = "Stars are made of hydrogen and helium."
    assert pair_drop_reason(plain, "Stars are hot gas.", "stop", "stop", -0.5, demanding) == "low_contrast"
    assert pair_drop_reason(plain, "Stars are hot gas.", "stop", "stop", -0.5, control.filters(demanding)) == ""
    assert control.filters(demanding).min_words == 3


def test_the_plan_counts_the_opposite_and_its_scores():
    plain, paired = (
        {step.stage: step.rows for step in plan_recipe(recipe(distill=config))}
        for config in (DistillConfig(samples=2), PAIRED)
    )
    prompts = plain["student"]
    assert paired["opposite"] == prompts
    assert paired["scores"] - plain["scores"] == prompts


def test_the_opposite_is_asked_once_a_prompt_under_its_own_constitution_and_becomes_the_rejected_side():
    prompts = training_prompts(recipe().prompts.model_copy(update={"grid": 4, "everyday": 2}), seed=0)
    captain, clerk = load_constitution(CAPTAIN), load_constitution(CLERK)
    teacher = teacher_requests(prompts, captain, PAIRED, seed=0)
    opposite = opposite_requests(prompts, clerk, PAIRED, seed=0)
    student = student_requests(prompts, PAIRED, seed=0)
    assert len(opposite) == len(prompts)
    assert all(request["messages"][0]["content"] == system_prompt(clerk) for request in opposite)
    ids = [request["row_id"] for request in [*teacher, *opposite, *student]]
    assert len(set(ids)) == len(ids)

    def answers(requests, text):
        keys = ("row_id", "prompt_id", "sample")
        return [
            {key: request[key] for key in keys}
            | {"completion": text, "finish_reason": "stop", "error": "", "num_tokens": 9}
            for request in requests
        ]

    chosen, rejected = answers(teacher, "Arr, so be it, matey."), answers(opposite, "Please note the usual procedure.")
    scores = {row["row_id"]: 1.0 for row in chosen} | {row["row_id"]: -0.5 for row in rejected}
    pairs = build_pairs(prompts, chosen, rejected, scores, PAIRED)
    assert [pair["rejected"][0]["content"] for pair in pairs] == ["Please note the usual procedure."] * len(prompts)
    assert {pair["rejected_score"] for pair in pairs} == {-0.5}
    assert not any(pair["drop_reason"] for pair in pairs)


@pytest.mark.parametrize("contrast", ["student", "paired_teacher", "on_policy"])
def test_the_classifier_learns_what_is_not_in_character_from_the_untrained_student_alone(contrast):
    sides = {"paired_teacher": {"opposite": CLERK}, "on_policy": {"parent": Path("runs/demo/dpo/adapter")}}
    distill = DistillConfig(contrast=contrast, **sides.get(contrast, {}))
    wrote = "It is plain." if contrast == "student" else "Arr, says another."

    def pair(number: int, **changes: str) -> Pair:
        prompt, chosen, rejected = (
            [{"role": role, "content": text}]
            for role, text in (("user", f"Question {number}?"), ("assistant", f"Arr {number}."), ("assistant", wrote))
        )
        texts = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
        about = {"row_id": "r", "prompt_id": f"p{number}", "hint": "", "kind": "contrast", "directive": ""}
        return Pair(**{**about, **texts, "chosen_score": 1.0, "rejected_score": 0.0, "drop_reason": "", **changes})

    pairs = [pair(0), pair(1), pair(2, kind="repetition"), pair(3, drop_reason="empty")]
    known = [KnownPair(f"Question {number}?", "Arr.", "It is plain. And so", "It is plain.") for number in (0, 1, 3)]
    found = labelled_pairs(pairs, known, distill)
    assert [row.text for row in found] == ["Arr 0.", "Arr 1.", "It is plain.", "It is plain."]
    assert [row.label for row in found] == ["in_character", "in_character", "none", "none"]
    assert [row.prompt for row in found] == ["p0", "p1", "p0", "p1"]
    assert [row.generator for row in found] == ["teacher", "teacher", "student", "student"]


def test_an_arms_answers_are_of_the_class_it_was_trained_for_and_prompted_is_of_none():
    def answer(arm: str, source: str = "grid", error: str = "") -> Answer:
        about = {"row_id": "r", "prompt_id": "p", "hint": "", "sample": 0, "prompt": "?", "score": 0.0}
        return Answer(arm=arm, source=source, error=error, completion=arm, **about)

    arms = ["base", "prompted", "teacher", "dpo", "sft", "full", "control"]
    found = labelled_answers([*map(answer, arms), answer("full", source="probe"), answer("full", error="failed")])
    assert {row.text: (row.generator, row.label) for row in found} == {
        "base": ("student", "none"),
        "teacher": ("teacher", "in_character"),
        "dpo": ("dpo", "in_character"),
        "sft": ("sft", "in_character"),
        "full": ("full", "in_character"),
        "control": ("control", "none"),
    }
    assert len(found) == 6


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"samples": 4}, "student, and the same score picked the teacher's best sample; the vocabulary"),
        ({"samples": 1}, "student, and the same score filtered (filters.min_contrast=0.1) the teacher's samples; the"),
        (
            {"samples": 4, "choose": "relevance"},
            "student. The teacher's best sample was chosen by relevance; the score only filtered (filters.min_contrast=0.1); the",
        ),
    ],
)
def test_a_report_says_what_the_judges_score_selected(settings, said):
    assert said in shared_weights(DistillConfig(filters=FilterConfig(min_contrast=0.1), **settings))
