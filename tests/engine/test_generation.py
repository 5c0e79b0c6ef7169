"""A generation that is killed outright loses no finished row, asks none twice, and ends as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from character_ray.inference.passes import Generation
from character_ray.parts import read_parts
from tests.engine.generation import POISONOUS, part, stage, talk

ROOT = Path(__file__).parents[2]


def start(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "tests" / "engine" / "generation.py"), str(folder), *options]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {
        "PYTHONPATH": str(ROOT),
        "TEST_FOLDER": str(folder),
    }
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)


def finish(folder: Path, *options: str) -> None:
    """Runs it to its end."""
    ended = start(folder, *options).wait(timeout=600)
    assert ended == 0, (folder / "log.txt").read_text(errors="replace")[-4000:]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(folder)
    return folder


@pytest.fixture(scope="module")
def killed_and_resumed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    kept = kill_and_resume(folder, stage(folder))
    return folder, kept


@pytest.fixture(scope="module")
def talked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("talked")
    finish(folder, "talk")
    return folder


def kill_and_resume(folder, generation, *options):
    """Kills the generation when it has written a few rows and runs it again; the files that were there at the kill."""
    process = start(folder, *options)
    deadline = time.monotonic() + 300
    while len(read_parts(generation.artefact.folder)) < 6:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until_no_engine_is_left(folder)
    kept = {path.name: path.read_bytes() for path in generation.artefact.folder.glob("part-*.parquet")}
    assert 6 <= len(read_parts(generation.artefact.folder)) < 30
    finish(folder, *options)
    return kept


def wait_until_no_engine_is_left(folder: Path) -> None:
    """A killed driver's engines end too: the run that continues needs their memory."""
    deadline = time.monotonic() + 120
    while left := [process for process in psutil.process_iter() if folder_of(process) == str(folder)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def folder_of(process: psutil.Process) -> str:
    try:
        return process.environ().get("TEST_FOLDER", "")
    except (psutil.Error, OSError):
        return ""


def test_after_a_kill_no_row_is_missing_repeated_or_different(undisturbed, killed_and_resumed):
    folder, kept = killed_and_resumed
    resumed = stage(folder)
    for name, content in kept.items():
        assert (resumed.artefact.folder / name).read_bytes() == content
    rows = [row for row in read_parts(resumed.artefact.folder) if not row["error"]]
    assert len(rows) == len({row["row_id"] for row in rows}) == 29
    assert resumed.completions() == stage(undisturbed).completions()


def test_a_poisonous_row_costs_itself_alone_and_says_why(undisturbed):
    generation = stage(undisturbed)
    failed = [row for row in generation.completions() if row["error"]]
    assert [row["prompt_id"] for row in failed] == [str(POISONOUS)]
    assert "256" in failed[0]["error"]
    assert sum(generation.artefact.summary["dropped"].values()) == 1


def test_rows_that_two_stages_want_are_asked_once_and_written_to_both(undisturbed, killed_and_resumed):
    wanted = stage(undisturbed).completions()[10:20]
    for folder in (undisturbed, killed_and_resumed[0]):
        assert part(folder).completions() == wanted
        assert len(read_parts(part(folder).artefact.folder)) == 10


def test_a_node_lost_midway_costs_time_alone(undisturbed, tmp_path):
    finish(tmp_path, "lose-a-node")
    assert (tmp_path / "node-lost").is_file(), "the generation ended before a node was lost"
    generation = stage(tmp_path)
    assert generation.completions() == stage(undisturbed).completions()
    rows = [row["row_id"] for row in read_parts(generation.artefact.folder) if not row["error"]]
    assert len(rows) == len(set(rows)) == 29


def test_conversations_and_requests_share_an_engine(undisturbed, talked):
    talks = talk(talked).talks()
    assert not [each["error"] for each in talks if each["error"]]
    roles = [[turn["role"] for turn in each["messages"]] for each in talks if not each["drop_reason"]]
    assert roles == [["user", "assistant", "user", "assistant"]] * 7
    dropped = {each["row_id"]: each["drop_reason"] for each in talks if each["drop_reason"]}
    assert dropped == {f"talk-{POISONOUS}": "too_long_for_engine"}
    # The requests are answered as they are without conversations beside them.
    answers, alone = ([row["completion"] for row in stage(folder).completions()] for folder in (talked, undisturbed))
    assert answers == alone


def answered(generation: Generation) -> list[dict]:
    """The completions. What a failed one says depends on who asked: once all conversations have ended, Ray Data does, with text."""
    return [row | {"error": bool(row["error"])} for row in generation.completions()]


def test_a_kill_among_conversations_loses_and_repeats_none(talked, tmp_path):
    kept = kill_and_resume(tmp_path, stage(tmp_path), "talk")
    assert all((stage(tmp_path).artefact.folder / name).read_bytes() == content for name, content in kept.items())
    assert answered(stage(tmp_path)) == answered(stage(talked))
    assert talk(tmp_path).talks() == talk(talked).talks()
    held = [row["row_id"] for row in read_parts(talk(tmp_path).artefact.folder) if not row["error"]]
    assert len(held) == len(set(held)) == 8


def test_a_node_lost_among_conversations_loses_and_repeats_none(talked, tmp_path):
    finish(tmp_path, "lose-a-node", "talk")
    assert (tmp_path / "node-lost").is_file(), "the generation ended before a node was lost"
    assert answered(stage(tmp_path)) == answered(stage(talked))
    assert talk(tmp_path).talks() == talk(talked).talks()
    held = [row["row_id"] for row in read_parts(talk(tmp_path).artefact.folder) if not row["error"]]
    assert len(held) == len(set(held)) == 8


def test_a_kept_engine_answers_as_one_started_for_the_weights_and_is_replaced_when_it_dies(undisturbed, tmp_path):
    finish(tmp_path, "keep")
    first, again = (stage(tmp_path, name).completions() for name in ("fruit", "fruit-again"))
    # The second while the engine's process was killed: it was started anew on these weights, and asked again what it was lost with.
    assert (tmp_path / "engine-lost").is_file(), "the generation ended before its engine was lost"
    other, anew = (stage(tmp_path, name).completions() for name in ("other-fruit", "other-fruit-anew"))
    said = [row["completion"] for row in first]
    assert said == [row["completion"] for row in stage(undisturbed).completions()]
    assert said == [row["completion"] for row in again]
    assert [row["completion"] for row in other] == [row["completion"] for row in anew] != said


def test_a_kept_engine_lost_with_its_node_costs_time_alone(undisturbed, tmp_path):
    finish(tmp_path, "lose-a-node", "keep")
    assert (tmp_path / "node-lost").is_file(), "the generation ended before a node was lost"
    answers = [[row["completion"] for row in stage(folder).completions()] for folder in (tmp_path, undisturbed)]
    assert answers[0] == answers[1]
    rows = [row["row_id"] for row in read_parts(stage(tmp_path).artefact.folder) if not row["error"]]
    assert len(rows) == len(set(rows)) == 29
