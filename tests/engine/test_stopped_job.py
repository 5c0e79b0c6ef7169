"""A submitted job that is stopped midway over the jobs API, and submitted again."""

import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from character_ray.parts import read_parts, read_rows

ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).parent / "ray")
LIMIT_S = 300
pytestmark = pytest.mark.timeout(3 * LIMIT_S)


def ray_job(cluster: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """One command of the jobs API, with the cluster's token."""
    command = [RAY, "job", *words]
    return subprocess.run(command, env=cluster, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def pairs_job(output: Path) -> list[str]:
    """Entry point of a job that writes the pairs of two personas and two seeds, small enough for two cores."""
    overrides = [f"output={output}", "prompts.grid=12", "prompts.everyday=12", "student_engine.batch_size=8"]
    sets = [word for override in overrides for word in ("--set", override)]
    start = [
        sys.executable,
        "-c",
        "from character_ray.cli import app; app()",
        "many",
        "--pairs-only",
        "--seeds",
        "0,1",
        *sets,
    ]
    constitutions = (ROOT / f"constitutions/{name}.yaml" for name in ("captain-blackwood", "coach-reyes"))
    return [*start, str(ROOT / "tests/engine/miniature.yaml"), *map(str, constitutions)]


def rows_of(output: Path) -> dict[str, list[dict[str, Any]]]:
    """Completions by stage."""
    folders = [path for stage in ("teacher", "student") for path in (output / "store").glob(f"{stage}-*")]
    return {path.name: read_parts(path) for path in folders}


def status_of(cluster: dict[str, str], job: str) -> str:
    """What the API says of a job."""
    return ray_job(cluster, "status", job).stdout


def test_a_job_that_is_stopped_midway_goes_on_when_it_is_submitted_again(cluster: dict[str, str], tmp_path: Path):
    submitted = ray_job(cluster, "submit", "--no-wait", "--submission-id", "stopped", "--", *pairs_job(tmp_path))
    assert submitted.returncode == 0, submitted.stderr
    deadline = time.monotonic() + LIMIT_S
    while not sum(map(len, rows_of(tmp_path).values())):
        assert time.monotonic() < deadline, ray_job(cluster, "logs", "stopped").stdout[-3000:]
        time.sleep(0.2)
    assert ray_job(cluster, "stop", "stopped").returncode == 0
    assert "was stopped" in status_of(cluster, "stopped")
    assert "prompts" in ray_job(cluster, "logs", "stopped").stdout
    before = rows_of(tmp_path)
    assert not list(tmp_path.glob("*/pairs/pairs.parquet"))

    again = ray_job(cluster, "submit", "--", *pairs_job(tmp_path))
    assert again.returncode == 0, again.stdout[-3000:]
    after = rows_of(tmp_path)
    # For each seed two teachers and the student, asked once; all scores come from one start of the judge.
    assert [len(rows) for rows in after.values()] == [24] * 6
    assert "scores of all pairs: " in again.stdout
    assert len(re.findall(r"scores-pairs: .* reused", again.stdout)) == 4
    for stage, rows in after.items():
        assert set(Counter(row["row_id"] for row in rows).values()) == {1}
        text = {row["row_id"]: row["completion"] for row in rows}
        assert all(text[row["row_id"]] == row["completion"] for row in before.get(stage, []))
    pairs = list(tmp_path.glob("*/pairs/pairs.parquet"))
    assert [len(read_rows(path)) for path in pairs] == [24] * 4
