"""The resume benchmark notices a lost and a repeated row, and looks at completions only."""

import os
import time

import pytest

from benchmarks.bench_resume import (
    compare,
    completion_folders,
    count_rows,
    every_row,
    stage_seconds,
    works_since,
)
from character_ray.parts import append_part
from character_ray.rows import COMPLETION


def row(row_id: str, text: str = "Arr.", error: str = "") -> dict[str, object]:
    return {
        "row_id": row_id,
        "prompt_id": "p",
        "sample": 0,
        "completion": text,
        "num_tokens": 2,
        "finish_reason": "stop",
        "error": error,
    }


def test_lost_repeated_and_changed_rows_are_counted():
    clean = {"teacher-1": [row("a"), row("b"), row("c")]}
    assert compare(clean, clean) == {"lost": 0, "twice": 0, "same_text": 3}
    assert compare(clean, {"teacher-1": [row("a"), row("a"), row("b", "Aye.")]}) == {
        "lost": 1,
        "twice": 1,
        "same_text": 1,
    }
    # A failed row that was asked again is neither lost nor twice.
    assert compare(clean, {"teacher-1": [row("a", error="x"), *clean["teacher-1"]]})["twice"] == 0
    assert compare(clean, {})["lost"] == 3


def test_scores_are_no_completions(tmp_path):
    for name in ("teacher-1", "student-2", "scores-pairs-3"):
        (tmp_path / "store" / name).mkdir(parents=True)
        append_part(tmp_path / "store" / name, [row(name)], COMPLETION)
    assert sorted(path.name for path in completion_folders(tmp_path)) == ["student-2", "teacher-1"]
    assert count_rows(tmp_path) == 2


def test_a_stage_is_at_work_from_its_lock_until_it_is_done(tmp_path):
    for name in ("dpo-1", "dpo-folded-2"):
        (tmp_path / "store" / name).mkdir(parents=True)
    assert works_since(tmp_path, "dpo") == 0
    lock = tmp_path / "store" / "dpo-1" / ".lock"
    lock.touch()
    os.utime(lock, (time.time() - 60, time.time() - 60))
    (tmp_path / "store" / "dpo-folded-2" / ".lock").touch()
    assert works_since(tmp_path, "dpo") >= 60
    (lock.parent / "done.json").write_text('{"summary": {"wall_s": 80.5}}')
    assert works_since(tmp_path, "dpo") == 0
    assert stage_seconds(tmp_path, "dpo") == 80.5
    with pytest.raises(SystemExit, match="has no stage 'teacher'"):
        stage_seconds(tmp_path, "teacher")


def test_rows_of_every_stage_are_compared_by_all_they_say(tmp_path):
    for run, text in (("clean", "Arr."), ("same", "Arr."), ("other", "Aye.")):
        (tmp_path / run / "store" / "teacher-1").mkdir(parents=True)
        append_part(tmp_path / run / "store" / "teacher-1", [row("a"), row("b", text)], COMPLETION)
    clean, same, other = (every_row(tmp_path / run) for run in ("clean", "same", "other"))
    assert compare(clean, same) == {"lost": 0, "twice": 0, "same_text": 2}
    assert compare(clean, other)["same_text"] == 1
