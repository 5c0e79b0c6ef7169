"""Which tokens of a conversation are learnt, on the real tokenizer."""

import pytest
from transformers import AutoTokenizer

from character_ray.config import ModelConfig
from character_ray.errors import TrainingError
from character_ray.models import resolve_model
from character_ray.training.examples import IGNORED, LETTERS, LINES, describe_example, in_brief, to_labelled

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


def test_in_brief_the_ends_of_what_is_learnt_are_seen_however_long_it_is(tokenizer):
    said = [
        {"role": "user", "content": "Tell. " * 300},
        {"role": "assistant", "content": "Arr!\n\n" + "Aye. " * 300 + "Done."},
    ]
    sides = [describe_example(to_labelled("x", said, tokenizer, "last_turn"), tokenizer) for _ in range(2)]
    brief = in_brief(f"chosen\n{sides[0]}\nrejected\n{sides[1]}\n")
    assert brief.count("<|im_start|>assistant\n«Arr!") == brief.count("Done.<|im_end|>\n»") == 2
    assert "\nrejected\n" in brief
    assert len(brief) < 10 * LETTERS
    assert in_brief("chosen\n«Aye.»\n") == "chosen\n«Aye.»"


def test_in_brief_a_long_conversation_and_an_unmarked_text_are_cut_to_their_first_and_last_lines():
    many = [f"line {n} " + "word " * 200 for n in range(90)]
    for text in ("\n".join(f"user\n«{line}»" for line in many), "\n".join(["user", *many])):
        lines = in_brief(text).splitlines()
        assert len(lines) == LINES
        assert lines[0] == "user" and "line 89" in lines[-1] and "…" in lines
        assert all(len(line) < 3 * LETTERS for line in lines)
