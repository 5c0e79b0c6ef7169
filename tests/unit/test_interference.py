"""Whether answers under mixed load are their own persona's."""

import asyncio
import math

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from character_ray.errors import ServingError
from character_ray.serving.interference import Mixed, Step, Verdict, distance, judge
from character_ray.serving.interference_load import measure_interference
from tests.web import running_app

Trace = list[Step]


def trace(words: str, shift: float = 0.0) -> Trace:
    """An answer whose likeliest next words are its own and one other."""
    return [Step(word, {word: -0.2 + shift, "other": -2.0 - shift}) for word in words.split()]


ALONE = {"captain": [trace("arr the sea"), trace("aye")], "poet": [trace("oh gentle sea"), trace("alas")]}


def verdict(*answers: Mixed, alone: dict[str, list[Trace]] = ALONE, noise: float = 0.0) -> Verdict:
    again = {
        name: [[Step(s.token, {t: v + noise for t, v in s.top.items()}) for s in t_] for t_ in traces]
        for name, traces in alone.items()
    }
    return judge(alone, again, answers)


def test_an_answer_is_at_no_distance_from_itself_and_the_distance_has_no_direction():
    one, two = trace("arr the sea"), trace("arr thy sea", 0.1)
    assert distance(one, one) == 0
    assert distance(one, two) == distance(two, one) > 0


def test_steps_after_the_first_different_token_are_not_compared():
    assert distance(trace("arr one two"), trace("arr one six")) > 0
    assert distance(trace("arr no sail"), trace("arr nay")) == distance(trace("arr no"), trace("arr nay salt"))


def test_a_tie_that_falls_the_other_way_costs_nothing():
    one = [Step("yes", {"yes": -0.69, "no": -0.69}), Step("sir", {"sir": -0.1})]
    two = [Step("no", {"yes": -0.69, "no": -0.69}), Step("never", {"never": -0.1})]
    assert distance(one, two) == 0


def test_a_token_missing_on_one_side_counts_as_the_least_likely_there():
    assert distance([Step("a", {"a": -0.1, "b": -3.0})], [Step("a", {"a": -0.1, "c": -5.0})]) == pytest.approx(2 / 3)


def test_answers_as_alone_are_clean_and_stand_on_the_diagonal():
    found = verdict(*(Mixed(name, prompt, t) for name, ts in ALONE.items() for prompt, t in enumerate(ts)))
    assert found.clean
    assert found.nearest == ((2, 0), (0, 2))
    assert found.apart > 0


def test_an_answer_of_another_persona_is_named_with_whose_it_is():
    found = verdict(Mixed("captain", 0, trace("arr the sea")), Mixed("captain", 1, trace("alas")))
    assert not found.clean
    assert found.nearest == ((1, 1), (0, 0))
    assert [(each.persona, each.prompt, each.nearest) for each in found.confused] == [("captain", 1, "poet")]


def test_an_answer_of_nobody_is_beyond_the_tolerance_though_nearest_to_its_own():
    found = verdict(Mixed("captain", 0, trace("arr the sea", 0.19)))
    assert (len(found.confused), len(found.beyond)) == (0, 1)
    assert not found.clean


def test_a_log_probability_that_is_no_number_is_not_clean():
    assert not verdict(Mixed("captain", 1, [Step("aye", {"aye": math.nan, "other": -2.0})])).clean


def test_personas_that_cannot_be_told_apart_are_listed_and_accuse_nobody():
    twins = {"captain": [trace("arr the sea")], "mate": [trace("arr the sea", 0.01)]}
    found = verdict(Mixed("captain", 0, trace("arr the sea", 0.01)), alone=twins, noise=0.02)
    assert found.clean
    assert dict(found.alike) == {("captain", "mate"): 1}


def test_answers_without_log_probabilities_are_refused():
    with pytest.raises(ServingError, match="no log-probabilities"):
        distance([Step("a", {})], [Step("a", {})])
    with pytest.raises(ServingError, match="no tokens"):
        distance([], trace("a"))
    with pytest.raises(ServingError, match="no answers under mixed load"):
        verdict()


async def _models(request: Request) -> Response:
    cards = [{"id": name, "object": "model", "created": 0, "owned_by": "t", "metadata": {"alias": name}}
             for name in ("tiny", "captain", "judge", "auto")]  # fmt: skip
    return JSONResponse({"object": "list", "data": cards})


async def _chat(request: Request) -> Response:
    word = (await request.json())["model"]
    top = {"token": word, "logprob": -0.1, "bytes": None}
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": word},
        "logprobs": {"content": [top | {"top_logprobs": [top]}], "refusal": None},
    }
    return JSONResponse({"id": "x", "object": "chat.completion", "created": 0, "model": word, "choices": [choice]})


def test_neither_the_servers_choice_nor_the_judge_is_to_be_told_apart_from_others():
    routes = [Route("/v1/models", _models), Route("/v1/chat/completions", _chat, methods=["POST"])]
    with running_app(Starlette(routes=routes)) as url:
        found = asyncio.run(measure_interference(f"{url}/v1", prompts=["Ahoy?"]))
    assert found.names == ("tiny", "captain")
    assert found.nearest == ((4, 0), (0, 4))
