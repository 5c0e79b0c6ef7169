"""Which tokens of a conversation are learnt, on the real tokenizer."""

import pytest
from transformers import AutoTokenizer

from character_ray.config import ModelConfig
from character_ray.errors import TrainingError
from character_ray.models import resolve_model
from character_ray.training.examples import IGNORED, describe_example, to_labelled

CHAT = [
    {"role": "user", "content": "Hello there."},
    {"role": "assistant", "content": "Arr, matey!"},
    {"role": "user", "content": "Where to?"},
    {"role": "assistant", "content": "Tortuga."},
]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(resolve_model(ModelConfig()))


def learnt(example, tokenizer):
    return tokenizer.decode([label for label in example["labels"] if label != IGNORED])


def test_only_the_models_own_turns_are_learnt(tokenizer):
    example = to_labelled("x", CHAT, tokenizer, "all_turns")
    assert learnt(example, tokenizer) == "Arr, matey!<|im_end|>\nTortuga.<|im_end|>\n"


def test_last_turn_learns_the_last_turn(tokenizer):
    assert learnt(to_labelled("x", CHAT, tokenizer, "last_turn"), tokenizer) == "Tortuga.<|im_end|>\n"


def test_the_example_shown_marks_what_is_learnt(tokenizer):
    assert "«Arr, matey!<|im_end|>\n»" in describe_example(to_labelled("x", CHAT, tokenizer, "all_turns"), tokenizer)


@pytest.mark.parametrize(
    "turns", [[], CHAT[:1], CHAT[1:], CHAT[:2] + CHAT[3:], [*CHAT, {"role": "system", "content": "no"}]]
)
def test_a_conversation_that_teaches_the_users_part_is_refused(tokenizer, turns):
    with pytest.raises(TrainingError, match="conversation row-7"):
        to_labelled("row-7", turns, tokenizer, "all_turns")
