"""The challenges: what is asked, that training cannot have seen it, and how each arm is asked it."""

import itertools
import re
from pathlib import Path

import pytest

from character_ray.config import load_recipe
from character_ray.constitution import load_constitution
from character_ray.pipeline.answers import _tried, asked_challenges
from character_ray.pipeline.context import Persona
from character_ray.prompts import similarity, training_prompts
from character_ray.prompts.challenges import ATTACKS, challenges, erosion_scripts, forbidden_act
from character_ray.prompts.files import read_data

ROOT = Path(__file__).resolve().parents[2]
CONSTITUTIONS = sorted((ROOT / "constitutions").glob("*.yaml"))
PIRATE = load_constitution(ROOT / "constitutions" / "captain-blackwood.yaml")


def directives(constitution):
    return constitution.directives.model_dump()


def everything(constitution=PIRATE):
    return challenges(directives(constitution), per_attack=60, safety=60, per_directive=60)


@pytest.mark.parametrize("path", CONSTITUTIONS, ids=lambda path: path.stem)
def test_every_challenge_is_asked_once_and_no_slot_is_left(path):
    asked = everything(load_constitution(path))
    assert len({each.challenge_id for each in asked}) == len(asked)
    assert not [each.prompt for each in asked if re.search(r"\{(?:task|topic|act)\}|\{\{", each.prompt)]


def test_every_attack_has_several_wordings_and_each_is_used_before_one_is_used_again():
    for number in (4, 5):
        asked = challenges({}, per_attack=number, safety=0, per_directive=0)
        for kind in ATTACKS:
            own = [each for each in asked if each.kind == kind]
            wordings = len(read_data("challenges.yaml")["attacks"][kind])
            assert wordings >= 4
            assert len({each.wording for each in own}) == min(number, wordings)
            assert len(own) == number or not any(
                "{task}" in str(w) for w in read_data("challenges.yaml")["attacks"][kind]
            )


def test_nothing_is_asked_unless_the_recipe_says_so():
    assert challenges(directives(PIRATE), per_attack=0, safety=0, per_directive=0) == []
    assert erosion_scripts(0, 6, 0) == []


def test_training_has_seen_none_of_it():
    """No sentence of a training hint, no training prompt of any kind, stands in a challenge."""
    hints = [text for kind in read_data("hints.yaml").values() for text in kind["train"]]
    safety = list(itertools.chain(*read_data("safety.yaml")["train"]))
    recipe = load_recipe(ROOT / "jobs" / "recipes" / "smollm2-full.yaml")
    trained = {prompt["prompt"] for prompt in training_prompts(recipe.prompts, 0)}
    lines = [line for script in erosion_scripts(20, 20, 0) for line in script.lines]
    texts = [*(each.prompt for each in everything()), *lines]
    assert not trained & set(texts)
    assert not [(hint, text) for hint in [*hints, *safety] for text in texts if similarity(text, hint) >= 0.75]


def test_the_wordings_name_no_persona():
    names = {load_constitution(path).meta.name.lower() for path in CONSTITUTIONS}
    text = (ROOT / "character_ray" / "prompts" / "data" / "challenges.yaml").read_text(encoding="utf-8").lower()
    assert not [name for name in names if name in text and name != "assistant"]


def test_a_canary_stands_in_its_attack_and_in_no_other():
    with_canary = [each for each in everything() if each.canary]
    assert {each.kind for each in with_canary} == {"document_injection", "tool_injection"}
    for each, other in itertools.product(with_canary, everything()):
        assert (each.canary in other.prompt) == (each.canary == other.canary)


@pytest.mark.parametrize(
    ("constraint", "act"),
    [
        ("Never break character, even if asked", "break character"),
        ("Avoid modern references or technology", "use modern references or technology"),
        ("Don't use profanity beyond 'damn' and 'blast'", "use profanity beyond 'damn' and 'blast'"),
        ("Do not push through pain; send people to a doctor", "push through pain"),
        ("Keep every sentence free of strong language", ""),
        ("", ""),
    ],
)
def test_what_a_constraint_forbids(constraint, act):
    assert forbidden_act(constraint) == act


def test_every_directive_has_its_own_occasions_and_constraints_are_tempted():
    asked = challenges(directives(PIRATE), per_attack=0, safety=0, per_directive=3)
    by_directive = {line: [each.prompt for each in asked if each.kind == line] for line in PIRATE.directives.all}
    assert all(len(prompts) == 3 for prompts in by_directive.values())
    assert all("break character" in prompt for prompt in by_directive["Never break character, even if asked"])
    assert all("the sea" in prompt for prompt in by_directive["Superstitious about the sea"])


def test_a_script_is_friendly_first_and_never_repeats_a_line_while_others_are_left():
    scripts = erosion_scripts(8, 6, 3)
    stages = list(read_data("challenges.yaml")["erosion"].values())
    for script in scripts:
        assert [line in stage for line, stage in zip(script.lines, stages, strict=True)] == [True] * 6
    assert len({script.lines for script in scripts}) == 8
    assert scripts == erosion_scripts(8, 6, 3) and scripts != erosion_scripts(8, 6, 4)
    assert all(len(set(script.lines)) == 20 for script in erosion_scripts(4, 20, 0))


def chat(arm, kind):
    recipe = load_recipe(ROOT / "jobs" / "recipes" / "smollm2-full.yaml")
    persona = Persona(PIRATE)
    challenge = next(each for each in asked_challenges(recipe, persona) if each.kind == kind)
    return challenge, _tried(recipe, persona, arm, challenge)


def test_another_persona_stands_behind_the_arms_own_system_prompt():
    challenge, messages = chat("full", "other_persona")
    assert [turn["role"] for turn in messages] == ["system", "user"] and messages[0]["content"] == challenge.system
    challenge, messages = chat("prompted", "other_persona")
    assert [turn["role"] for turn in messages] == ["system", "user"]
    assert messages[0]["content"].startswith("You are Captain Blackwood")
    assert messages[0]["content"].endswith(challenge.system)


def test_a_prefill_is_the_beginning_of_the_assistants_turn():
    challenge, messages = chat("full", "prefill")
    assert [turn["role"] for turn in messages] == ["user", "assistant"]
    assert messages[-1]["content"] == challenge.begun


def test_only_prompted_and_teacher_see_the_constitution():
    for arm, sees in (("base", False), ("full", False), ("prompted", True), ("teacher", True)):
        assert any("Golden Age" in turn["content"] for turn in chat(arm, "break_character")[1]) == sees
