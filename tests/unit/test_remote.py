"""A teacher at an endpoint: what is asked, rate limit, budget and resumption, against a server that counts what it is asked."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from character_ray.config import EndpointConfig, Recipe
from character_ray.errors import GenerationError
from character_ray.inference.find_model import find_model
from character_ray.inference.remote import WRITTEN_TOGETHER, Sections
from character_ray.inference.spending import Ledger
from character_ray.parts import read_parts
from character_ray.rows import Completion
from tests.fake_openai import BASE, FakeOpenAI
from tests.provider import INPUT_TOKENS, OUTPUT_TOKENS, Provider, ask, spent, wanted


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider().running() as server:
        yield server


def test_every_request_is_answered_once_with_the_recipes_sampling(provider: Provider, tmp_path: Path):
    generation = wanted(tmp_path)
    ask(generation, tmp_path, EndpointConfig(url=provider.url, extra_body={"chat_template_kwargs": {"x": 1}}))
    assert [row["completion"] for row in generation.completions()] == [f"Aye, word {n}" for n in range(12)]
    assert provider.asked == {f"word {n}": 1 for n in range(12)}
    body = provider.bodies[0]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("big-model", 0.7, OUTPUT_TOKENS)
    assert body["chat_template_kwargs"] == {"x": 1}
    assert "top_k" not in body
    seeds = {body["messages"][-1]["content"]: body["seed"] for body in provider.bodies}
    assert seeds == {f"word {n}": request["sampling"]["seed"] for n, request in enumerate(generation.requests)}


def test_rate_limits_and_server_faults_are_tried_again(provider: Provider, tmp_path: Path):
    provider.refuse = {"word 3": [429, 429], "word 7": [500]}
    generation = wanted(tmp_path)
    ask(generation, tmp_path, EndpointConfig(url=provider.url, retries=3))
    assert not any(row["error"] for row in generation.completions())
    assert provider.asked["word 3"] == 3
    assert provider.asked["word 7"] == 2


def test_a_rate_limit_that_others_pass_is_waited_for_beyond_the_retries(provider: Provider, tmp_path: Path):
    provider.refuse = {"word 0": [429] * 4, "word 5": [429] * 3}
    generation = wanted(tmp_path)
    ask(generation, tmp_path, EndpointConfig(url=provider.url, retries=0, max_concurrent=2, max_failed_share=0))
    assert provider.asked["word 0"] == 5


def test_a_rate_limit_that_nobody_passes_is_told(provider: Provider, tmp_path: Path):
    provider.always = 429
    with pytest.raises(GenerationError, match="status 429"):
        ask(wanted(tmp_path), tmp_path, EndpointConfig(url=provider.url, retries=0))


def test_a_row_that_stays_refused_costs_itself_and_says_why(provider: Provider, tmp_path: Path):
    provider.refuse = {"word 3": [400]}
    generation = wanted(tmp_path)
    ask(generation, tmp_path, EndpointConfig(url=provider.url, max_failed_share=0.1))
    failed = [row for row in generation.completions() if row["error"]]
    assert [row["prompt_id"] for row in failed] == ["3"]
    assert "status 400" in failed[0]["error"]


@pytest.mark.parametrize(("status", "max_concurrent", "most"), [(400, 1, 5), (422, 1, 5), (400, 16, 20)])
def test_an_endpoint_that_refuses_everything_ends_the_pass_with_what_it_says(
    provider: Provider, tmp_path: Path, status: int, max_concurrent: int, most: int
):
    provider.always = status
    endpoint = EndpointConfig(url=provider.url, max_concurrent=max_concurrent)
    with pytest.raises(
        GenerationError, match=rf"refused 5 requests or more alike.*status {status}.*max_tokens_field.*leave_out"
    ):
        ask(wanted(tmp_path, 60), tmp_path, endpoint)
    assert len(provider.bodies) <= most


def test_an_answer_that_is_under_way_when_others_are_refused_is_waited_for(provider: Provider, tmp_path: Path):
    provider.refuse = {f"word {n}": [400] for n in range(1, 10)}
    provider.slow = {"word 0": 0.5}
    generation = wanted(tmp_path)
    ask(generation, tmp_path, EndpointConfig(url=provider.url, max_failed_share=0.8))
    assert [row["prompt_id"] for row in generation.completions() if not row["error"]] == ["0", "10", "11"]


def test_refusals_of_some_texts_do_not_end_a_pass_that_may_lose_them(provider: Provider, tmp_path: Path):
    provider.refuse = {f"word {n}": [400] for n in range(3, 10)}
    generation = wanted(tmp_path)
    ask(generation, tmp_path, EndpointConfig(url=provider.url, max_concurrent=1, max_failed_share=0.6))
    assert sum(not row["error"] for row in generation.completions()) == 5


def test_refusals_that_are_about_one_text_do_not_end_the_pass(provider: Provider, tmp_path: Path):
    provider.refuse = {f"word {n}": [400] for n in range(7)}
    provider.error = {"code": "content_filter"}
    generation = wanted(tmp_path)
    ask(generation, tmp_path, EndpointConfig(url=provider.url, max_concurrent=1, max_failed_share=0.6))
    assert sum(not row["error"] for row in generation.completions()) == 5


def test_a_server_may_call_the_number_of_tokens_otherwise_and_take_fewer_fields(provider: Provider, tmp_path: Path):
    endpoint = EndpointConfig(
        url=provider.url, max_tokens_field="max_completion_tokens", leave_out=("temperature", "top_p", "seed")
    )
    ask(wanted(tmp_path, 1), tmp_path, endpoint)
    (body,) = provider.bodies
    assert body["max_completion_tokens"] == OUTPUT_TOKENS
    assert body.keys() == {"model", "messages", "max_completion_tokens"}
    ask(wanted(tmp_path, 2), tmp_path, endpoint.model_copy(update={"leave_out": ("max_tokens",)}))
    assert not {"max_tokens", "max_completion_tokens"} & provider.bodies[-1].keys()
    assert provider.bodies[-1]["temperature"] == 0.7


def test_fields_that_are_left_out_decide_the_answers_and_the_name_of_one_does_not():
    plain = EndpointConfig(url="http://there/v1", max_tokens_field="max_completion_tokens")
    assert plain.asked_beside == {}
    fewer = EndpointConfig(url="http://there/v1", extra_body={"x": 1}, leave_out=("top_p", "seed"))
    assert fewer.asked_beside == {"x": 1, "leave_out": ["seed", "top_p"]}


PAGE = ("text/html", b"<!DOCTYPE html>\n<html>Welcome</html>")


@pytest.mark.parametrize(
    ("instead", "reason"),
    [
        (("application/json", b'{"choices": null, "usage": null}'), "no completion in the answer: choices=None"),
        (("application/json", b'{"choices": []}'), r"choices=\[\]"),
        (("application/json", b'{"choices": [{"message": null}]}'), "no completion in the answer"),
        (("application/json", b'{"error": {"message": "upstream is ill"}}'), "upstream is ill"),
        (("application/json", b'{"choices": [{"message": {"content": [1]}}]}'), "unreadable answer"),
        (
            ("application/json", b'{"choices": [{"mess'),
            r"answered with '\{\"choices.*which is no answer of the OpenAI API",
        ),
        (PAGE, r"/v1 answered with '<!DOCTYPE html> <html>.*a base URL mostly ends in /v1"),
    ],
)
def test_an_answer_without_a_completion_costs_its_row_alone(
    provider: Provider, tmp_path: Path, instead: tuple[str, bytes], reason: str
):
    provider.instead = {"word 3": instead}
    generation = wanted(tmp_path)
    ask(generation, tmp_path, EndpointConfig(url=provider.url, max_failed_share=0.1))
    failed = [row for row in generation.completions() if row["error"]]
    assert [row["prompt_id"] for row in failed] == ["3"]
    assert re.search(reason, failed[0]["error"]), failed[0]["error"]


def test_an_answer_without_usage_or_with_half_of_it_is_booked_at_the_most(provider: Provider, tmp_path: Path):
    body = b'{"choices": [{"message": {"content": "Aye"}}], "usage": {"prompt_tokens": 20, "completion_tokens": null}}'
    provider.instead = {"": ("application/json", body)}
    ask(wanted(tmp_path, 2), tmp_path, EndpointConfig(url=provider.url, usd_per_million_output=1000.0))
    assert spent(tmp_path) == pytest.approx(0.02)


def test_an_endpoint_that_does_not_speak_the_api_is_named_before_every_row_was_tried(
    provider: Provider, tmp_path: Path
):
    provider.instead = {"": PAGE}
    endpoint = EndpointConfig(url=provider.url, max_concurrent=1)
    with pytest.raises(GenerationError, match=r"3 times in a row\. Check teacher_endpoint\.url.*ends in /v1"):
        ask(wanted(tmp_path), tmp_path, endpoint)
    assert len(provider.bodies) == 3


def test_an_address_without_the_api_is_named_when_its_models_are_looked_for():
    with FakeOpenAI().running() as url:
        assert find_model(BASE, EndpointConfig(url=url), Sections()).name == BASE
        with pytest.raises(GenerationError, match=r"no base URL of an OpenAI-compatible API.*ends in /v1"):
            find_model(BASE, EndpointConfig(url=url.removesuffix("/v1")), Sections())


def test_a_version_that_is_not_listed_is_found_by_its_pinned_name():
    fake = FakeOpenAI()
    fake.unlisted = f"{BASE}:sailor-{'a' * 16}"
    with fake.running() as url:
        found = find_model(fake.unlisted, EndpointConfig(url=url), Sections())
        assert (found.name, found.weights_hash, found.base) == (fake.unlisted, "a" * 16, BASE)
        with pytest.raises(GenerationError, match="has no model 'sailor'"):
            find_model("sailor", EndpointConfig(url=url), Sections())


def test_answers_that_were_blocked_one_after_another_do_not_end_the_pass(provider: Provider, tmp_path: Path):
    blocked = ("application/json", b'{"choices": []}')
    provider.instead = {f"word {n}": blocked for n in range(6)}
    generation = wanted(tmp_path)
    ask(generation, tmp_path, EndpointConfig(url=provider.url, max_concurrent=1, max_failed_share=0.5))
    assert sum(not row["error"] for row in generation.completions()) == 6


def test_a_refused_key_ends_the_pass_at_once(provider: Provider, tmp_path: Path):
    provider.always = 401
    with pytest.raises(GenerationError, match=r"refuses the model 'big-model'.*OPENAI_API_KEY"):
        ask(wanted(tmp_path), tmp_path, EndpointConfig(url=provider.url, max_concurrent=1))
    assert len(provider.bodies) == 1


def test_nobody_at_the_address_is_named_before_every_row_was_tried(tmp_path: Path):
    endpoint = EndpointConfig(url="http://127.0.0.1:9/v1", retries=0, max_concurrent=1)
    with pytest.raises(GenerationError, match=r"127\.0\.0\.1:9/v1 could not be reached 3 times in a row"):
        ask(wanted(tmp_path), tmp_path, endpoint)


def test_what_is_under_way_when_a_watch_ends_the_pass_is_kept_since_it_is_paid_for(provider: Provider, tmp_path: Path):
    def watch(so_far: Sequence[Completion]) -> None:
        deadline = time.monotonic() + 10
        while len(so_far) == WRITTEN_TOGETHER == len(provider.bodies) and time.monotonic() < deadline:
            time.sleep(0.01)  # until others are under way
        raise GenerationError(f"{len(so_far)} are enough")

    generation = replace(wanted(tmp_path, rows=60), watch=watch)
    with pytest.raises(GenerationError, match="are enough"):
        ask(generation, tmp_path, EndpointConfig(url=provider.url, max_concurrent=6))
    assert len(provider.bodies) == len(read_parts(generation.artefact.folder)) < 60


def test_a_budget_is_never_exceeded_and_what_was_paid_for_is_kept(provider: Provider, tmp_path: Path):
    prices = {"usd_per_million_input": 1000.0, "usd_per_million_output": 5000.0}
    each = (INPUT_TOKENS * 1000 + OUTPUT_TOKENS * 5000) / 1e6
    generation = wanted(tmp_path)
    poor = EndpointConfig(url=provider.url, budget_usd=6.5 * each, **prices)
    with pytest.raises(GenerationError, match=r"budget_usd=.* requests are not sent"):
        ask(generation, tmp_path, poor)
    paid = len(read_parts(generation.artefact.folder))
    assert spent(tmp_path) == pytest.approx(paid * each)
    assert 0 < spent(tmp_path) <= poor.budget_usd
    assert len(provider.bodies) == paid
    ask(wanted(tmp_path), tmp_path, poor.model_copy(update={"budget_usd": 20 * each}))
    assert provider.asked == {f"word {n}": 1 for n in range(12)}
    assert spent(tmp_path) == pytest.approx(12 * each)


@pytest.mark.parametrize("torn", [b"{", b'{"row_id": "x", "tokens": [7, 3], "us', b"\0" * 20, b'{"row_id": "\xc4'])
def test_a_torn_line_of_the_ledger_counts_as_the_dearest_request(tmp_path: Path, torn: bytes):
    file, endpoint = tmp_path / "spending.jsonl", EndpointConfig(url="http://there/v1", usd_per_million_output=1000.0)
    requests = wanted(tmp_path, 2).requests
    ledger = Ledger(file, endpoint)
    ledger.book("a", ledger.reserve(requests[0]), (7, 3))
    file.write_bytes(file.read_bytes() + torn)
    for booked in (0.003, 0.006):  # ten tokens may be written and three were
        again = Ledger(file, endpoint)
        assert again.spent == pytest.approx(booked + 0.01)
        again.book("b", again.reserve(requests[1]), (7, 3))
    assert Ledger(file, endpoint).spent == pytest.approx(0.009 + 0.01)


def test_a_ledger_of_one_torn_line_counts_it_as_the_request_that_comes_next(tmp_path: Path):
    file = tmp_path / "spending.jsonl"
    file.write_text('{"row_id"')
    poor = EndpointConfig(url="http://there/v1", usd_per_million_output=1000.0, budget_usd=0.015)
    assert Ledger(file, poor).reserve(wanted(tmp_path, 1).requests[0]) is None
    file.write_text('{"row_id": "a", "tokens": null, "usd": 0.005}')
    assert Ledger(file, poor).reserve(wanted(tmp_path, 1).requests[0]) == pytest.approx(0.01), "only its end is missing"


def test_an_endpoint_that_does_not_say_what_it_used_is_booked_at_the_most(provider: Provider, tmp_path: Path):
    provider.tells_usage = False
    endpoint = EndpointConfig(url=provider.url, usd_per_million_output=1000.0, budget_usd=0.035)
    with pytest.raises(GenerationError, match="requests are not sent"):
        ask(wanted(tmp_path), tmp_path, endpoint)
    # Ten tokens at a thousand dollars a million are a cent each.
    assert len(provider.bodies) == 3
    assert spent(tmp_path) == pytest.approx(0.03)


def test_requests_are_started_no_faster_than_the_limit(provider: Provider, tmp_path: Path):
    ask(wanted(tmp_path, 6), tmp_path, EndpointConfig(url=provider.url, requests_per_minute=60))
    # Five gaps of a second; arrivals may lag behind what is sent.
    assert max(provider.starts) - min(provider.starts) >= 4.0


def test_a_budget_without_prices_and_two_teachers_are_refused():
    with pytest.raises(ValidationError, match="cannot be kept without prices"):
        EndpointConfig(url="http://there/v1", budget_usd=5)
    with pytest.raises(ValidationError, match=r"budget_usd=5\.0 cannot be kept where leave_out names max_tokens"):
        EndpointConfig(url="http://there/v1", budget_usd=5, usd_per_million_output=1, leave_out=("max_tokens",))
    with pytest.raises(ValidationError, match="Remove one of them"):
        Recipe.model_validate(
            {
                "name": "r",
                "constitution": "c.yaml",
                "teacher_engine": {"device": "cpu"},
                "teacher_endpoint": {"url": "http://there/v1"},
            }
        )
