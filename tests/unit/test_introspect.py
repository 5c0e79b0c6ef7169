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
        [Talk(row_id="i0", messages=TURNS, num_tokens=20, num_cut=0, error="")],
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
    talk = Talk(row_id="i0", messages=TURNS, num_tokens=20, num_cut=1, error="")
    strict, lenient = (
        build_conversations([], [talk], {"i0": 0.4}, FilterConfig(allow_unfinished=allowed))[0]["drop_reason"]
        for allowed in (False, True)
    )
    assert (strict, lenient) == ("unfinished", "")
