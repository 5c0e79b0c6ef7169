"""Tries at an endpoint: which are made, how long they wait, and that each which may be charged for counts against the budget."""

import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from character_ray.config import EndpointConfig
from character_ray.errors import GenerationError
from character_ray.inference.retries import may_be_charged, wait_before_retry
from tests.provider import Provider, ask, spent, wanted

# Ten tokens at a thousand dollars a million: a cent for each answer, and for each try that may have been answered.
A_CENT_EACH = {"usd_per_million_output": 1000.0}


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider().running() as server:
        yield server


def test_tries_are_started_no_faster_than_the_limit(provider: Provider, tmp_path: Path):
    provider.refuse = {"word 0": [429, 429, 429]}
    ask(wanted(tmp_path, 1), tmp_path, EndpointConfig(url=provider.url, requests_per_minute=120, retries=3))
    # Three gaps of half a second, where the endpoint asks for a hundredth; arrivals may lag behind what is sent.
    assert provider.asked["word 0"] == 4
    assert max(provider.starts) - min(provider.starts) >= 1.2


@pytest.mark.parametrize("breaks_off", [False, True], ids=["timeout", "broken connection"])
def test_each_try_that_may_be_charged_for_is_booked_at_the_most(provider: Provider, tmp_path: Path, breaks_off: bool):
    provider.silent, provider.breaks_off = {"word 0": 2}, breaks_off
    generation = wanted(tmp_path, 2)
    ask(generation, tmp_path, EndpointConfig(url=provider.url, timeout_s=1.0, retries=4, **A_CENT_EACH))
    assert not any(row["error"] for row in generation.completions())
    assert provider.asked["word 0"] >= 3
    assert spent(tmp_path) == pytest.approx(0.01 * len(provider.bodies))


def test_tries_that_go_unanswered_use_the_budget_up_and_not_more(provider: Provider, tmp_path: Path):
    provider.silent, provider.breaks_off = {"word 0": 99}, True
    endpoint = EndpointConfig(url=provider.url, retries=9, budget_usd=0.035, **A_CENT_EACH)
    with pytest.raises(GenerationError, match=r"0\.0300 USD are spent.*budget_usd=0\.035.* 1 requests are not sent"):
        ask(wanted(tmp_path, 1), tmp_path, endpoint)
    assert provider.asked == {"word 0": 3}


def test_a_pass_that_ends_books_what_was_under_way(provider: Provider, tmp_path: Path):
    provider.silent, provider.refuse = {"word 0": 1}, {"word 1": [500, 401]}
    endpoint = EndpointConfig(url=provider.url, max_concurrent=2, timeout_s=2.0, **A_CENT_EACH)
    with pytest.raises(GenerationError, match="refuses the model"):
        ask(wanted(tmp_path, 4), tmp_path, endpoint)
    assert provider.asked == {"word 0": 1, "word 1": 2}
    assert spent(tmp_path) == pytest.approx(0.01)


def test_a_run_that_is_stopped_books_what_was_under_way(provider: Provider, tmp_path: Path):
    main = threading.main_thread().ident
    provider.silent = {"word 0": 1}
    provider.when_silent = lambda: signal.pthread_kill(main, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        ask(wanted(tmp_path, 1), tmp_path, EndpointConfig(url=provider.url, **A_CENT_EACH))
    assert spent(tmp_path) == pytest.approx(0.01)


def test_what_was_never_sent_or_refused_costs_nothing(provider: Provider, tmp_path: Path):
    away = EndpointConfig(url="http://127.0.0.1:9/v1", retries=1, **A_CENT_EACH)
    with pytest.raises(GenerationError, match="could not be reached"):
        ask(wanted(tmp_path), tmp_path, away)
    provider.always = 503
    with pytest.raises(GenerationError, match="status 503"):
        ask(wanted(tmp_path), tmp_path, away.model_copy(update={"url": provider.url}))
    assert not (tmp_path / "spending.jsonl").exists()


class Refused(Exception):
    """As the client raises it: a status and the headers of the answer."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__()
        self.status_code = status
        self.response = SimpleNamespace(headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_a_retry_waits_as_long_as_it_is_asked_to_else_longer_each_time():
    assert wait_before_retry(Refused(429, retry_after="7"), 0) == 7
    assert wait_before_retry(Refused(503, retry_after_ms="250"), 4) == 0.25
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60))
    assert 50 < wait_before_retry(Refused(429, retry_after=soon), 0) <= 60
    for attempt, longest in enumerate([0.5, 1.0, 2.0, 4.0, 8.0, 8.0]):
        assert longest * 0.75 <= wait_before_retry(Refused(500, retry_after="soon"), attempt) <= longest


@pytest.mark.parametrize(
    "failure",
    [Refused(400), Refused(422), Refused(429, retry_after="3600"), Refused(429, x_should_retry="false")],
    ids=["bad request", "unprocessable", "an hour", "told not to"],
)
def test_what_would_fare_no_better_is_not_tried_again(failure: Refused):
    assert wait_before_retry(failure, 0) is None


@pytest.mark.parametrize(("status", "charged"), [(400, False), (429, False), (500, False), (504, True), (408, True)])
def test_a_gateway_that_gave_up_waiting_may_charge_and_a_refusal_does_not(status: int, charged: bool):
    assert may_be_charged(Refused(status)) is charged
