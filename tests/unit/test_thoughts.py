"""Thinking that the recipe begins for a reasoning teacher reaches it, is never trained on, and must come to an end."""

import pytest

from character_ray.config import DistillConfig, EndpointConfig
from character_ray.constitution import load_constitution
from character_ray.errors import GenerationError
from character_ray.inference.passes import Generation
from character_ray.inference.remote import _body
from character_ray.parts import append_part
from character_ray.rows import COMPLETION, Completion, Prompt, Request
from character_ray.runs import Store
from character_ray.stages.distill import build_pairs, teacher_requests
from character_ray.stages.thoughts import check_thoughts

CAPTAIN = load_constitution("constitutions/captain-blackwood.yaml")
PROMPT = Prompt(
    prompt_id="p", prompt="Hello?", source="everyday", hint="", audience="", scenario="", objective="", constraint=""
)
PREFILL = "I am {name}: {directives}."


def completion(row_id: str, text: str) -> Completion:
    return Completion(
        row_id=row_id, prompt_id="p", sample=0, completion=text, num_tokens=9, finish_reason="stop", error=""
    )


def test_the_teacher_goes_on_from_an_open_thought_with_its_directives():
    config = DistillConfig(samples=1, think_prefill=PREFILL)
    last = teacher_requests([PROMPT], CAPTAIN, config, seed=0)[0]["messages"][-1]
    assert last["role"] == "assistant"
    assert last["content"].startswith("<think>\nI am Captain Blackwood: ")
    assert CAPTAIN.directives.behavior[0] in last["content"]
    plain = teacher_requests([PROMPT], CAPTAIN, DistillConfig(samples=1), seed=0)[0]["messages"]
    assert plain[-1] == {"role": "user", "content": "Hello?"}


def test_an_endpoint_is_told_to_go_on_with_the_open_turn():
    request = teacher_requests([PROMPT], CAPTAIN, DistillConfig(samples=1, think_prefill=PREFILL), seed=0)[0]
    endpoint = EndpointConfig(url="http://127.0.0.1:1/v1")
    assert _body(request, endpoint, {})["extra_body"]["continue_final_message"] is True
    request = teacher_requests([PROMPT], CAPTAIN, DistillConfig(samples=1), seed=0)[0]
    assert "continue_final_message" not in _body(request, endpoint, {})["extra_body"]


@pytest.mark.parametrize(
    ("text", "chosen", "reason"),
    [
        (
            "so I shall growl. </think>\nArr, that be a fine greeting, matey.",
            "Arr, that be a fine greeting, matey.",
            "",
        ),
        ("so I shall growl, and growl, and think of the sea.", None, "unfinished_thought"),
    ],
)
def test_only_what_follows_the_thought_is_trained_on(text, chosen, reason):
    config = DistillConfig(samples=1, think_prefill=PREFILL)
    other = completion("s", "Hello! How can I help you today?")
    pair = build_pairs([PROMPT], [completion("t", text)], [other], {"t": 1.0, "s": 0.0}, config)[0]
    assert pair["drop_reason"] == reason
    if chosen:
        assert pair["chosen"][0]["content"] == chosen


def test_what_is_spoken_has_no_thoughts_and_of_a_thought_that_never_ends_nothing(tmp_path):
    def asked(row_id: str, *, begun: bool) -> Request:
        messages = [
            {"role": "user", "content": "Hello?"},
            *([{"role": "assistant", "content": "<think>\nI"}] if begun else []),
        ]
        return Request(row_id=row_id, prompt_id="p", sample=0, messages=messages, sampling={})

    wrote = {"ended": "thus. </think> Arr!", "endless": "thus, and thus", "plain": "Arr, plain!"}
    generation = Generation(
        Store(tmp_path).artefact("teacher", {}), [asked(each, begun=each != "plain") for each in wrote]
    )
    append_part(generation.artefact.folder, [completion(*each) for each in wrote.items()], COMPLETION)
    assert [row["completion"] for row in generation.spoken()] == ["Arr!", "", "Arr, plain!"]
    assert [row["completion"] for row in generation.completions()] == list(wrote.values())


def test_a_teacher_that_does_not_finish_its_thoughts_stops_the_run():
    config = DistillConfig(think_prefill=PREFILL, min_thought_through=0.5)
    ended, endless = completion("a", "thus. </think> Arr!"), completion("b", "thus, and thus")
    check_thoughts([ended, endless], config)
    check_thoughts([endless], DistillConfig())
    with pytest.raises(GenerationError, match=r"1 of 3 teacher completions end the thinking .*max_tokens=256"):
        check_thoughts([ended, endless, endless], config)
