"""Rows longer than a training reads."""

import pytest

from character_ray.errors import TrainingError
from character_ray.training.examples import IGNORED
from character_ray.training.fitting import Lengths, check_any, fitting, lengths_of


def text(prompt: int, answer: int) -> dict[str, list[int]]:
    labels = [IGNORED] * prompt + [7] * answer
    return {"input_ids": [7] * len(labels), "labels": labels}


def test_a_row_is_left_out_when_one_of_its_texts_has_nothing_to_learn_and_counted_when_it_is_cut(tmp_path):
    rows = [[text(3, 2), text(3, 1)], [text(3, 2), text(6, 2)], [text(3, 9), text(3, 1)]]
    kept, lengths = fitting(rows, 5)
    assert (kept, lengths) == ([0, 2], Lengths(cut=1, left_out=1))
    lengths.write(tmp_path)
    assert lengths_of(tmp_path) == lengths


def test_without_any_row_to_learn_the_setting_is_named():
    kept, lengths = fitting([[text(6, 2)]], 5)
    with pytest.raises(TrainingError, match=r"none of 1 rows has a trained token within sft\.max_length=5"):
        check_any(kept, lengths, 5, "sft")
