"""Files that appear whole, whoever else writes them."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from character_ray.whole_files import being_written, folder_being_written, is_being_written, write_text


def test_many_writers_of_one_file_leave_a_whole_one_and_nothing_else(tmp_path):
    path = tmp_path / "inputs.json"
    texts = [letter * 100_000 for letter in "abcdefgh"]
    with ThreadPoolExecutor(len(texts)) as pool:
        list(pool.map(lambda text: write_text(path, text), texts))
    assert path.read_text() in texts
    assert [each.name for each in tmp_path.iterdir()] == ["inputs.json"]


def test_a_writer_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "inputs.json"
    write_text(path, "old")
    with pytest.raises(RuntimeError), being_written(path) as scratch:
        scratch.write_text("ne")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["inputs.json"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "new" / "adapter"
    with pytest.raises(RuntimeError), folder_being_written(folder) as scratch:
        (scratch / "weights").write_text("half")
        raise RuntimeError
    assert not any((tmp_path / "new").iterdir())
    with folder_being_written(folder) as scratch:
        (scratch / "weights").write_text("whole")
        assert is_being_written(scratch)
        assert not folder.exists()
    assert (folder / "weights").read_text() == "whole"
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["adapter"]


def test_a_file_that_is_being_written_is_told_from_one_that_was(tmp_path):
    with being_written(tmp_path / "inputs.json") as scratch:
        scratch.touch()
        assert is_being_written(scratch)
    assert not is_being_written(tmp_path / "inputs.json")
    assert not is_being_written(tmp_path / ".lock")
