"""A published version goes live within bounds on the report that it was published with."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from character_ray.cli import app
from character_ray.comparison import parse_bound, promote_version, publish_run
from character_ray.errors import RegistryError, ReportError
from character_ray.registry import Registry
from tests.places import Place
from tests.studio_fixture import write_run
from tests.unit.test_registry import adapter

CAPTAIN = "captain-blackwood"
KEPT, BROKEN = (parse_bound(f"full.persona_rate.low={limit}", "min") for limit in ("0.6", "0.99"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "runs", "demo", finished=True)


@pytest.fixture
def registry(place: Place) -> Registry:
    return Registry(place.address)


def test_a_candidate_is_promoted_within_bounds_wherever_its_run_is_by_then(registry, run):
    version = publish_run(run, registry, "candidate", []).versions[0].weights_hash
    (run / "report.json").unlink()
    with pytest.raises(
        RegistryError, match=rf"{version} is not promoted, because it breaks full\.persona_rate\.low >= 0\.99"
    ):
        promote_version(registry, CAPTAIN, version[:6], [BROKEN])
    with pytest.raises(ReportError, match="no metric"):
        promote_version(registry, CAPTAIN, version, [parse_bound("full.wit.value=1", "min")])
    assert registry.record(CAPTAIN).live is None
    record = promote_version(registry, CAPTAIN, version[:6], [KEPT])
    assert record.live is not None and record.live.weights_hash == version
    assert record.history[-1].gate == ["full.persona_rate.low >= 0.6, found 0.753"]
    assert json.loads(registry.report(record.live))["transcripts"] == []


def test_a_version_of_before_reports_were_kept_is_held_to_its_runs_if_that_is_of_its_weights(registry, run):
    folder = run / "adapter"
    registry.publish(folder, "candidate", run=str(run))
    version = registry.record(CAPTAIN).versions[0].weights_hash
    with pytest.raises(RegistryError, match="published without its report"):
        promote_version(registry, CAPTAIN, version, [KEPT])
    report = json.loads((run / "report.json").read_text())
    report["adapter"]["hash"] = version
    (run / "report.json").write_text(json.dumps(report))
    with pytest.raises(RegistryError, match="it breaks"):
        promote_version(registry, CAPTAIN, version, [BROKEN])
    assert promote_version(registry, CAPTAIN, version, [KEPT]).live is not None


def test_without_bounds_any_version_is_promoted(registry, tmp_path):
    version = registry.publish(adapter(tmp_path / "one", "one"), "candidate").versions[0].weights_hash
    assert promote_version(registry, CAPTAIN, version, []).live is not None


def test_the_command_line_promotes_within_bounds(run, tmp_path):
    registry = Registry(tmp_path / "registry")
    version = publish_run(run, registry, "candidate", []).versions[0].weights_hash
    words = ["registry", "promote", CAPTAIN, version, "--registry", str(registry.folder), "--min"]
    refused = CliRunner().invoke(app, [*words, "full.persona_rate.low=0.99"])
    assert isinstance(refused.exception, RegistryError)
    assert registry.record(CAPTAIN).live is None
    assert CliRunner().invoke(app, [*words, "full.persona_rate.low=0.6"]).exit_code == 0
    assert registry.record(CAPTAIN).live is not None
