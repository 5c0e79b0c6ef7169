"""Sheets of several personas, scored by one start of the judges, hold what each would hold alone."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
import ray._private.state

from character_ray.config import JudgeConfig
from character_ray.inference import score_sheets as module
from character_ray.inference.judge_actors import load_early
from character_ray.inference.kept_judges import KeptJudges
from character_ray.inference.likelihood import SCORE, LikelihoodJudge, ScoreRequest, score_completions
from character_ray.inference.score_sheets import Sheet, score_sheets
from character_ray.parts import append_part, read_parts
from character_ray.runs import Store

pytestmark = pytest.mark.usefixtures("local_ray")

JUDGE = JudgeConfig(device="cpu", batch_size=3)
PIRATE, FRENCH = "You are a pirate.", "You answer in French, whatever you are asked."
# The student's answers are the same for every persona.
ROWS = [
    ScoreRequest(row_id=f"row-{number}", prompt=prompt, completion=completion)
    for number, (prompt, completion) in enumerate(
        [("Hello there!", "Arr, matey."), ("Hello there!", "Bonjour."), ("What is it?", "It is late."), ("And?", " ")]
    )
]


@pytest.fixture
def sheets(tmp_path: Path) -> list[Sheet]:
    store = Store(tmp_path)
    return [Sheet(store.artefact("scores", {"system": system}), ROWS, system) for system in (PIRATE, FRENCH)]


def expected(base: Path, system: str, rows: Sequence[ScoreRequest] = ROWS[:3]) -> dict[str, float]:
    batch = {key: [row[key] for row in rows] for key in ("row_id", "prompt", "completion")}
    return dict(zip(batch["row_id"], LikelihoodJudge(str(base), system, JUDGE)(batch)["score"], strict=True))


def test_every_sheet_holds_its_own_scores(tiny_base: Path, sheets: list[Sheet]):
    score_sheets("all", sheets, tiny_base, JUDGE)
    found = [{row["row_id"]: row["score"] for row in read_parts(sheet.artefact.folder)} for sheet in sheets]
    for sheet, scores in zip(sheets, found, strict=True):
        assert scores == pytest.approx(expected(tiny_base, sheet.system_prompt), abs=1e-5)
        assert sheet.artefact.is_done
        assert (sheet.artefact.summary["rows_in"], sheet.artefact.summary["rows_out"]) == (4, 3)
    assert found[0]["row-0"] != pytest.approx(found[1]["row-0"], abs=1e-6)


def test_what_is_scored_is_not_scored_again(tiny_base: Path, sheets: list[Sheet], monkeypatch):
    append_part(sheets[0].artefact.folder, [{"row_id": "row-1", "score": 7.0}], SCORE)
    score_sheets("all", sheets, tiny_base, JUDGE)
    assert sorted(row["row_id"] for row in read_parts(sheets[0].artefact.folder)) == ["row-0", "row-1", "row-2"]
    monkeypatch.setattr(module, "judged_rows", lambda *_: pytest.fail("all sheets are done"))
    score_sheets("all", sheets, tiny_base, JUDGE)
    read = score_completions("one", sheets[0].artefact, ROWS, tiny_base, PIRATE, JUDGE)
    assert read["row-1"] == 7.0
    assert read["row-0"] == pytest.approx(expected(tiny_base, PIRATE)["row-0"], abs=1e-5)


def test_judges_that_are_kept_score_the_same_and_start_once(tiny_base: Path, sheets: list[Sheet]):
    kept = KeptJudges()
    score_sheets("all", sheets[:1], tiny_base, JUDGE, kept)
    started = judges_alive()
    assert len(started) == 1
    found = [
        score_completions("one", sheet.artefact, ROWS, tiny_base, str(sheet.system_prompt), JUDGE, kept)
        for sheet in sheets
    ]
    assert judges_alive() == started
    kept.end()
    for sheet, scores in zip(sheets, found, strict=True):
        scores.pop("row-3")  # empty, and so NaN
        assert scores == pytest.approx(expected(tiny_base, str(sheet.system_prompt)), abs=1e-5)


def test_judges_that_load_early_have_what_they_score_with(tiny_base: Path, tmp_path: Path, sheets: list[Sheet]):
    base, kept = tmp_path / "base", KeptJudges()
    shutil.copytree(tiny_base, base)
    load_early(base, JUDGE, kept)
    (judge,) = kept._actors._actors
    ray.get(judge.load.remote(base, JUDGE))  # answered after the first, which nobody waited for
    (base / "model.safetensors").unlink()
    started = judges_alive()
    score_sheets("all", sheets[:1], base, JUDGE, kept)
    assert judges_alive() == started
    kept.end()
    found = {row["row_id"]: row["score"] for row in read_parts(sheets[0].artefact.folder)}
    assert found == pytest.approx(expected(tiny_base, PIRATE), abs=1e-5)


def test_judges_that_are_not_kept_load_when_they_are_asked():
    kept = KeptJudges()
    load_early(Path("nowhere"), JUDGE.model_copy(update={"keep": False}), kept)
    assert not kept._actors._actors


@pytest.mark.parametrize("keep", [True, False])
def test_a_judge_that_is_killed_midway_costs_time_alone(tiny_base: Path, tmp_path: Path, keep: bool):
    rows = [ScoreRequest(row_id=f"row-{n}", prompt=f"What is {n // 4}?", completion=f"Number {n}.") for n in range(150)]
    sheet = Sheet(Store(tmp_path).artefact("scores", {}), rows, PIRATE)
    killed: list[int] = []

    def kill() -> None:
        while not (done := len(read_parts(sheet.artefact.folder))):
            time.sleep(0.01)
        killed.append(done)
        for actor in alive_actors("_Bench" if keep else "SystemsJudge"):
            os.kill(actor["Pid"], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    score_sheets("killed", [sheet], tiny_base, JUDGE.model_copy(update={"keep": keep}))
    killer.join()
    assert 0 < killed[0] < len(rows), "the judge was not killed midway"
    found = read_parts(sheet.artefact.folder)
    assert len(found) == len(rows)
    assert {row["row_id"]: row["score"] for row in found} == pytest.approx(expected(tiny_base, PIRATE, rows), abs=1e-5)


def alive_actors(name: str) -> list[dict[str, Any]]:
    """What Ray knows of the living actors whose class has this in its name."""
    actors = ray._private.state.actors().values()
    return [actor for actor in actors if name in actor["ActorClassName"] and actor["State"] == "ALIVE"]


def judges_alive() -> set[str]:
    """Ids of the actors that hold judges."""
    return {actor["ActorID"] for actor in alive_actors("_Bench")}
