"""The resume benchmark notices a lost and a repeated row, and looks at completions only."""

from benchmarks.bench_resume import compare, completion_folders, count_rows
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
