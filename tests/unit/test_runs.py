"""Stage results are found again by what made them, and damage is noticed."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from character_ray.errors import ResumeError
from character_ray.runs import Run, Store, describe_changes


def test_the_same_inputs_find_the_same_folder_and_others_do_not(tmp_path):
    store = Store(tmp_path)
    first = store.artefact("dpo", {"rank": 8})
    assert store.artefact("dpo", {"rank": 8}).folder == first.folder
    assert store.artefact("dpo", {"rank": 16}).folder != first.folder


def test_a_stage_is_done_only_when_it_says_so(tmp_path):
    artefact = Store(tmp_path).artefact("pairs", {})
    (artefact.folder / "pairs.parquet").write_bytes(b"rows")
    assert not artefact.is_done
    artefact.finish({"rows_out": 4})
    assert Store(tmp_path).artefact("pairs", {}).summary == {"rows_out": 4}


def test_a_result_damaged_after_the_fact_is_an_error(tmp_path):
    artefact = Store(tmp_path).artefact("pairs", {})
    (artefact.folder / "pairs.parquet").write_bytes(b"rows")
    artefact.finish({})
    (artefact.folder / "pairs.parquet").write_bytes(b"row")
    with pytest.raises(ResumeError, match=r"pairs.parquet is missing or damaged"):
        _ = Store(tmp_path).artefact("pairs", {}).summary


def test_a_run_says_what_changed_since_last_time(tmp_path):
    store = Store(tmp_path / "store")
    run = Run(tmp_path / "demo", {})
    run.link(store.artefact("dpo", {"dpo": {"lora": {"rank": 8}}, "seed": 0}))
    again = Run(tmp_path / "demo", {})
    assert again.changes(store.artefact("dpo", {"dpo": {"lora": {"rank": 16}}, "seed": 0})) == [
        "dpo.lora.rank was 8, is 16"
    ]
    assert again.changes(store.artefact("dpo", {"dpo": {"lora": {"rank": 8}}, "seed": 0})) == []


def test_equal_values_of_other_types_are_no_change():
    assert describe_changes({"turns": (1, 2)}, {"turns": [1, 2]}) == []


def test_a_changed_hash_is_named_without_its_digits():
    assert describe_changes({"rows": "d7a8095185302ffb"}, {"rows": "43637f949f123985"}) == ["rows changed"]
    assert describe_changes({"rank": 8}, {"rank": 16}) == ["rank was 8, is 16"]


@pytest.mark.parametrize("text", ['{"stages": {"dpo": {}}}', '{"stages": []}', "[]"])
def test_a_record_damaged_by_hand_is_refused_in_words(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ResumeError, match=r"run\.json does not say which result belongs to which stage"):
        Run(tmp_path, {})


def test_what_two_runs_want_at_once_is_made_once_and_stays_whole(tmp_path):
    made = []

    def make(number: int) -> dict[str, int]:
        artefact = Store(tmp_path).artefact("pairs", {})
        with artefact.making() as to_make:
            if to_make:
                made.append(number)
                (artefact.folder / "pairs.parquet").write_bytes(b"rows")
                artefact.finish({"rows_out": 4})
        return artefact.summary

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(make, range(8)))
    assert len(made) == 1
    assert found == [{"rows_out": 4}] * 8


def test_a_stage_that_is_finished_twice_is_not_taken_for_damaged(tmp_path):
    artefact = Store(tmp_path).artefact("pairs", {})
    artefact.finish({})
    artefact.finish({"rows_out": 4})
    assert Store(tmp_path).artefact("pairs", {}).summary == {"rows_out": 4}
