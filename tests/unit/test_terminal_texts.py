"""What a model, an engine or a file said reaches the terminal as it was written: brackets in it are no markup."""

import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import save_file
from typer.testing import CliRunner

from character_ray import log
from character_ray.cli import app
from character_ray.config import Recipe, load_recipe
from character_ray.constitution import load_constitution
from character_ray.log import StageProgress
from character_ray.models import resolve_model
from character_ray.pipeline import context, many_table
from character_ray.pipeline.context import Context, Persona
from character_ray.pipeline.many_table import Outcome, show_pairs
from character_ray.pipeline.preview import pairs_table, whom_rejected
from character_ray.rows import Message, Pair
from character_ray.runs import Store
from character_ray.training import launch
from character_ray.training.job import TrainJob
from character_ray.whole_files import write_text

ROOT = Path(__file__).resolve().parents[2]
BRACKETS = ["Arr! [laughs heartily] Aye.", "as told [/INST]", "[b]bold[/i]", "error in [/tmp/engine.log]"]


@pytest.fixture
def console():
    return Console(width=500, record=True, file=Path("/dev/null").open("w"))  # as long as the test


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.chdir(ROOT)
    return load_recipe(ROOT / "jobs" / "recipes" / "demo-cpu.yaml", [f"output={tmp_path}"])


def pair(text: str, kind: str = "contrast") -> Pair:
    said = {side: [Message(role="assistant", content=f"{side}: {text}")] for side in ("prompt", "chosen", "rejected")}
    return Pair(
        row_id="r",
        prompt_id="p",
        hint="",
        kind=kind,
        directive="",
        chosen_score=0.5,
        rejected_score=0.0,
        drop_reason=text,
        **said,
    )


@pytest.mark.parametrize("text", BRACKETS)
def test_a_preview_shows_what_was_written(console, text):
    console.print(pairs_table([pair(text)], "student"))
    shown = console.export_text()
    assert all(f"{side}: {text}" in shown for side in ("prompt", "chosen", "rejected"))
    assert shown.count(text) == 4, "three texts and the reason"


def test_a_preview_names_who_wrote_the_rejected_side(console, recipe):
    captain = load_constitution(recipe.constitution)
    distill = recipe.distill

    def against(persona: Persona, **changes: object) -> str:
        return whom_rejected(recipe.model_copy(update={"distill": distill.model_copy(update=changes)}), persona)

    assert against(Persona(captain)) == "student"
    assert against(Persona(captain, opposite=captain)) == "opposite"
    assert against(Persona(captain), contrast="on_policy", parent=Path("runs/demo/dpo/adapter")) == "parent adapter"
    assert against(Persona(captain), pairs=Path("pairs.parquet")) == "imported answers"
    console.print(pairs_table([pair("Aye"), pair("Aye", "over_refusal")], "parent adapter"))
    shown = console.export_text()
    assert "the voice, against the parent adapter" in shown
    assert "over refusal" in shown


@pytest.mark.parametrize("text", BRACKETS)
def test_a_stage_that_lost_rows_ends_and_is_reused_whatever_the_reason_says(console, recipe, monkeypatch, text):
    monkeypatch.setattr(context, "console", console)
    run = Context.open(recipe)
    artefact = Store(recipe.output / "store").artefact("student", {})
    with artefact.making():
        artefact.finish({"rows_in": 2, "rows_out": 1, "dropped": {text: 1}})
    for reused in (False, True):
        run.close(artefact, reused=reused)
    assert console.export_text().count(f"dropped: 1 {text}") == 2


@pytest.mark.parametrize("text", BRACKETS)
def test_what_changed_since_an_earlier_attempt_is_said_as_it_is(console, recipe, monkeypatch, text):
    monkeypatch.setattr(context, "console", console)
    run = Context.open(recipe)
    before = run.artefact("student", {"topic": "hats"})
    with before.making():
        before.finish({})
    run.close(before, reused=False)
    Context.open(recipe).artefact("student", {"topic": text})
    assert f"topic was hats, is {text}" in console.export_text()


@pytest.mark.parametrize("text", BRACKETS)
def test_the_table_of_many_pairs_shows_names_and_reasons_as_they_are(console, tmp_path, monkeypatch, text):
    monkeypatch.setattr(many_table, "console", console)
    artefact = Store(tmp_path).artefact("pairs", {})
    with artefact.making():
        artefact.finish({"rows_in": 2, "rows_out": 1, "dropped": {text: 1}})
    (tmp_path / "pairs").symlink_to(artefact.folder)
    show_pairs([Outcome(f"who {text}", tmp_path), Outcome("Coach", tmp_path, f"why {text}")])
    shown = console.export_text()
    assert all(f"{what} {text}" in shown for what in ("who", "1", "why"))


@pytest.mark.parametrize("text", BRACKETS)
def test_what_a_stage_is_doing_is_said_as_it_is(console, monkeypatch, text):
    monkeypatch.setattr(log, "console", console)
    StageProgress("teacher", 1, "rows", None).note(text)
    StageProgress("teacher", 1, "rows", None).advance(1, text)
    shown = console.export_text()
    assert f"teacher: {text}" in shown
    assert f"1/1 rows {text}" in shown


@pytest.mark.parametrize("text", BRACKETS)
def test_what_is_wrong_with_a_constitution_is_said_as_it_is(tmp_path, text):
    file = tmp_path / "who.yaml"
    file.write_text((ROOT / "constitutions" / "captain-blackwood.yaml").read_text() + f"\n{text!r}: 1\n")
    found = CliRunner().invoke(app, ["validate", str(file)])
    assert found.exit_code == 1
    assert text in found.output


@pytest.mark.parametrize("name", ["Ada [the Quill]", "Ada [/b]"])
def test_a_persona_may_have_brackets_in_its_name(tmp_path, name):
    file = tmp_path / "ada.yaml"
    written = (ROOT / "constitutions" / "captain-blackwood.yaml").read_text()
    file.write_text(written.replace('name: "Captain Blackwood"', f"name: '{name}'", 1))
    found = CliRunner().invoke(app, ["validate", str(file)])
    assert found.exit_code == 0, found.output
    assert f"{file}: {name}, quality" in found.output.replace("\n", "")


def test_a_training_prints_its_first_example_and_not_that_of_an_earlier_attempt(console, recipe, tmp_path, monkeypatch):
    text = "as told [/INST] [laughs]"
    job = TrainJob("dpo", resolve_model(recipe.student), tmp_path, tmp_path, recipe.dpo, recipe.train, 0)
    job.first_example.write_text("of an earlier attempt")

    def trained(*_: object, **__: object) -> None:
        time.sleep(1)  # what was there before would have been found
        write_text(job.first_example, f"chosen\n<|im_start|>assistant\n«{text}<|im_end|>»\n")
        (job.folder / "trained").mkdir()
        save_file({"a": np.zeros(1, np.float32)}, job.folder / "trained" / "adapter_model.safetensors")
        (job.folder / "trained" / "adapter_config.json").write_text("{}")

    monkeypatch.setattr(launch, "console", console)
    monkeypatch.setattr(launch, "run_workers", trained)
    launch.train(job, "dpo", 8)
    shown = console.export_text()
    assert f"\n«{text}<|im_end|>»" in shown
    assert shown.count("dpo: the first example") == 1
    assert "earlier attempt" not in shown
