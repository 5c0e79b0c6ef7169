"""A job that is submitted with its working directory, stopped midway over the jobs API, and submitted again."""

import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from character_ray.parts import read_parts, read_rows

ROOT = Path(__file__).parents[2]
# Where Ray unpacks what was uploaded.
UNPACKED = re.compile(r"^(/\S+/working_dir_files/_ray_pkg_\w+)/character_ray/__init__\.py$", re.MULTILINE)
RAY = str(Path(sys.executable).parent / "ray")
LIMIT_S = 300
pytestmark = pytest.mark.timeout(3 * LIMIT_S)


def ray_job(cluster: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """One command of the jobs API, with the cluster's token."""
    command = [RAY, "job", *words]
    return subprocess.run(command, env=cluster, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)


@pytest.fixture
def working_directory(tmp_path: Path) -> Path:
    """What a user uploads: the code, constitutions and a recipe; away from it no path of the job leads anywhere."""
    folder = tmp_path / "project"
    for part in ("character_ray", "constitutions"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests/engine/miniature.yaml", folder / "recipe.yaml")
    return folder


def pairs_job(output: Path) -> list[str]:
    """Entry point of a job that says whose code it runs and writes the pairs of two personas and two seeds, small enough for two cores."""
    overrides = [f"output={output}", "prompts.grid=12", "prompts.everyday=12", "student_engine.batch_size=8"]
    sets = [word for override in overrides for word in ("--set", override)]
    program = "import character_ray; print(character_ray.__file__); from character_ray.cli import app; app()"
    start = [sys.executable, "-c", program, "many", "--pairs-only", "--seeds", "0,1", *sets]
    return [*start, "recipe.yaml", *(f"constitutions/{name}.yaml" for name in ("captain-blackwood", "coach-reyes"))]


def unpacked_in(logs: str) -> Path:
    """The working directory that a job's driver found itself in."""
    found = UNPACKED.search(logs)
    assert found, logs[-3000:]
    return Path(found[1])


def folders_of_engines() -> set[Path]:
    """Working directories of the engines' actors."""
    processes = psutil.process_iter(["cmdline", "cwd"])
    engines = [each for each in processes if " ".join(each.info["cmdline"] or []).startswith("ray::Talker")]
    return {Path(each.info["cwd"]) for each in engines if each.info["cwd"]}


def rows_of(output: Path) -> dict[str, list[dict[str, Any]]]:
    """Completions by stage."""
    folders = [path for stage in ("teacher", "student") for path in (output / "store").glob(f"{stage}-*")]
    return {path.name: read_parts(path) for path in folders}


def status_of(cluster: dict[str, str], job: str) -> str:
    """What the API says of a job."""
    return ray_job(cluster, "status", job).stdout


def test_a_job_that_is_stopped_midway_goes_on_when_it_is_submitted_again(
    cluster: dict[str, str], working_directory: Path, tmp_path: Path
):
    output, upload = tmp_path / "runs", ("--working-dir", str(working_directory))
    command = ["submit", "--no-wait", "--submission-id", "stopped", *upload, "--", *pairs_job(output)]
    submitted = ray_job(cluster, *command)
    assert submitted.returncode == 0, submitted.stderr
    deadline = time.monotonic() + LIMIT_S
    while not sum(map(len, rows_of(output).values())):
        assert time.monotonic() < deadline, ray_job(cluster, "logs", "stopped").stdout[-3000:]
        time.sleep(0.2)
    folders = folders_of_engines()
    assert ray_job(cluster, "stop", "stopped").returncode == 0
    assert "was stopped" in status_of(cluster, "stopped")
    logs = ray_job(cluster, "logs", "stopped").stdout
    assert "prompts" in logs
    assert unpacked_in(logs) in folders
    before = rows_of(output)
    assert not list(output.glob("*/pairs/pairs.parquet"))

    # The user has changed something else meanwhile, so that it is unpacked elsewhere.
    (working_directory / "notes.md").write_text("The tide was high.")
    again = ray_job(cluster, "submit", *upload, "--", *pairs_job(output))
    assert again.returncode == 0, again.stdout[-3000:]
    assert unpacked_in(again.stdout) != unpacked_in(logs)
    after = rows_of(output)
    # For each seed two teachers and the student, asked once; all scores come from one start of the judge.
    assert [len(rows) for rows in after.values()] == [24] * 6
    assert "scores of all pairs: " in again.stdout
    assert len(re.findall(r"scores-pairs: .* reused", again.stdout)) == 4
    for stage, rows in after.items():
        assert set(Counter(row["row_id"] for row in rows).values()) == {1}
        text = {row["row_id"]: row["completion"] for row in rows}
        assert all(text[row["row_id"]] == row["completion"] for row in before.get(stage, []))
    pairs = list(output.glob("*/pairs/pairs.parquet"))
    assert [len(read_rows(path)) for path in pairs] == [24] * 4
