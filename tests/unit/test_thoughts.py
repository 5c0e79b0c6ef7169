"""Thinking that the recipe begins for a reasoning teacher reaches it, is never trained on, and must come to an end."""

import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from character_ray.config import DistillConfig, EndpointConfig, Recipe
from character_ray.constitution import load_constitution
from character_ray.errors import GenerationError
from character_ray.inference.chat_body import chat_body
from character_ray.inference.passes import Generation, run_pass
from character_ray.parts import append_part
from character_ray.pipeline.context import Persona, to_generation
from character_ray.pipeline.data import ask_teacher
from character_ray.rows import COMPLETION, Completion, Prompt, Request
from character_ray.runs import Store
from character_ray.stages.distill import build_pairs, teacher_requests
from character_ray.stages.thoughts import check_first_thoughts, check_thoughts

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
    assert chat_body(request, endpoint, {})["extra_body"]["continue_final_message"] is True
    request = teacher_requests([PROMPT], CAPTAIN, DistillConfig(samples=1), seed=0)[0]
    assert "continue_final_message" not in chat_body(request, endpoint, {})["extra_body"]


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


def endless(number: int) -> Completion:
    return completion(f"r{number}", "thus, and thus")


def ended(number: int) -> Completion:
    return completion(f"r{number}", "thus. </think> Arr!")


def test_the_first_completions_stop_a_teacher_only_when_they_can_tell():
    config = DistillConfig(think_prefill=PREFILL, min_thought_through=0.5)
    check_first_thoughts([endless(n) for n in range(7)], config)
    check_first_thoughts([ended(0), *(endless(n) for n in range(1, 8))], config)
    told = r"Of the first completions, 0 of 8 teacher completions end .*max_tokens=256.*The rest is not asked; what was answered is kept"
    with pytest.raises(GenerationError, match=told):
        check_first_thoughts([endless(n) for n in range(8)], config)
    check_first_thoughts([endless(n) for n in range(8)], DistillConfig())
    check_first_thoughts([endless(n) for n in range(99)], DistillConfig(think_prefill=PREFILL, min_thought_through=0))


def test_a_teacher_at_the_recipes_share_is_hardly_ever_stopped_early():
    config = DistillConfig(think_prefill=PREFILL, min_thought_through=0.5)
    stopped = 0
    for seed in range(300):
        draw = random.Random(seed)
        arrived = [ended(n) if draw.random() < 0.6 else endless(n) for n in range(64)]
        try:
            for number in range(8, 65, 8):
                check_first_thoughts(arrived[:number], config)
        except GenerationError:
            stopped += 1
    assert stopped <= 3


def test_thoughts_that_do_not_end_are_seen_before_the_rest_is_asked_and_what_arrived_is_kept(tmp_path):
    recipe = Recipe(name="r", constitution=Path("c.yaml"), distill=DistillConfig(samples=1, think_prefill=PREFILL))
    teacher = SimpleNamespace(identity="t")
    context = SimpleNamespace(recipe=recipe, teacher=teacher, artefact=Store(tmp_path).artefact)
    prompts = [{**PROMPT, "prompt_id": f"p{number}", "prompt": f"Hello {number}?"} for number in range(32)]
    generation = to_generation(ask_teacher(context, Persona(CAPTAIN), prompts))
    asked: list[str] = []

    def complete(requests, deliver, progress, text="thus, and thus"):
        for start in range(0, len(requests), 8):
            batch = requests[start : start + 8]
            asked.extend(request["row_id"] for request in batch)
            deliver([completion(request["row_id"], text) for request in batch])

    with pytest.raises(GenerationError, match="0 of 8 teacher completions"):
        run_pass("teacher", [generation], 0.0, complete)
    assert len(asked) == 8
    assert not generation.artefact.is_done
    unwatched = to_generation(ask_teacher(context, Persona(CAPTAIN), prompts)._replace(watch=None))
    run_pass("teacher", [unwatched], 0.0, complete)
    assert len(asked) == len(set(asked)) == 32
    assert generation.artefact.is_done


def test_a_teacher_for_whom_no_thinking_is_begun_is_not_watched(tmp_path):
    recipe = Recipe(name="r", constitution=Path("c.yaml"))
    context = SimpleNamespace(recipe=recipe, teacher=SimpleNamespace(identity="t"), artefact=Store(tmp_path).artefact)
    assert to_generation(ask_teacher(context, Persona(CAPTAIN), [PROMPT])).watch is None
