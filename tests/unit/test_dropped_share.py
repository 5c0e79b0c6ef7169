"""The bound on what filters may drop: a run ends before it trains on a rest, and what it wrote is kept."""

from pathlib import Path

import pytest

from character_ray.config import Recipe, load_recipe
from character_ray.constitution import load_constitution
from character_ray.errors import GenerationError
from character_ray.inference.passes import Generation
from character_ray.parts import append_part, read_rows
from character_ray.pipeline import data, pairs
from character_ray.pipeline.context import Context, Persona
from character_ray.pipeline.scores import check_dropped
from character_ray.prompts.reflections import reflection_prompts
from character_ray.rows import COMPLETION, Completion, Pair, Prompt, Request
from character_ray.runs import Artefact, Store
from character_ray.stages.introspect import plain_rows
from character_ray.studies.definition import definition_changes

ROOT = Path(__file__).resolve().parents[2]
ANSWERS = [f"Aye, hoist sail number {n} and mind the wind, matey." for n in range(10)]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.chdir(ROOT)
    settings = ["distill={samples: 1, filters: {min_contrast: 0.2}}", "introspect={reflections: 1, interactions: 0}"]
    return load_recipe(ROOT / "jobs" / "recipes" / "demo-cpu.yaml", [f"output={tmp_path}", *settings])


def said(context: Context, side: str, texts: list[str]) -> Generation:
    rows = [
        Completion(
            row_id=f"{side}-{n}",
            prompt_id=str(n),
            sample=0,
            completion=text,
            num_tokens=9,
            finish_reason="stop",
            error="",
        )
        for n, text in enumerate(texts)
    ]
    generation = Generation(
        context.store.artefact(side, {"texts": texts}),
        [Request(row_id=row["row_id"], prompt_id="", sample=0, messages=[], sampling={}) for row in rows],
    )
    append_part(generation.artefact.folder, rows, COMPLETION)
    return generation


def make_pairs(recipe: Recipe, monkeypatch: pytest.MonkeyPatch, num_apart: int) -> tuple[Artefact, list[Pair]]:
    """Pairs of ten prompts of which so many have two sides that the judge tells apart."""
    context = Context.open(recipe)
    teacher, student = said(context, "teacher", ANSWERS), said(context, "student", ["Set the sails by the wind."] * 10)
    scores = {f"student-{n}": 0.0 for n in range(10)} | {f"teacher-{n}": float(n < num_apart) for n in range(10)}
    monkeypatch.setattr(pairs, "score_all", lambda context, sheets: [scores])
    asked = {"source": "own", "hint": "", "audience": "", "scenario": "", "objective": "", "constraint": ""}
    prompts = [
        Prompt(prompt_id=str(n), prompt=f"Question {n}?", language="en", directive="", **asked) for n in range(10)
    ]
    persona = Persona(load_constitution(recipe.constitution))
    return pairs.make_pairs(context, persona, prompts, pairs.PairSides(teacher, student))[:2]


def with_bound(recipe: Recipe, section: str, share: float) -> Recipe:
    return recipe.model_copy(update={section: getattr(recipe, section).model_copy(update={"max_dropped_share": share})})


def test_pairs_of_which_nearly_all_are_dropped_are_not_trained_on(recipe, monkeypatch):
    message = (
        r"pairs: 10 of 10 rows are dropped \(10 low_contrast\), more than distill\.max_dropped_share=0\.9 allows.*"
        r"Loosen distill\.filters"
    )
    for _ in range(2):  # a second attempt finds them and ends, too
        with pytest.raises(GenerationError, match=message):
            make_pairs(recipe, monkeypatch, 0)
    artefact, found = make_pairs(with_bound(recipe, "distill", 1.0), monkeypatch, 0)
    assert {pair["drop_reason"] for pair in found} == {"low_contrast"}
    assert (recipe.folder / "pairs").resolve() == artefact.folder.resolve(), (
        "the same rows, which the bound does not change"
    )


def test_what_the_bound_allows_is_trained_on(recipe, monkeypatch):
    assert sum(not pair["drop_reason"] for pair in make_pairs(recipe, monkeypatch, 1)[1]) == 1
    with pytest.raises(GenerationError, match="9 of 10 rows"):
        make_pairs(with_bound(recipe, "distill", 0.89), monkeypatch, 1)


def test_reflections_that_are_dropped_are_not_hidden_by_the_pairs_beside_them(recipe, monkeypatch):
    artefact, found = make_pairs(recipe, monkeypatch, 10)
    recipe = recipe.model_copy(update={"introspect": recipe.introspect.model_copy(update={"plain": 9})})
    context, persona = Context.open(recipe), Persona(load_constitution(recipe.constitution))
    asked = reflection_prompts(recipe.introspect.reflections, recipe.seed)
    reflections = said(context, "reflections", ["Aye."] * len(asked))
    monkeypatch.setattr(data, "score", lambda *asked: {f"reflections-{n}": 1.0 for n in range(len(asked[-1]))})
    with pytest.raises(
        GenerationError, match=rf"introspection: {len(asked)} of {len(asked)} rows .*introspect\.max_dropped_share=0\.9"
    ):
        data.make_conversations(context, persona, reflections, None, artefact, found)
    written = read_rows(context.run.folder / "introspection" / "conversations.parquet")
    assert len(written) == len(asked) + len(plain_rows(found, 9, recipe.seed)) == len(asked) + 9


def test_a_stage_without_rows_and_one_of_an_earlier_version_are_within_any_bound(tmp_path):
    for rows in (0, 2):
        artefact = Store(tmp_path).artefact("pairs", {"rows": rows})
        with artefact.making():
            artefact.finish({"rows_in": rows, "rows_out": rows, "dropped": {}})
        check_dropped(artefact, "distill", 0.0)


def test_another_bound_makes_no_other_cell_of_a_study(recipe):
    for section in ("distill", "introspect"):
        assert definition_changes(recipe.model_dump(mode="json"), with_bound(recipe, section, 0.5)) == []
