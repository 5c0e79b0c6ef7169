"""Filters: what may be trained on, and what only looks as if it may not."""

import random

import pytest

from character_ray.config import FilterConfig
from character_ray.spoken import trim_unfinished
from character_ray.stages.filters import LOOPING, drop_reason, pair_drop_reason, repetition
from character_ray.words import count_words

FILTERS = FilterConfig()
UNFINISHED = FilterConfig(allow_unfinished=True)

PIRATE = "Arr, matey, a budget be like a hold: stow what ye need and throw the rest to the fishes."
PLAIN = "A budget is a plan for your money. Start by writing down what you earn and what you spend."


def shares(text: str, size: int) -> float:
    words = text.split()
    grams = [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


@pytest.mark.parametrize("text", ["", "Arr", "Arr arr", "row row row"])
def test_a_text_too_short_to_repeat_anything_has_no_repetition(text):
    assert repetition(text) == 0.0


def test_a_text_without_a_repeated_trigram_has_no_repetition():
    assert repetition(PIRATE) == 0.0


def test_repetition_of_a_known_loop():
    # Ten trigrams in four different forms: (a b c), (b c d), (c d a), (d a b).
    assert repetition("a b c d a b c d a b c d") == pytest.approx(1 - 4 / 10)


def test_repetition_ignores_case_and_punctuation():
    assert repetition("Hold the line! Hold, the line; hold THE line.") == repetition(
        "hold the line hold the line hold the line"
    )


def test_repetition_is_the_larger_share_of_trigrams_and_fourgrams_of_any_text():
    draw = random.Random(0)
    for _ in range(300):
        text = " ".join(draw.choices("abcd", k=draw.randrange(0, 25)))
        assert repetition(text) == pytest.approx(max(shares(text, 3), shares(text, 4)))


def test_a_text_that_says_everything_twice_counts_as_looping():
    assert repetition(f"{PLAIN} {PLAIN}") > LOOPING > repetition(PLAIN)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("Arr, ye scallywag.", "too_short"),
        ("Arr, ye salty scallywag.", ""),
        ("The tide is in, the tide is in, the tide is in, the tide is in.", "repetition"),
        (PIRATE, ""),
    ],
)
def test_form_decides_first(text, reason):
    assert drop_reason(text, "stop", FILTERS) == reason


def test_a_text_cut_off_is_unfinished_unless_the_recipe_allows_it():
    assert drop_reason(PIRATE, "length", FILTERS) == "unfinished"
    assert drop_reason(PIRATE, "length", UNFINISHED) == ""


def test_thresholds_come_from_the_recipe():
    looping = "the tide is in and the tide is out and the tide is in"
    assert drop_reason(looping, "stop", FILTERS) == "repetition"
    assert drop_reason(looping, "stop", FilterConfig(max_repetition=0.9)) == ""
    assert drop_reason("Arr, matey.", "stop", FilterConfig(min_words=2)) == ""
    assert drop_reason("Arr, so be it, matey.", "stop", FilterConfig(max_words=4)) == "too_long"
    assert drop_reason("Arr, so be it, matey.", "stop", FilterConfig(max_words=5)) == ""


CHINESE, JAPANESE, THAI = "我是这艘船的船长。", "私は船長です。", "ฉันเป็นกัปตันเรือ"


@pytest.mark.parametrize("text", [CHINESE, JAPANESE, THAI])
def test_a_full_sentence_is_not_too_short_in_a_script_without_spaces(text):
    assert drop_reason(text, "stop", FILTERS) == ""
    assert drop_reason(text * 4, "stop", FilterConfig(max_words=8, max_repetition=1)) == "too_long"


@pytest.mark.parametrize("text", ["好的。", "はい。", "ครับ"])
def test_a_word_alone_is_too_short_in_every_script(text):
    assert drop_reason(text, "stop", FILTERS) == "too_short"


def test_words_between_spaces_count_as_they_always_did():
    assert [count_words(text) for text in (PIRATE, PLAIN, "", " a  b\n- c")] == [
        len(text.split()) for text in (PIRATE, PLAIN, "", " a  b\n- c")
    ]


def test_a_sentence_without_spaces_is_long_enough_to_know_its_language_and_where_it_ends():
    told = f"{CHINESE}今晚的潮水很高。"
    assert drop_reason(told, "stop", FilterConfig(languages=("en",))) == "language"
    assert drop_reason(told, "stop", FilterConfig(languages=("zh",))) == ""
    assert (
        trim_unfinished(f"{CHINESE}「你是谁\uff1f」他问我。然后我们", min_words=4)
        == f"{CHINESE}「你是谁\uff1f」他问我。"
    )


@pytest.mark.parametrize(
    "token",
    [
        "<|im_end|>",
        "<|im_start|>",
        "<|endoftext|>",
        "<|eot_id|>",
        "</s>",
        "[INST]",
        "[/INST]",
        "<<SYS>>",
        "<end_of_turn>",
        "</think>",
    ],
)
def test_a_control_token_of_any_template_is_caught(token):
    assert drop_reason(f"Arr, matey, hoist the sails. {token} More words follow.", "stop", FILTERS) == "control_token"


def test_a_second_turn_written_by_the_model_is_caught_by_its_bare_role():
    assert drop_reason("Arr, matey, hoist the sails.\nuser\nAnd then?", "stop", FILTERS) == "control_token"


@pytest.mark.parametrize(
    "text", ["If a <b and b> c then a < c, me hearty.", "The user and the assistant sailed on together."]
)
def test_brackets_and_the_names_of_roles_in_a_sentence_are_no_control_tokens(text):
    assert drop_reason(text, "stop", FILTERS) == ""


def pair(
    chosen: str = PIRATE, rejected: str = PLAIN, *, finish: tuple[str, str] = ("stop", "stop"), contrast: float = 0.4
) -> str:
    return pair_drop_reason(chosen, rejected, *finish, contrast, FILTERS)


def test_a_good_pair_is_kept():
    assert pair() == ""


def test_the_chosen_side_is_held_to_every_filter():
    assert pair(chosen="I am an AI designed to assist you.") == "identity_leak"


@pytest.mark.parametrize(
    "rejected",
    ["As an AI language model, I cannot say.", "Sure.", "a b c a b c a b c a b c", "I must not break character here."],
)
def test_the_rejected_side_may_say_it_is_an_ai_be_short_or_loop(rejected):
    assert pair(rejected=rejected) == ""


@pytest.mark.parametrize(
    ("rejected", "finish", "reason"),
    [
        ("", "stop", "empty_rejected"),
        (PLAIN, "length", "unfinished_rejected"),
        (f"{PLAIN}<|im_end|>", "stop", "control_token_rejected"),
    ],
)
def test_a_broken_rejected_side_is_named_as_such(rejected, finish, reason):
    assert pair(rejected=rejected, finish=("stop", finish)) == reason


def test_texts_that_differ_in_white_space_only_are_identical():
    assert pair(rejected=PIRATE.replace(" ", "\n", 3)) == "identical"


def test_contrast_below_the_minimum_is_low_and_the_minimum_itself_is_enough():
    assert pair(contrast=-0.01) == "low_contrast"
    assert pair(contrast=FILTERS.min_contrast) == ""


def test_a_pair_whose_score_is_missing_is_unscored_and_not_called_weak():
    assert pair(contrast=float("nan")) == "unscored"


@pytest.mark.parametrize(
    ("text", "trimmed"),
    [
        ("Arr, matey. The tide be high. We sail at", "Arr, matey. The tide be high."),
        ('"Hoist the sails!" cried I. "And then we', '"Hoist the sails!" cried I.'),
        ('He said "sail on, sail on." Then he', 'He said "sail on, sail on."'),
        ("**Mind the tide, matey.** Then **we", "**Mind the tide, matey.**"),
        ("Ask the ship's doctor. Then see Dr. Smith and Mr. Gr", "Ask the ship's doctor."),
        ("Pay 3.50 at the harbour now. It costs 4.", "Pay 3.50 at the harbour now. It costs 4."),
        (
            "Do this:\n1. Pack the food bag.\n2. Fill the bottles.\n3. Bring",
            "Do this:\n1. Pack the food bag.\n2. Fill the bottles.",
        ),
        (
            "Do this:\n1. Pack the food bag.\n2. Fill the bottles.\n3.",
            "Do this:\n1. Pack the food bag.\n2. Fill the bottles.",
        ),
        ("Bring these with you:\n- a map\n- a long rope\n- a lan", "Bring these with you:\n- a map\n- a long rope"),
        ("Bring these along now.\n- Tools:\n  saws, ham", "Bring these along now."),
    ],
)
def test_an_unfinished_text_ends_with_its_last_full_sentence_or_list_item(text, trimmed):
    assert trim_unfinished(text, min_words=4) == trimmed


@pytest.mark.parametrize("text", ["Arr! The tide be high and we sail at", "no sentence ends in this text at all", ""])
def test_a_text_that_would_become_too_short_stays_as_it_is(text):
    assert trim_unfinished(text, min_words=4) == text


def test_a_finished_text_is_not_cut():
    assert trim_unfinished(PIRATE, min_words=4) == PIRATE


GERMAN = "Ein Haushaltsplan ist wie ein Laderaum: Man verstaut, was man braucht, und wirft den Rest den Fischen zu."


def test_a_text_in_another_language_is_dropped_where_the_recipe_names_languages():
    english = FilterConfig(languages=("en",))
    assert drop_reason(GERMAN, "stop", FILTERS) == ""
    assert drop_reason(GERMAN, "stop", english) == "language"
    assert drop_reason(GERMAN, "stop", FilterConfig(languages=("en", "de"))) == ""
    assert drop_reason(PIRATE, "stop", english) == ""


def test_dialect_and_cries_are_no_foreign_language():
    assert (
        drop_reason("Arr, avast, ye landlubber! Yo ho ho, hoist th' mizzen!", "stop", FilterConfig(languages=("en",)))
        == ""
    )
