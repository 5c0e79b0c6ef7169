"""A directive is judged by what stands in it alone, on the embedded model and Ray."""

import math
from pathlib import Path

import pytest
import ray

from character_ray.config import JudgeConfig, ModelConfig, Recipe
from character_ray.constitution import load_constitution
from character_ray.inference.likelihood import LikelihoodJudge, ScoreRequest, scored_and_pending
from character_ray.inference.systems_judge import SystemsJudge, UnderSystem
from character_ray.judging.threshold import Threshold
from character_ray.models import resolve_model
from character_ray.pipeline.context import Context, Model, Persona
from character_ray.pipeline.directives import RULE, DirectivesFollowed, KnownPair, ask_directives, judge_directives
from character_ray.pipeline.scores import score_all, sheet_of
from character_ray.rows import Challenged
from character_ray.runs import Run, Store

ROOT = Path(__file__).resolve().parents[2]
PIRATE, FRENCH = "Speak like a pirate and say arr and matey", "Answer in French"
ARR = "Arr, matey, the {0} be a fine thing to talk of with yer crew."
PLAIN = "The {0} is a common subject, and there is a lot to say about it."
THINGS = "weather garden bread music winter window river coat letter engine".split()


def answer(number: int, directive: str, text: str, **changes) -> Challenged:
    row = {
        "row_id": f"full/{number}",
        "arm": "full",
        "group": "directive",
        "kind": directive,
        "challenge_id": str(number),
        "wording": "w",
        "turn": 0,
        "prompt": "Tell me about it.",
        "system": "",
        "begun": "",
        "canary": "",
        "completion": text,
        "error": "",
        "score": math.nan,
    }
    return Challenged(**row | changes)


def test_each_row_is_scored_as_by_a_judge_of_its_system_prompt(tiny_base: Path, monkeypatch):
    config = JudgeConfig(device="cpu")
    rows = [("a", PIRATE, "Arr."), ("b", FRENCH, "Arr."), ("c", PIRATE, "Bonjour, madame."), ("d", PIRATE, "Arr.")]
    batch = {
        "row_id": [row[0] for row in rows],
        "system": [RULE.format(directive=row[1]) for row in rows],
        "prompt": ["Hello there!"] * 4,
        "completion": [row[2] for row in rows],
    }
    judge = SystemsJudge(str(tiny_base), config)
    found = judge(batch)["score"]
    alone = {
        directive: LikelihoodJudge(str(tiny_base), RULE.format(directive=directive), config)(batch)["score"]
        for directive in (PIRATE, FRENCH)
    }
    assert found == pytest.approx([alone[directive][n] for n, (_, directive, _) in enumerate(rows)], abs=1e-5)
    assert found[0] != pytest.approx(found[1], abs=1e-6)
    # What was read without a system prompt is not read again.
    monkeypatch.setattr(judge.plain, "mean_log_probs", lambda chats: pytest.fail(f"{chats} were read before"))
    later = judge({key: column[1:] for key, column in batch.items()} | {"system": ["Be brief."] * 3})["score"]
    assert later[0] == later[2] != pytest.approx(found[1], abs=1e-6)


def test_rows_of_one_directive_and_of_one_prompt_are_side_by_side(tmp_path: Path):
    asked = [
        ("b", "How?", "Arr."),
        ("a", "Why not?", "Arr."),
        ("b", "Why?", "No."),
        ("a", "Why?", "Ah."),
        ("b", "How?", " "),
    ]
    rows = [
        UnderSystem(row_id=str(n), system=system, prompt=prompt, completion=completion)
        for n, (system, prompt, completion) in enumerate(asked)
    ]
    _, pending = scored_and_pending(Store(tmp_path).artefact("scores", {}), rows)
    assert [row["row_id"] for row in pending] == ["3", "1", "0", "2"]


def test_a_judge_that_cannot_tell_teacher_from_base_decides_nothing():
    good, poor = (Threshold(0.1, auc, 1.0, 0.0, 10, 10) for auc in (0.9, 0.6))
    followed = DirectivesFollowed({PIRATE: good, FRENCH: poor}, {"full/0": 0.2, "full/1": 0.0, "full/2": 0.2})
    assert followed.follows(answer(0, PIRATE, "Arr.")) is True
    assert followed.follows(answer(1, PIRATE, "Yes.")) is False
    assert followed.follows(answer(2, FRENCH, "Oui.")) is None
    assert followed.follows(answer(0, PIRATE, "Arr.", group="attack")) is None
    assert followed.follows(answer(0, "another", "Arr.")) is None


def test_answers_that_follow_a_directive_are_told_from_those_that_do_not(tmp_path: Path):
    recipe = Recipe(
        name="directives",
        constitution=ROOT / "constitutions" / "captain-blackwood.yaml",
        output=tmp_path,
        judge=JudgeConfig(device="cpu", dtype="auto"),
    )
    model = Model("smollm2", resolve_model(ModelConfig()))
    context = Context(
        recipe, model, model, Store(tmp_path / "store"), Run(recipe.folder, recipe.model_dump(mode="json"))
    )
    known = [
        KnownPair(f"What of the {thing}?", ARR.format(thing), PLAIN.format(thing), PLAIN.format(thing))
        for thing in THINGS
    ]
    texts = ["Arr, matey, I be fond of it.", "Arr! The sea be calm, matey.", "It is nice.", "That depends on the day."]
    rows = [answer(number, PIRATE, text) for number, text in enumerate(texts)]
    asked = ask_directives(context, [*rows, answer(9, PIRATE, "", error="failed")], known)
    assert asked is not None
    persona = Persona(load_constitution(recipe.constitution))
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        other = sheet_of(
            context, persona, "scores-answers", [ScoreRequest(row_id="a", prompt="Hello!", completion="Arr, matey.")]
        )
        beside, scores = score_all(context, [other, asked.sheet])
        again = score_all(context, [other, asked.sheet])
    finally:
        ray.shutdown()
    found = judge_directives(asked, scores)
    assert beside["a"] > 0
    assert found.thresholds[PIRATE].auc > 0.9 and found.thresholds[PIRATE].n == 20
    assert [found.follows(row) for row in rows] == [True, True, False, False]
    assert again == [beside, scores]
    assert [context.stages[name].reused for name in ("scores-answers", "scores-directives")] == [True, True]
    assert ask_directives(context, [], known) is None
