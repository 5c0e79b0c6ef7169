"""Failed rows are counted by reason, and too many end the run."""

import pytest

from character_ray.errors import GenerationError
from character_ray.inference.failures import count_failures

ERRORS = ["", "", "prompt too long\nTraceback", "", "prompt too long\nother lines", "engine died", "", "", "", ""]


def test_rows_are_counted_under_the_first_line_of_their_error():
    assert count_failures("teacher", iter(ERRORS), 0.3) == {"prompt too long": 2, "engine died": 1}
    assert count_failures("teacher", [], 0.0) == {}


def test_more_than_the_allowed_share_ends_the_run_with_the_reasons():
    with pytest.raises(GenerationError, match=r"teacher: 3 of 10 rows failed .*prompt too long.*max_failed_share=0.29"):
        count_failures("teacher", ERRORS, 0.29)
