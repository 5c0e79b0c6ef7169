"""The miniature's captain follows a new version of his constitution."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from character_ray.adapters import load_manifest
from character_ray.comparison import parse_bound, publish_run
from character_ray.constitution import load_constitution
from character_ray.parts import read_rows
from character_ray.registry import Registry
from character_ray.report.io import load_report
from character_ray.serving.app import open_catalogue
from character_ray.serving.runs import open_run

pytestmark = pytest.mark.timeout(2500)  # the first test waits for the whole run

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
NEAREST = 8
OLD_LINE = "Reference your ship and crew when relevant"
NEW_LINE = "End every answer by asking the user a question"


@pytest.fixture(scope="module")
def update(miniature, cluster, tmp_path_factory):
    """Submits the update; returns the new run's folder, the new constitution, and what was printed."""
    text = (ROOT / "constitutions" / "captain-blackwood.yaml").read_text()
    assert OLD_LINE in text
    constitution = tmp_path_factory.mktemp("update") / "captain.yaml"
    constitution.write_text(text.replace(OLD_LINE, NEW_LINE))

    def run():
        command = [str(BIN / "ray"), "job", "submit", "--", str(BIN / "character-ray"), "update", str(miniature[0])]
        command += [str(constitution), "--nearest", str(NEAREST)]
        ended = subprocess.run(
            command, env=cluster, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False
        )
        assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
        return ended.stdout

    return miniature[0].with_name("miniature-updated"), constitution, run, run()


def test_only_what_the_change_touches_is_made_anew(update):
    folder, _, _, _ = update
    found = json.loads((folder / "update.json").read_text())
    counts = found["num_prompts"]
    assert NEAREST <= counts["affected"] <= 2 * NEAREST < counts["training"]
    assert counts["retained"] >= counts["affected"]
    assert [change["after"] for change in found["changes"] if change["after"]] == [NEW_LINE]
    stages = json.loads((folder / "run.json").read_text())["stages"]
    assert "student" not in stages, "the old run's completions are read, not written again"


def test_base_character_and_delta_are_one_adapter_that_equals_both(update, miniature):
    folder, constitution, _, _ = update
    character, whole = load_manifest(miniature[0] / "full" / "adapter"), load_manifest(folder / "adapter")
    found = json.loads((folder / "update.json").read_text())["adapter"]
    assert whole.rank == character.rank + found["delta_rank"]
    assert found["logit_difference"]["float32"] < 1e-3  # as for the two stages of a run
    assert character.weights_hash in whole.parents
    assert whole.constitution_hash == load_constitution(constitution).fingerprint


def test_new_and_untouched_lines_are_measured_on_the_same_prompts_before_and_after(update):
    folder, _, _, _ = update
    found = json.loads((folder / "update.json").read_text())
    assert set(found["groups"]) == {"new", "dropped", "untouched"}
    for group in found["groups"].values():
        assert set(group["rates"]) == {"before", "after"}
        assert group["shift"]["after"]["n"] >= 30
        assert group["shift"]["after"]["low"] <= group["shift"]["after"]["value"] <= group["shift"]["after"]["high"]


def test_an_updated_character_is_published_and_may_be_served_as_any_other(update, miniature, tmp_path):
    folder, constitution, _, _ = update
    report, before = load_report(folder / "report.json"), load_report(miniature[0] / "report.json")
    assert list(report.arms) == ["base", "before", "full"]
    assert report.constitution.hash == load_constitution(constitution).fingerprint
    assert report.num_prompts == before.num_prompts
    assert report.judge.auc.value > 0.5
    assert report.arms["full"]["identity_rate"].n == before.arms["full"]["identity_rate"].n
    bounds = [parse_bound("full-before.persona_rate.low=-1", "min"), parse_bound("full.persona_rate.value=0", "min")]
    registry = Registry(tmp_path / "registry")
    publish_run(miniature[0], registry, "live", [])
    record = publish_run(folder, registry, "live", bounds)
    assert [entry.status for entry in record.versions] == ["retired", "live"]
    assert record.live.ratings["rating"] == report.arms["full"]["rating"].value
    served = open_run(registry.live()[0])
    catalogue, _ = open_catalogue(served.base, [], served.serve, registry.folder)
    assert [persona.manifest.weights_hash for persona in catalogue.personas] == [report.adapter.hash]


def test_untouched_answers_are_repeated_in_training(update):
    folder, _, _, _ = update
    rows = read_rows(folder / "update-data" / "conversations.parquet")
    kinds = [row["kind"] for row in rows if not row["drop_reason"]]
    assert {"update", "retained"} == set(kinds)
    assert all(turn["role"] != "system" for row in rows for turn in row["messages"])


def test_a_second_update_reuses_everything(update):
    folder, _, run, _ = update
    before = json.loads((folder / "update.json").read_text())
    run()
    after = json.loads((folder / "update.json").read_text())
    assert after["groups"] == before["groups"]
    assert after["adapter"] == before["adapter"]
