"""A published version goes live within bounds on the report that it was published with."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from character_ray.cli import app
from character_ray.comparison import parse_bound, promote_version, publish_run
from character_ray.errors import RegistryError, ReportError
from character_ray.registry import Policy, Registry, keep_policy, policy_of
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


def test_whatever_goes_live_keeps_the_registrys_policy(registry, run):
    keep_policy(registry, Policy(min=("full.persona_rate.low=0.99",)))
    with pytest.raises(RegistryError, match=r"is not published, because it breaks full\.persona_rate\.low >= 0\.99"):
        publish_run(run, registry, "live", [])
    version = publish_run(run, registry, "candidate", []).versions[0].weights_hash
    with pytest.raises(RegistryError, match="is not promoted, because it breaks"):
        promote_version(registry, CAPTAIN, version, [])
    keep_policy(registry, Policy(min=("full.persona_rate.low=0.6",), max=("full.looping_rate.value=1",)))
    record = promote_version(registry, CAPTAIN, version, [])
    assert record.live is not None
    assert [bound.partition(",")[0] for bound in record.history[-1].gate] == [
        "full.persona_rate.low >= 0.6",
        "full.looping_rate.value <= 1",
    ]
    assert registry.slugs() == [CAPTAIN]


def test_a_policy_that_cannot_be_read_lets_nothing_through(registry, run):
    registry.shelf.keep_policy('{"min": "all"}')
    with pytest.raises(RegistryError, match=r"policy\.json cannot be read .* so nothing goes live"):
        publish_run(run, registry, "live", [])
    assert publish_run(run, registry, "candidate", []).live is None


def test_the_command_line_keeps_a_policy(tmp_path):
    words = ["registry", "policy", "--registry", str(tmp_path)]
    assert "no policy" in CliRunner().invoke(app, words).output
    refused = CliRunner().invoke(app, [*words, "--min", "persona > 1"])
    assert isinstance(refused.exception, ReportError)
    assert policy_of(Registry(tmp_path)) == Policy()
    kept = CliRunner().invoke(app, [*words, "--min", "full.persona_rate.low=0.6"])
    assert "full.persona_rate.low >= 0.6" in kept.output
    assert "full.persona_rate.low >= 0.6" in CliRunner().invoke(app, words).output
    assert CliRunner().invoke(app, [*words, "--min", "full.persona_rate.low=0.6", "--clear"]).exit_code == 2
    assert "no policy" in CliRunner().invoke(app, [*words, "--clear"]).output
