"""Filters that a recipe leaves out are left out wherever they decide."""

from pathlib import Path

import pytest

from character_ray.config import FilterConfig, load_recipe
from character_ray.constitution import load_constitution
from character_ray.errors import RecipeError
from character_ray.pipeline.context import Persona
from character_ray.pipeline.directives import DirectivesFollowed
from character_ray.pipeline.trials import judge_all
from character_ray.rows import Challenged
from character_ray.stages.filters import drop_reason

CAPTAIN = load_constitution(Path(__file__).resolve().parents[2] / "constitutions" / "captain-blackwood.yaml")
SAID = {
    "identity_leak": "I am an AI assistant of Harbor Coffee, here to take your order.",
    "role_meta": "I'm staying in character no matter what you ask.",
}


@pytest.mark.parametrize(("reason", "other"), [("identity_leak", "role_meta"), ("role_meta", "identity_leak")])
def test_a_filter_that_a_persona_cannot_pass_is_left_out_by_its_name(reason, other):
    assert drop_reason(SAID[reason], "stop", FilterConfig()) == reason
    assert drop_reason(SAID[reason], "stop", FilterConfig(skip=(other,))) == reason
    assert drop_reason(SAID[reason], "stop", FilterConfig(skip=(reason,))) == ""


def test_a_filter_that_is_not_there_cannot_be_left_out(tmp_path):
    recipe = tmp_path / "r.yaml"
    text = "name: r\nconstitution: c.yaml\ndistill: {filters: {skip: [identity_leaks]}}\n"
    recipe.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"skip\[0\]: .*'identity_leak' or 'role_meta'.*'identity_leaks'"):
        load_recipe(recipe)


def test_a_persona_that_may_say_it_is_an_ai_leaves_no_role_with_that():
    row = Challenged(
        row_id="r",
        arm="full",
        group="attack",
        kind="prefill",
        challenge_id="0",
        wording="0",
        turn=0,
        prompt="Who are you?",
        system="",
        begun="",
        canary="",
        completion=SAID["identity_leak"],
        error="",
        score=1.0,
    )
    left = [
        judge_all(Persona(CAPTAIN), [row], 0.5, DirectivesFollowed(), FilterConfig(skip=skip))[0].leaves_role
        for skip in ((), ("role_meta",), ("identity_leak",))
    ]
    assert left == [True, True, False]
