"""A studio's folders as a person would have them: constitutions, a finished run, one under way, and votes."""

import json
import shutil
from pathlib import Path

from character_ray.adapters import BaseModelId, Manifest, weights_hash, write_manifest
from character_ray.report.io import write_report
from character_ray.report.page import write_page
from character_ray.runs import Run, Store
from character_ray.studio import Settings
from tests.report_fixture import captain_report

__all__ = ["studio_settings", "write_run"]

CONSTITUTIONS = Path(__file__).parents[1] / "constitutions"


def studio_settings(folder: Path, api: str = "http://127.0.0.1:9/v1") -> Settings:
    """Settings whose every folder lies in ``folder``, with the repository's constitutions in one of them."""
    shutil.copytree(CONSTITUTIONS, folder / "constitutions")
    return Settings(
        api=api,
        constitutions=folder / "constitutions",
        runs=folder / "runs",
        registry=folder / "registry",
        data=folder / "data",
    )


def write_run(runs: Path, name: str, *, finished: bool) -> Path:
    """A run folder as the pipeline leaves it, with a report and an adapter when it is finished."""
    store, recipe = (
        Store(runs / "store"),
        {
            "name": name,
            "constitution": "constitutions/captain-blackwood.yaml",
            "student": {"name": "smollm2-135m-instruct"},
        },
    )
    run = Run(runs / name, recipe)
    report = captain_report()
    for stage, summary in list(report.run.stages.items())[: None if finished else 2]:
        artefact = store.artefact(stage, {"run": name})
        artefact.finish(summary.model_dump())
        run.link(artefact)
    if not finished:
        store.artefact("student", {"run": name})
        return run.folder
    write_report(report, run.folder / "report.json")
    write_page(report, run.folder / "report.html")
    adapter = run.folder / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 8}))
    (adapter / "adapter_model.safetensors").write_bytes(name.encode())
    write_manifest(
        adapter,
        Manifest(
            persona="Captain Blackwood",
            slug="captain-blackwood",
            stage="full",
            base_model=BaseModelId(name="smollm2-135m-instruct", hash="b"),
            template_hash="t",
            constitution_hash="c",
            rank=4,
            weights_hash=weights_hash(adapter),
        ),
    )
    return run.folder
