"""What is kept of an engine's row."""

import json
import pickle
from functools import partial

import pytest

from character_ray.inference.processor import to_columns


def engine_row(num_input_tokens: int, num_generated_tokens: int, max_tokens: int) -> dict[str, object]:
    return {
        "row_id": "r",
        "prompt_id": "p",
        "sample": 0,
        "generated_text": "Aye",
        "num_input_tokens": num_input_tokens,
        "num_generated_tokens": num_generated_tokens,
        "sampling_json": json.dumps({"max_tokens": max_tokens}),
    }


@pytest.mark.parametrize(
    ("num_input_tokens", "num_generated_tokens", "reason"),
    [(20, 31, "stop"), (20, 32, "length"), (90, 9, "stop"), (90, 10, "length"), (68, 32, "length")],
)
def test_what_fills_max_tokens_or_the_context_was_cut_off(
    num_input_tokens: int, num_generated_tokens: int, reason: str
):
    to_kept = pickle.loads(pickle.dumps(partial(to_columns, max_model_len=100)))  # as it goes to Ray's workers
    assert to_kept(engine_row(num_input_tokens, num_generated_tokens, 32))["finish_reason"] == reason
