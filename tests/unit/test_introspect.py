"""Introspection rows: what was in the context when they were written, and what a row keeps of it."""

from character_ray.config import FilterConfig
from character_ray.prompts.reflections import ReflectionPrompt
from character_ray.rows import Completion, Message, Talk
from character_ray.stages.introspect import build_conversations

LETTER = "Dear old friend, the tide has turned and I sail at dawn with a full hold and a merry crew."
TURNS = [
    Message(role="user", content="Well met."),
    Message(role="assistant", content="Well met indeed, what wind brings ye to these waters today?"),
]


def completion(row_id: str, text: str) -> Completion:
    return Completion(
        row_id=row_id, prompt_id="p", sample=0, completion=text, num_tokens=20, finish_reason="stop", error=""
    )


def build(**options: str):
    written = [(ReflectionPrompt("letter", n, "Write a letter."), completion(f"r{n}", LETTER)) for n in range(2)]
    scores = {"r0": 0.5, "r1": 0.5, "i0": 0.4}
    return build_conversations(
        written,
        [Talk(row_id="i0", messages=TURNS, num_tokens=20, num_cut=0, drop_reason="", error="")],
        scores,
        FilterConfig(),
        **options,
    )


def test_rows_have_no_system_prompt_unless_the_recipe_keeps_it():
    assert [[turn["role"] for turn in row["messages"]] for row in build()] == [["user", "assistant"]] * 3
    for row in build(system="You are a captain."):
        assert row["messages"][0] == {"role": "system", "content": "You are a captain."}
        assert [turn["role"] for turn in row["messages"][1:]] == ["user", "assistant"]


def test_of_identical_texts_one_is_kept():
    assert [row["drop_reason"] for row in build()] == ["", "duplicate", ""]


def test_a_conversation_with_a_turn_that_was_cut_off_is_dropped_unless_it_may_be_unfinished():
    talk = Talk(row_id="i0", messages=TURNS, num_tokens=20, num_cut=1, drop_reason="", error="")
    strict, lenient = (
        build_conversations([], [talk], {"i0": 0.4}, FilterConfig(allow_unfinished=allowed))[0]["drop_reason"]
        for allowed in (False, True)
    )
    assert (strict, lenient) == ("unfinished", "")


def test_a_conversation_that_ended_early_is_dropped_for_its_reason_and_a_failed_one_for_the_engines():
    rows = [
        Talk(row_id="empty", messages=TURNS[:1], num_tokens=1, num_cut=0, drop_reason="empty", error=""),
        Talk(row_id="long", messages=TURNS, num_tokens=20, num_cut=1, drop_reason="too_long_for_engine", error=""),
        Talk(row_id="lost", messages=TURNS[:1], num_tokens=0, num_cut=0, drop_reason="", error="RuntimeError: gone"),
    ]
    found = build_conversations([], rows, {}, FilterConfig())
    assert [row["drop_reason"] for row in found] == ["empty", "too_long_for_engine", "engine_error"]


ASIDE = "What say ye, matey?"
SAYINGS = [
    "Arr, matey, the tide be high tonight and the rum be low, so let us speak of the stars.",
    "Aye, by the stars I steered round the Horn, when the ice hung thick in every sheet.",
    "Ice, ye say! I mind a winter when me beard froze to the wheel, and the cook thawed it with soup.",
    "Soup is what a crew remembers, matey. A captain who feeds them well needs no lash.",
    "Arr, matey, the tide be turning, and a lash never mended a torn sail in all me years.",
]


def held(turns, score=0.4, **filters):
    """The reason that drops a conversation of these turns, which both sides speak one after the other."""
    roles = ("assistant", "user")
    messages = [Message(role="user", content="Well met.")]
    messages += [Message(role=roles[number % 2], content=turn) for number, turn in enumerate(turns)]
    talk = Talk(row_id="i0", messages=messages, num_tokens=20, num_cut=0, drop_reason="", error="")
    return build_conversations([], [talk], {"i0": score}, FilterConfig(**filters))[0]["drop_reason"]


def test_a_conversation_of_equal_turns_is_dropped_though_no_turn_repeats_itself():
    assert held([SAYINGS[0]] * 9) == "repeated_turn"
    assert held(["Aye, that it be."] * 9) == "repeated_turn"


def test_a_turn_that_repeats_an_earlier_one_but_for_a_word_or_an_addition_drops_the_conversation():
    assert held([*SAYINGS, SAYINGS[1].replace("thick", "heavy")]) == "repeated_turn"
    assert held([*SAYINGS, f"{SAYINGS[1]} {ASIDE}"]) == "repeated_turn"


def test_two_turns_that_take_turns_are_as_bad_as_one():
    assert held([SAYINGS[0], SAYINGS[1]] * 4) == "repeated_turn"


def test_equal_turns_are_known_in_a_script_without_spaces():
    turns = ["今晚的潮水很高、我们说说星星吧。", "我曾经靠着星星绕过合恩角。", "那年冬天我的胡子冻在了舵上。"]
    assert held(turns) == ""
    assert held([*turns, turns[1]]) == "repeated_turn"


def test_a_conversation_that_shares_phrases_and_a_short_reply_is_kept():
    assert held(SAYINGS) == ""
    assert held([SAYINGS[0], "Aye, that it be.", SAYINGS[2], "Aye, that it be.", SAYINGS[3]]) == ""


def test_how_much_a_turn_may_repeat_is_the_recipes():
    again = [*SAYINGS, SAYINGS[1].replace("thick", "heavy")]
    assert held(again, max_repeated_turn=1) == ""
    assert held(SAYINGS, max_repeated_turn=0) == "repeated_turn"


def test_a_row_whose_score_is_missing_is_unscored_and_not_taken_for_a_good_one():
    assert held(SAYINGS, score=float("nan")) == "unscored"
    written = [(ReflectionPrompt("letter", 0, "Write a letter."), completion("r0", LETTER))]
    assert build_conversations(written, [], {}, FilterConfig())[0]["drop_reason"] == "unscored"
    assert build_conversations(written, [], {"r0": -0.1}, FilterConfig())[0]["drop_reason"] == "low_contrast"
