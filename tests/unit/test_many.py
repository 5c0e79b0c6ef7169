"""Many personas and seeds: what is refused before anything starts, which runs there are, and the table of all."""

from itertools import product
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from character_ray.cli import app
from character_ray.config import EndpointConfig, load_recipe
from character_ray.constitution import load_constitution
from character_ray.errors import RecipeError
from character_ray.parts import write_rows
from character_ray.pipeline import context, many, many_table, run_personas, traits
from character_ray.pipeline.context import Context, Persona
from character_ray.pipeline.many_table import Outcome, show, show_pairs
from character_ray.report.io import write_report
from character_ray.rows import DECIDED, Decided
from character_ray.runs import Artefact
from tests.report_fixture import captain_report

ROOT = Path(__file__).resolve().parents[2]
CAPTAIN, COACH = (ROOT / "constitutions" / f"{name}.yaml" for name in ("captain-blackwood", "coach-reyes"))


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    return load_recipe(ROOT / "jobs" / "recipes" / "demo-cpu.yaml", [f"output={tmp_path}", "name=fleet"])


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch):
    console = Console(width=240, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115  # as long as the test
    monkeypatch.setattr(many_table, "console", console)
    return console


def finished(folder: Path, full: float, seed: int) -> Outcome:
    """A run whose full arm is in character on this share of 40 prompts."""
    folder.mkdir()
    write_report(captain_report(), folder / "report.json")
    rows = [
        Decided(arm=arm, metric=metric, prompt_id=f"p{n}", value=float(n < share * 40))
        for arm, share in (("base", 0.0), ("full", full))
        for metric in ("persona_rate", "looping_rate")
        for n in range(40)
    ]
    write_rows(folder / "decisions.parquet", rows, DECIDED)
    return Outcome("Captain", folder, seed=seed)


@pytest.mark.parametrize(
    ("seeds", "why"), [((0, 1, 0), "seeds 0,1,0 name one twice"), ((1, -1), "seeds 1,-1 hold one below 0")]
)
def test_seeds_that_cannot_be_run_are_refused_before_anything_starts(recipe, tmp_path, seeds, why):
    with pytest.raises(RecipeError, match=why):
        run_personas(recipe, [CAPTAIN], seeds=seeds)
    assert not list(tmp_path.iterdir())


def test_seeds_that_are_no_numbers_are_named():
    found = CliRunner().invoke(app, ["many", "jobs/recipes/demo-cpu.yaml", str(CAPTAIN), "--seeds", "0,one"])
    assert found.exit_code == 2
    assert "'0,one' is no list of whole numbers" in found.output


def test_every_persona_and_seed_is_a_run_that_could_have_been_run_alone(recipe, monkeypatch, printed):
    """All are asked in one pass; every one of its rows is drawn with its own run's seed, and only rows of no seed are shared."""
    flooded: list[list[str]] = []
    told: list[tuple[str, int, str]] = []
    monkeypatch.setattr(many, "ray_session", lambda recipe, does: many.nullcontext())
    monkeypatch.setattr(
        many, "flood", lambda context, works: flooded.append([w.student.artefact.folder for w in works])
    )
    monkeypatch.setattr(many, "_score_together", lambda asked: None)
    monkeypatch.setattr(
        many,
        "_tell_one",
        lambda own, constitutions, number, pairs_only, spending, held: told.append(
            (own.name, own.seed, constitutions[number].stem)
        ),
    )
    monkeypatch.setattr(many, "show", lambda outcomes: None)
    outcomes = run_personas(recipe, [CAPTAIN, COACH], seeds=(3, 4))
    expected = [(f"fleet-{path.stem}-s{seed}", seed, path.stem) for path, seed in product((CAPTAIN, COACH), (3, 4))]
    assert told == expected
    assert [(outcome.folder.name, outcome.seed) for outcome in outcomes] == [(name, seed) for name, seed, _ in expected]
    students = flooded[0]
    assert students[0] == students[2] != students[1] == students[3], "the student is asked once for each seed"
    alone = Context.open(recipe.model_copy(update={"constitution": COACH, "name": "alone", "seed": 4}))
    prompts, _ = many.make_prompts(alone, [Persona(load_constitution(path)) for path in (CAPTAIN, COACH)])
    assert many.base_work(alone, [Persona(load_constitution(COACH))], prompts).student.artefact.folder == students[3]


def test_one_budget_holds_for_all_runs_whatever_their_order_or_number(recipe, monkeypatch):
    """Each command asks through its first run; what any of them spent counts for the next, and for the stories told after it."""
    endpoint = EndpointConfig(url="http://there/v1")
    recipe = recipe.model_copy(update={"teacher_endpoint": endpoint})
    ledgers: list[Path] = []
    monkeypatch.setattr(context, "generate_remotely", lambda *asked: ledgers.append(asked[-1]))
    monkeypatch.setattr(many, "ray_session", lambda recipe, does: many.nullcontext())
    monkeypatch.setattr(many, "flood", lambda context, works: context.teach("teacher", []))
    monkeypatch.setattr(many, "_score_together", lambda asked: None)
    monkeypatch.setattr(many, "make_prompts", lambda *asked: ([], []))
    monkeypatch.setattr(many, "base_work", lambda *asked: None)
    monkeypatch.setattr(many, "tell_story", lambda context, *rest: context.teach("teacher", []))
    monkeypatch.setattr(many, "show", lambda outcomes: None)
    for constitutions in ([CAPTAIN, COACH], [COACH, CAPTAIN], [COACH]):
        assert not any(outcome.error for outcome in run_personas(recipe, constitutions, seeds=(3,)))
    assert ledgers == [recipe.output / "fleet.spending.jsonl"] * (3 + 5)


def test_what_is_asked_about_directives_is_drawn_with_each_runs_seed(recipe, monkeypatch):
    recipe = recipe.model_copy(update={"prompts": recipe.prompts.model_copy(update={"traits": 1})})
    own = [recipe.model_copy(update={"name": f"s{seed}", "seed": seed, "constitution": CAPTAIN}) for seed in (0, 1)]
    asked: list[set[str]] = []

    def note(self, label, generations) -> None:
        asked.extend({row["row_id"] for row in generation.requests} for generation in generations)
        raise RecipeError("asked")

    monkeypatch.setattr(Context, "teach", note)
    with pytest.raises(RecipeError, match="asked"):
        traits.write_trait_prompts([Context.open(each) for each in own], [Persona(load_constitution(CAPTAIN))] * 2)
    assert len(asked) == 2
    assert not asked[0] & asked[1]


def test_the_table_has_a_row_for_every_run_and_a_mean_with_its_interval_over_seeds(tmp_path, printed):
    outcomes = [finished(tmp_path / f"s{seed}", share, seed) for seed, share in enumerate((0.6, 0.8, 0.7))]
    show(
        [*outcomes, Outcome("Captain", tmp_path / "s3", "RecipeError: no room", 3), Outcome("Coach", tmp_path, "lost")]
    )
    lines = printed.export_text().splitlines()
    mean = next(line for line in lines if " mean " in line)
    assert "70 % [5" in mean.replace("\N{NO-BREAK SPACE}", " "), mean
    assert "0 % [0, 9]" in mean.replace("\N{NO-BREAK SPACE}", " "), "no spread, so a bound on the number of prompts"
    assert "667 [667, 667]" in mean and "3 of 4 seeds" in mean
    assert sum("667 [571, 788]" in line for line in lines) == 3
    assert any("failed" in line and "no room" in line for line in lines)
    assert sum(" mean " in line for line in lines) == 1, "one run has no mean"


def test_a_persona_whose_seeds_all_failed_has_a_mean_of_none(tmp_path, printed):
    show([Outcome("Captain", tmp_path, "lost", seed) for seed in (0, 1)])
    assert any(" mean " in line and "0 of 2 seeds" in line for line in printed.export_text().splitlines())


def test_pairs_are_counted_for_every_seed(tmp_path, printed):
    for seed in (0, 1):
        pairs = Artefact("pairs", tmp_path / f"s{seed}" / "pairs", {})
        pairs.folder.mkdir(parents=True)
        pairs.finish({"rows_in": 9, "rows_out": 7 + seed})
    show_pairs([Outcome("Captain", tmp_path / f"s{seed}", seed=seed) for seed in (0, 1)])
    text = printed.export_text()
    assert "7 of 9" in text and "8 of 9" in text
