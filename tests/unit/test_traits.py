"""Prompts written from a constitution: what is asked, and which lines may be asked as if a user had written them."""

from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from character_ray.config import PromptsConfig, Recipe, load_recipe
from character_ray.constitution import load_constitution
from character_ray.pipeline import prompts as pipeline_prompts
from character_ray.pipeline.context import Context
from character_ray.pipeline.prompts import make_prompts
from character_ray.stages.traits import (
    ASKED_PER_WANTED,
    TraitPrompt,
    as_prompts,
    choose_traits,
    count_prompts,
    trait_requests,
    unprompted,
)

ROOT = Path(__file__).resolve().parents[2]
TWO = PromptsConfig(traits=2)
CAPTAIN = load_constitution(ROOT / "constitutions" / "captain-blackwood.yaml")


def written(text_of):
    return [
        {
            "row_id": request["row_id"],
            "prompt_id": request["prompt_id"],
            "sample": request["sample"],
            "completion": text_of(number),
            "num_tokens": 9,
            "finish_reason": "stop",
            "error": "",
        }
        for number, request in enumerate(trait_requests(CAPTAIN, TWO, seed=0))
    ]


def test_every_directive_is_asked_for_with_the_examples_as_demonstrations():
    requests = trait_requests(CAPTAIN, TWO, seed=0)
    assert len(requests) == ASKED_PER_WANTED * 2 * len(CAPTAIN.directives.all)
    assert len({request["row_id"] for request in requests}) == len(requests)
    shown = [turn["content"] for turn in requests[0]["messages"] if turn["role"] == "assistant"]
    assert shown == [example.prompt for example in CAPTAIN.examples]
    assert not any(CAPTAIN.meta.name in turn["content"] for turn in requests[0]["messages"])


def test_the_wanted_number_per_directive_is_kept_in_order():
    rows = choose_traits(CAPTAIN, written(lambda n: f"How do I mend torn sail number {n}?"), 2)
    kept = [row for row in rows if not row["drop_reason"]]
    assert Counter(row["directive"] for row in kept) == dict.fromkeys(CAPTAIN.directives.all, 2)
    assert Counter(row["drop_reason"] for row in rows)["surplus"] == len(rows) - len(kept)
    prompts = as_prompts(rows)
    assert [prompt["prompt"] for prompt in prompts] == [row["prompt"] for row in kept]
    assert {prompt["source"] for prompt in prompts} == {"trait"}


@pytest.mark.parametrize(
    ("line", "prompt", "reason"),
    [
        ('User: "How do I keep a promise at sea?"\nAnd more.', "How do I keep a promise at sea?", ""),
        ("1. What should I do when the wind turns?", "What should I do when the wind turns?", ""),
        ("Tell me.", "Tell me.", "too_short"),
        ("How do I keep a promise when the", "How do I keep a promise when the", "unfinished"),
        ("How does Captain Blackwood keep a promise?", "How does Captain Blackwood keep a promise?", "names_the_task"),
        ("Which trait do you like the most?", "Which trait do you like the most?", "names_the_task"),
        (
            "Are you superstitious about the sea, old friend?",
            "Are you superstitious about the sea, old friend?",
            "repeats_the_directive",
        ),
        ("What is 15 percent of 200?", "What is 15 percent of 200?", "duplicate"),
        ("", "", "too_short"),
    ],
)
def test_a_line_no_user_would_write_is_left_out(line: str, prompt: str, reason: str):
    first = choose_traits(CAPTAIN, written(lambda n: line)[:1], 1)[0]
    assert (first["prompt"], first["drop_reason"]) == (prompt, reason)


THOUGHT = "<think>\nThe user wants a message.\n\nShort, then.\n</think>\n\nHow do I keep a promise at sea?"


def test_what_a_reasoning_teacher_thinks_is_not_what_is_asked():
    row = choose_traits(CAPTAIN, written(lambda n: THOUGHT)[:1], 1)[0]
    assert (row["prompt"], row["drop_reason"]) == ("How do I keep a promise at sea?", "")
    row = choose_traits(CAPTAIN, written(lambda n: "<think>\nThe user wants")[:1], 1)[0]
    assert (row["prompt"], row["drop_reason"]) == ("<think> The user wants", "unfinished_thought")


def test_how_long_a_message_and_its_thought_may_be_is_the_recipes():
    config = PromptsConfig(traits=2, trait_max_tokens=1024)
    assert {request["sampling"]["max_tokens"] for request in trait_requests(CAPTAIN, config, seed=0)} == {1024}
    with pytest.raises(ValueError, match=r"prompts\.trait_max_tokens=4096, but student_engine\.max_model_len=4096"):
        Recipe(name="r", constitution=Path("c.yaml"), prompts=PromptsConfig(traits=2, trait_max_tokens=4096))


def test_a_directive_without_a_prompt_is_told_with_the_reasons_and_counts_as_none():
    first, *others = CAPTAIN.directives.all
    bare = {request["prompt_id"] for request in trait_requests(CAPTAIN, TWO, seed=0)[:1]}
    completions = written(lambda n: f"How do I mend torn sail number {n}?")
    rows = choose_traits(
        CAPTAIN, [row | {"completion": "Aye."} if row["prompt_id"] in bare else row for row in completions], 2
    )
    assert count_prompts(CAPTAIN, rows) == {first: 0, **dict.fromkeys(others, 2)}
    told = unprompted(CAPTAIN, rows, TWO)
    assert told.startswith(f"1 of {1 + len(others)} directives have no prompt of their own")
    assert f"{first!r} (6 too_short)" in told
    assert "A larger teacher" in told


def test_thoughts_that_never_end_are_told_with_the_setting_that_gives_them_room():
    told = unprompted(CAPTAIN, choose_traits(CAPTAIN, written(lambda n: "<think> Hm, a sea"), 2), TWO)
    assert "(6 unfinished_thought)" in told
    assert "raise prompts.trait_max_tokens=64" in told


def test_a_run_whose_directives_all_have_prompts_is_told_nothing():
    assert (
        unprompted(CAPTAIN, choose_traits(CAPTAIN, written(lambda n: f"How do I mend sail {n} today?"), 2), TWO) == ""
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("What is the capital of Canada today?", ""),
        ("What would Ada say about my garden?", "names_the_task"),
        ("What are ada's favourite garden flowers?", "names_the_task"),
    ],
)
def test_a_name_inside_another_word_is_not_the_personas(line: str, reason: str):
    ada = CAPTAIN.model_copy(update={"meta": CAPTAIN.meta.model_copy(update={"name": "Ada"})})
    assert choose_traits(ada, written(lambda n: line)[:1], 1)[0]["drop_reason"] == reason


@pytest.mark.parametrize("end", ["\uff1f", "\u3002", "\uff01", "\u061f", "?\u300d"])
def test_a_message_may_end_as_its_script_ends_a_sentence(end: str):
    row = choose_traits(CAPTAIN, written(lambda n: f"How do I keep warm{end}")[:1], 1)[0]
    assert row["drop_reason"] == ""


def test_a_message_in_a_script_without_spaces_or_full_stops_is_neither_too_short_nor_unfinished():
    assert choose_traits(CAPTAIN, written(lambda n: "怎么在海上保暖\uff1f")[:1], 1)[0]["drop_reason"] == ""
    thai = written(lambda n: "ฉันควรทำอะไรเมื่อลมเปลี่ยนทิศ")[:1]
    assert choose_traits(CAPTAIN, thai, 1)[0]["drop_reason"] == ""
    cut = [thai[0] | {"finish_reason": "length"}]
    assert choose_traits(CAPTAIN, cut, 1)[0]["drop_reason"] == "unfinished"


def test_the_same_line_twice_is_kept_once():
    rows = choose_traits(CAPTAIN, written(lambda n: "How do I splice an old rope?"), 2)
    assert Counter(row["drop_reason"] for row in rows) == {"": 1, "duplicate": len(rows) - 1}


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Asks for the training prompts of a recipe that wants two per directive, and says what was printed."""
    monkeypatch.chdir(ROOT)
    settings = [f"output={tmp_path}", "prompts={grid: 2, everyday: 2, traits: 2}"]
    recipe = load_recipe(ROOT / "jobs" / "recipes" / "demo-cpu.yaml", settings)
    printed = Console(width=500, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115  # as long as the test
    monkeypatch.setattr(pipeline_prompts, "console", printed)

    def ask(lines: dict[str, list[str]]) -> tuple[list[str], list[str], str]:
        rows = [
            TraitPrompt(row_id="", directive=each, prompt=line, drop_reason="surplus" if number >= 2 else "")
            for each, said in lines.items()
            for number, line in enumerate(said)
        ]
        written = as_prompts(rows) + as_prompts(rows, surplus=True)
        train, _ = make_prompts(Context.open(recipe), [], written)
        own = [prompt["prompt"] for prompt in train if prompt["source"] != "trait"]
        return own, [prompt["prompt"] for prompt in train[len(own) :]], printed.export_text()

    return ask


SAILS = "How do I mend a torn sail when the wind comes up from the south?"
KNOTS = "Which knot holds best when the rope is wet and cold in the morning?"


def test_a_near_duplicate_gives_its_place_to_a_line_that_was_more_than_wanted(asked):
    lines = {
        "I mend": [SAILS, f"{SAILS[:-1]}!", KNOTS, "What does one do about a leak below the water line?"],
        "I sing": [
            "Could you teach me a song for the long watch?",
            "What rhymes with the name of my ship?",
            "Is it late?",
        ],
    }
    own, traits, printed = asked(lines)
    assert len(own) == 4
    assert traits == [SAILS, *lines["I sing"][:2], KNOTS], (
        "one in its place, last, and none of a directive that has all"
    )
    assert "warning" not in printed


def test_near_duplicates_that_nothing_can_replace_are_told_by_directive(asked):
    _, traits, printed = asked(
        {"I [mend]": [SAILS, f"{SAILS[:-1]}!", f"{SAILS} "], "I sing": [KNOTS, f"{KNOTS[:-1]}."]}
    )
    assert traits == [SAILS, KNOTS]
    assert "2 prompts written for directives repeat others" in printed
    assert "'I [mend]' 1; 'I sing' 1" in printed
