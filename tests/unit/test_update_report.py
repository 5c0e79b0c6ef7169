"""The report of an update: three arms under the new version, and a registry that takes it; no engine and no judge."""

import json
from pathlib import Path

import pytest

from character_ray.adapters import BaseModelId, Manifest, weights_hash, write_manifest
from character_ray.comparison import check_bounds, parse_bound, publish_run
from character_ray.config import Recipe, UpdateConfig
from character_ray.constitution import load_constitution
from character_ray.errors import RegistryError, ReportError
from character_ray.inference.passes import Generation
from character_ray.parts import append_part, read_rows
from character_ray.pipeline.adapters import link_deliverable
from character_ray.pipeline.answers import evaluation_questions
from character_ray.pipeline.context import Context, Persona
from character_ray.pipeline.finished import FinishedRun
from character_ray.pipeline.judge_audit import known_pairs
from character_ray.pipeline.update import update_run, updated_recipe
from character_ray.pipeline.update_report import known_completions, report_update
from character_ray.registry import Registry
from character_ray.report.io import load_report
from character_ray.rows import COMPLETION, Completion, Prompt
from character_ray.runs import Artefact
from character_ray.stages.requests import build_request
from tests.finished_run import PIRATE, ROOT, write_run

CAPTAIN = ROOT / "constitutions" / "captain-blackwood.yaml"
PROMPTS = 16


def completion(prompt_id: str, text: str) -> Completion:
    return Completion(
        row_id=f"new/{prompt_id}",
        prompt_id=prompt_id,
        sample=0,
        completion=text,
        num_tokens=4,
        finish_reason="stop",
        error="",
    )


def likes_pirates(rows) -> dict[str, float]:
    """Stands where the likelihood judge stands."""
    return {row["row_id"]: 1.0 if row["completion"].startswith(PIRATE) else -1.0 for row in rows}


def wrote(artefact: Artefact, prompts: list[Prompt], text: str) -> Generation:
    """A pass in which every prompt was answered alike."""
    rows = [completion(prompt["prompt_id"], text) for prompt in prompts]
    append_part(artefact.folder, rows, COMPLETION)
    artefact.finish({})
    requests = [build_request("answer", prompt["prompt_id"], [], Recipe.model_fields["evaluate"].default.sampling, seed=0)
                for prompt in prompts]  # fmt: skip
    return Generation(
        artefact, [{**request, "row_id": row["row_id"]} for request, row in zip(requests, rows, strict=True)]
    )


@pytest.fixture
def old(tmp_path: Path) -> FinishedRun:
    folder = write_run(tmp_path / "demo", prompts=PROMPTS)
    (folder / "report.json").write_text("{}")
    return FinishedRun.open(folder)


@pytest.fixture
def updated(old: FinishedRun, tmp_path: Path) -> Path:
    """A run that updates the captain; everything he says now begins as a pirate does."""
    context = Context.open(updated_recipe(old.recipe, CAPTAIN, UpdateConfig(rank=4), "", 4))
    persona = Persona(load_constitution(CAPTAIN))
    asked = {row["prompt_id"]: row["prompt"] for row in old.answers}
    empty = {"audience": "", "scenario": "", "objective": "", "constraint": ""}
    prompts = [Prompt(prompt_id=key, prompt=text, source="everyday", hint="", **empty) for key, text in asked.items()]
    questions = evaluation_questions(prompts, persona.probes, 1)
    said = wrote(
        context.artefact("answers-full", {}),
        [prompt for prompt, _ in questions],
        f"{PIRATE} high. I am Captain Blackwood.",
    )
    train = old.prompts("train")
    known = known_completions(old, train[:8], wrote(context.artefact("teacher", {}), train[:8], f"{PIRATE} low."), 0)
    delta, joined = context.artefact("delta", {}), context.artefact("updated", {})
    (delta.folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": 2.0}) + "\n")
    adapter = joined.folder / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 8, "lora_alpha": 8}))
    (adapter / "adapter_model.safetensors").write_bytes(b"updated")
    manifest = Manifest(
        persona="Captain Blackwood",
        slug="captain-blackwood",
        stage="full",
        base_model=BaseModelId(name="base", hash="b"),
        template_hash="t",
        constitution_hash=persona.constitution.fingerprint,
        rank=8,
        weights_hash=weights_hash(adapter),
    )
    write_manifest(adapter, manifest)
    joined.finish({"logit_difference": {"float32": 1e-5, "bfloat16": 1e-2}})
    context.run.link(joined)
    link_deliverable(context.run.folder, joined)
    calibration = known.calibration(likes_pirates([*known.teacher, *known.student]))
    report_update(
        context,
        persona,
        old,
        questions,
        said,
        known,
        calibration,
        delta,
        joined,
        lambda _, sheets: [likes_pirates(sheet.rows) for sheet in sheets],
    )
    return context.run.folder


def test_an_update_is_reported_beside_base_and_the_character_as_it_was(updated: Path, old: FinishedRun):
    report = load_report(updated / "report.json")
    assert list(report.arms) == ["base", "before", "full"]
    rates = {arm: metrics["persona_rate"].value for arm, metrics in report.arms.items()}
    assert {"before", "full"} <= report.diversity.keys()
    assert all(own.metrics["user_rate"].value is not None for own in report.diversity.values())
    pirates = [row["completion"].startswith(PIRATE) for row in old.answers if row["arm"] == "full"]
    assert rates["before"] == sum(pirates) / len(pirates)
    assert rates["base"] < rates["before"] <= rates["full"] == 1
    assert report.arms["full"]["identity_rate"].value == 1
    assert report.arms["before"]["identity_rate"].value is None
    assert report.arms["before"]["identity_rate"].reason
    assert (report.judge.auc.value, report.judge.n) == (1.0, 2 * 24)
    assert report.judge.audit is not None and report.judge.audit.failures == []
    assert report.judge.audit.measures["accuracy"].n == 2 * 24
    assert report.arms["full"]["rating"].value > report.arms["base"]["rating"].value
    assert report.adapter is not None and report.adapter.rank == 8
    assert report.training["delta"][0]["loss"] == 2.0
    assert (updated / "report.html").is_file()
    rows = read_rows(updated / "answers.parquet")
    assert {row["arm"] for row in rows} == {"base", "before", "full"}


def test_a_registry_takes_an_update_if_it_keeps_the_bounds(updated: Path, tmp_path: Path):
    registry = Registry(tmp_path / "registry")
    kept = [parse_bound("full-before.persona_rate.low=-0.25", "min"), parse_bound("full.persona_rate.low=0.6", "min")]
    assert all(verdict.kept for verdict in check_bounds(load_report(updated / "report.json"), kept))
    with pytest.raises(RegistryError, match=r"breaks full\.looping_rate\.value <= -1"):
        publish_run(updated, registry, "live", [parse_bound("full.looping_rate.value=-1", "max")])
    assert registry.records() == []
    live = publish_run(updated, registry, "live", kept).live
    assert live is not None and live.run == str(updated)
    assert live.ratings["persona_rate"] == 1
    assert [each.partition(",")[0] for each in live.gate] == [
        "full-before.persona_rate.low >= -0.25",
        "full.persona_rate.low >= 0.6",
    ]
    (folder,) = registry.live()
    assert weights_hash(folder) == live.weights_hash


def test_the_threshold_is_fixed_on_new_answers_where_the_update_reaches_and_old_ones_elsewhere(
    old: FinishedRun, tmp_path: Path
):
    context = Context.open(updated_recipe(old.recipe, CAPTAIN, UpdateConfig(rank=4), "", 4))
    train = old.prompts("train")
    known = known_completions(old, train[:8], wrote(context.artefact("teacher", {}), train[:8], "Aye, new."), 0)
    texts = {row["prompt_id"]: row["completion"] for row in known.teacher}
    assert set(texts) == {prompt["prompt_id"] for prompt in train}
    assert [texts[prompt["prompt_id"]] == "Aye, new." for prompt in train] == [True] * 8 + [False] * 16
    assert {row["prompt_id"] for row in known.student} == set(texts)
    assert len({row["row_id"] for row in (*known.teacher, *known.student)}) == 48
    assert set(known.prompts) == set(texts)


def test_an_update_of_an_update_is_refused_in_words(updated: Path):
    with pytest.raises(ReportError, match="may be an update itself"):
        update_run(updated, CAPTAIN, UpdateConfig())
    with pytest.raises(ReportError, match="Set audit_run to the run it came from"):
        known_pairs(updated, FinishedRun.open(updated).recipe.judge.audit, 0)
