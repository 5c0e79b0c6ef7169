"""Prompts written from a constitution: what is asked, and which lines may be asked as if a user had written them."""

from collections import Counter
from pathlib import Path

import pytest

from character_ray.constitution import load_constitution
from character_ray.stages.traits import ASKED_PER_WANTED, as_prompts, choose_traits, trait_requests

CAPTAIN = load_constitution(Path(__file__).resolve().parents[2] / "constitutions" / "captain-blackwood.yaml")


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
        for number, request in enumerate(trait_requests(CAPTAIN, 2, seed=0))
    ]


def test_every_directive_is_asked_for_with_the_examples_as_demonstrations():
    requests = trait_requests(CAPTAIN, 2, seed=0)
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


def test_the_same_line_twice_is_kept_once():
    rows = choose_traits(CAPTAIN, written(lambda n: "How do I splice an old rope?"), 2)
    assert Counter(row["drop_reason"] for row in rows) == {"": 1, "duplicate": len(rows) - 1}
