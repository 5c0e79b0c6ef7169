"""Updating a character: what is made anew, what is repeated, and whether a measure of locality would notice a leak."""

from pathlib import Path

import numpy as np
import pytest

from character_ray.config import UpdateConfig, load_recipe
from character_ray.constitution import diff_constitutions, load_constitution
from character_ray.errors import ConstitutionError, RecipeError, ReportError
from character_ray.evaluation.locality import JudgedLine, judged_lines, locality
from character_ray.pipeline.update import check_changes, updated_recipe
from character_ray.stages.updates import (
    affected_prompts,
    changed_lines,
    changes_voice,
    retained_pairs,
    update_conversations,
)

ROOT = Path(__file__).parents[2]
OLD = load_constitution(ROOT / "constitutions" / "captain-blackwood.yaml")


def changed(**directives):
    """The captain with other directives."""
    return OLD.model_copy(update={"directives": OLD.directives.model_copy(update=directives)})


def prompts(number):
    return [{"prompt_id": f"p{n}", "prompt": f"question {n}"} for n in range(number)]


def pair(number, directive="", drop_reason=""):
    return {
        "row_id": f"r{number}",
        "prompt_id": f"p{number}",
        "directive": directive,
        "prompt": [{"role": "user", "content": f"question {number}"}],
        "chosen": [{"role": "assistant", "content": "aye"}],
        "rejected": [{"role": "assistant", "content": "yes"}],
        "chosen_score": 1.0,
        "kind": "contrast",
        "drop_reason": drop_reason,
    }


def test_a_changed_directive_touches_the_prompts_nearest_to_it_and_a_changed_voice_all():
    likeness = np.array([[0.9, 0.0], [0.1, 0.2], [0.2, 0.8], [0.0, 0.1]])
    found = affected_prompts(prompts(4), likeness, 1, voice=False)
    assert [each["prompt_id"] for each in found] == ["p0", "p2"]
    assert len(affected_prompts(prompts(4), likeness, 1, voice=True)) == 4


def test_what_is_repeated_is_neither_affected_nor_dropped_nor_about_a_line_that_went():
    pairs = [pair(0), pair(1, drop_reason="too_short"), pair(2, "Never flatter"), pair(3), pair(4, "Stays")]
    kept = retained_pairs(pairs, prompts(1), ["Never flatter"], 10, seed=0)
    assert [each["row_id"] for each in kept] == ["r3", "r4"]
    assert retained_pairs(pairs, [], [], 2, seed=1) == retained_pairs(pairs, [], [], 2, seed=1)


def test_the_delta_is_trained_on_new_answers_and_repeated_ones_and_drops_are_data():
    rows = update_conversations([pair(0), pair(1, drop_reason="too_short")], [pair(2)])
    assert [(row["kind"], row["drop_reason"]) for row in rows] == [
        ("update", ""),
        ("update", "too_short"),
        ("retained", ""),
    ]
    assert [turn["role"] for turn in rows[0]["messages"]] == ["user", "assistant"]


def test_lines_are_new_dropped_or_untouched():
    behavior = ("Answer in few words", *OLD.directives.behavior[1:])
    changes = diff_constitutions(OLD, changed(behavior=behavior))
    assert not changes_voice(changes)
    assert changed_lines(changes) == ([OLD.directives.behavior[0]], ["Answer in few words"])
    lines = judged_lines(changed(behavior=behavior), changes)
    assert {line.text for line in lines if line.group == "new"} == {"Answer in few words"}
    assert {line.text for line in lines if line.group == "dropped"} == {OLD.directives.behavior[0]}
    assert {line.text for line in lines if line.group == "untouched"} == set(OLD.directives.all) - {
        OLD.directives.behavior[0]
    }
    assert next(line for line in lines if line.group == "new").system == "In every answer: Answer in few words."


def test_another_identity_changes_the_voice():
    other = OLD.model_copy(update={"persona": OLD.persona.model_copy(update={"identity": "You are a cook."})})
    assert changes_voice(diff_constitutions(OLD, other))


def test_locality_finds_a_shift_where_one_was_made_and_none_where_not():
    lines = [
        JudgedLine("directives.behavior", "new", "new"),
        JudgedLine("directives.behavior", "kept", "untouched"),
    ]
    draw = np.random.default_rng(0)
    before = {f"p{n}": [draw.normal(-1), draw.normal(0)] for n in range(60)}
    after = {key: [new + 2, kept + draw.normal(0, 0.01)] for key, (new, kept) in before.items()}
    found = locality(lines, {"before": before, "after": after}, seed=0, resamples=200)
    assert found["groups"]["new"]["shift"]["after"]["low"] > 1.9
    assert found["groups"]["new"]["change"]["after"]["low"] > 0.3
    untouched = found["groups"]["untouched"]["shift"]["after"]
    assert untouched["low"] < 0.005
    assert untouched["high"] > -0.005
    assert found["lines"][0]["text"] == "new"


def test_an_answer_without_a_score_is_left_out_of_both_sides():
    lines = [JudgedLine("directives.behavior", "new", "new")]
    scores = {
        "before": {"a": [1.0], "b": [float("nan")], "c": [0.5]},
        "after": {"a": [2.0], "b": [5.0], "c": [0.5]},
    }
    found = locality(lines, scores, seed=0, resamples=50)["groups"]["new"]
    assert found["shift"]["after"]["n"] == 2
    assert found["shift"]["after"]["value"] == pytest.approx(0.5)


def test_an_update_to_the_same_text_or_to_another_persona_is_refused_in_words():
    with pytest.raises(ConstitutionError, match="there is nothing to update"):
        check_changes(OLD, OLD, trained_on=OLD.fingerprint, old_source="old.yaml", new_source="new.yaml")
    poet = load_constitution(ROOT / "constitutions" / "garden-poet.yaml")
    with pytest.raises(ConstitutionError, match="An update keeps the name"):
        check_changes(OLD, poet, trained_on=OLD.fingerprint, old_source="old.yaml", new_source="new.yaml")


def test_a_constitution_that_was_edited_in_place_is_refused_since_the_old_version_is_gone():
    with pytest.raises(ConstitutionError, match=r"old\.yaml was edited since"):
        check_changes(OLD, OLD, trained_on="0" * 16, old_source="old.yaml", new_source="new.yaml")


def test_an_update_that_could_not_be_served_is_refused_before_training():
    recipe = load_recipe(ROOT / "tests" / "engine" / "miniature.yaml", ["serve.max_lora_rank=16"])
    with pytest.raises(RecipeError, match=r"rank 16 and the delta 8; together they exceed serve\.max_lora_rank=16"):
        updated_recipe(recipe, Path("new.yaml"), UpdateConfig(rank=8), "", 16)
    large = load_recipe(ROOT / "tests" / "engine" / "miniature.yaml", ["serve.max_lora_rank=512"])
    assert updated_recipe(large, Path("new.yaml"), UpdateConfig(rank=8), "", 576).sft.lora.rank == 8, "recompressed"


def test_the_new_run_is_the_old_recipe_with_a_small_adapter_and_a_name_of_its_own():
    recipe = load_recipe(ROOT / "tests" / "engine" / "miniature.yaml", ["serve.max_lora_rank=32"])
    made = updated_recipe(recipe, Path("new.yaml"), UpdateConfig(rank=4), "", 16)
    assert (made.name, made.constitution) == ("miniature-updated", Path("new.yaml"))
    assert (made.sft.lora.rank, made.sft.loss_on, made.dpo) == (4, "last_turn", recipe.dpo)
    with pytest.raises(ReportError, match="keeps the old run"):
        updated_recipe(recipe, Path("new.yaml"), UpdateConfig(rank=4), "miniature", 16)
