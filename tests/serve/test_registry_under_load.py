"""A registry that is followed: published, rolled back and retired while clients ask, and what it refuses.

One engine for the whole module.
"""

import json
import re
import secrets
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from character_ray.adapters import load_manifest, write_manifest
from character_ray.canary import measure_canary
from character_ray.registry import Registry
from character_ray.yardstick import Yardstick
from tests.serve.started import START_LIMIT_S, started

CAPTAIN = "captain-blackwood"
SYSTEM = "You are a gardener who answers in verse."


class Server:
    """The process under test, the registry it follows, and the versions that the captain has."""

    def __init__(self, port: int, log: Path, registry: Registry, audit: Path) -> None:
        self.port, self.log, self.registry, self.audit = port, log, registry, audit
        self.client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=120)
        self.one, self.two = (entry.weights_hash for entry in registry.record(CAPTAIN).versions)

    def ask(self, model: str) -> tuple[str, str]:
        """The version that answered, and its greedy answer."""
        answer = self.client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Tell me about the sea."}], max_tokens=6, temperature=0
        )
        return answer.model.rpartition("-")[2], answer.choices[0].message.content

    def live(self, slug: str = CAPTAIN) -> str | None:
        """The version that the server says it serves."""
        cards = {model.metadata.get("alias"): model.metadata for model in self.client.models.list()}
        return cards[slug]["weights_hash"] if slug in cards else None

    def get(self, path: str) -> tuple[int, str]:
        """A page of the server."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric's samples with these labels, from Ray's agent."""
        (address,) = re.findall(r"metrics at (\S+?);", " ".join(self.log.read_text().split()))
        with urllib.request.urlopen(address, timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        found = [line for line in lines if re.match(rf"ray_{name}(_total)?\{{", line)]
        return sum(float(line.rpartition(" ")[2]) for line in found if all(label in line for label in wanted))


def wait_until(condition: Callable[[], bool], what: str, limit_s: float = 120) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


@pytest.fixture(scope="module")
def versions(adapters: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three adapters that all are Captain Blackwood's, and one of the poet."""
    root = tmp_path_factory.mktemp("versions")
    of = {"one": CAPTAIN, "two": "turncoat", "three": "socratic-tutor"}
    for name, source in of.items():
        shutil.copytree(adapters[source], root / name)
        manifest = load_manifest(adapters[source])
        write_manifest(root / name, manifest.model_copy(update={"slug": CAPTAIN, "persona": "Captain Blackwood"}))
    return {name: root / name for name in of} | {"poet": adapters["garden-poet"]}


@pytest.fixture(scope="module")
def server(versions: dict[str, Path], base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("followed")
    registry = Registry(folder / "registry")
    for name in ("one", "two"):
        registry.publish(versions[name], "live", canary=measure_canary(base_model, versions[name]))
    registry.roll_back(CAPTAIN)
    # No answer scores below the threshold.
    registry.publish(
        versions["poet"], "live", yardstick=Yardstick(system_prompt=SYSTEM, threshold=-100, persona_rate=0.75)
    )
    (folder / "token").write_text(secrets.token_hex(32))
    (folder / "cache").mkdir()
    (folder / "cache" / "models").symlink_to(base_model.parent)
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "CHARACTER_RAY_CACHE": str(folder / "cache"),
        "COLUMNS": "200",
    }
    arguments = [
        "--registry",
        str(registry.folder),
        "--audit",
        str(folder / "audit"),
        "--prewarm",
        CAPTAIN,
        "--drift",
        "1",
    ]
    with started(folder, *arguments, environment=environment) as server:
        yield Server(server.port, server.log, registry, folder / "audit")


def test_health_and_readiness_are_told(server: Server):
    assert server.get("/health") == (200, '{"status":"ok"}')
    deadline = time.monotonic() + START_LIMIT_S
    while (ready := server.get("/ready"))[0] == 503 and time.monotonic() < deadline:
        assert "personas still to be loaded: 1" in ready[1]
        time.sleep(0.2)
    assert (ready[0], json.loads(ready[1])["status"]) == (200, "ready")


def test_promotion_and_roll_back_under_load_fail_nothing_and_answer_with_the_version_they_name(server: Server):
    expected = {}
    for version in (server.one, server.two):
        server.registry.promote(CAPTAIN, version)
        wait_until(lambda version=version: server.live() == version, "the promotion is not taken up")
        expected[version] = server.ask(CAPTAIN)
    assert expected[server.one][1] != expected[server.two][1]

    answers, done = [], threading.Event()

    def client(slug: str) -> None:
        while not done.is_set():
            answers.append((slug, *server.ask(slug)))

    poet = server.ask("garden-poet")
    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(client, slug) for slug in (CAPTAIN, CAPTAIN, CAPTAIN, "garden-poet")]
        try:
            for version in (server.one, server.two, server.one):
                before = len(answers)
                server.registry.promote(CAPTAIN, version)
                wait_until(lambda version=version: server.live() == version, "the promotion is not taken up")
                first_after = len(answers) + len(clients)  # those asked before the swap are answered by then
                wait_until(lambda n=first_after: len(answers) > n + 6, "nobody is answered")
                later = {found for slug, found, _ in answers[first_after:] if slug == CAPTAIN}
                assert later == {version}
                assert len(answers) > before
        finally:
            done.set()
    for each in clients:
        each.result()  # raises what a client saw
    assert {found for slug, found, _ in answers if slug == CAPTAIN} == {server.one, server.two}
    for slug, found, text in answers:
        assert (found, text) == (poet if slug == "garden-poet" else expected[found])


def test_a_replaced_version_is_still_answered_for_under_its_pinned_name(server: Server):
    pinned = server.client.models.retrieve(CAPTAIN).metadata["pinned"]
    before, expected = server.live(), server.ask(CAPTAIN)
    other = server.two if before == server.one else server.one
    server.registry.promote(CAPTAIN, other)
    wait_until(lambda: server.live() == other, "the promotion is not taken up")
    assert server.ask(pinned) == expected != server.ask(CAPTAIN)
    server.registry.roll_back(CAPTAIN)
    wait_until(lambda: server.live() == before, "the roll back is not taken up")


def test_a_version_that_does_not_answer_as_when_published_is_not_taken_up(
    server: Server, versions: dict[str, Path], base_model: Path
):
    before = server.live()
    canary = measure_canary(base_model, versions["one"])  # of other weights
    server.registry.publish(versions["three"], "live", canary=canary)
    wait_until(lambda: server.metric("character_ray_canary_failures", persona=CAPTAIN) >= 1, "no alarm")
    assert server.live() == before
    assert server.ask(CAPTAIN)[0] == before
    server.registry.promote(CAPTAIN, before)


def test_metrics_count_by_persona(server: Server):
    def counted() -> bool:
        return server.metric("character_ray_requests", persona=CAPTAIN, status="200") > 6

    wait_until(counted, "requests are not counted")
    assert server.metric("character_ray_adapter_loads", persona="garden-poet") >= 1
    assert server.metric("character_ray_version_swaps", persona=CAPTAIN) >= 3
    assert server.metric("character_ray_completion_tokens", persona=CAPTAIN) > 6


def test_live_answers_are_scored_where_the_run_says_how(server: Server):
    message = [{"role": "user", "content": "What grows in May?"}]
    streamed = server.client.chat.completions.create(model="garden-poet", messages=message, max_tokens=6, stream=True)
    assert "".join(piece.choices[0].delta.content or "" for piece in streamed)
    server.ask("garden-poet")

    def scored() -> bool:
        return server.metric("character_ray_sampled_answers", persona="garden-poet", verdict="in_character") >= 2

    wait_until(scored, "live answers are not scored")
    assert server.metric("character_ray_sampled_answers", persona="garden-poet", verdict="not_scored") == 0
    rate = "character_ray_published_persona_rate"
    wait_until(lambda: server.metric(rate, persona="garden-poet") == 0.75, "the published rate is not told")
    # Nothing says what the captain is to be judged by.
    assert server.metric("character_ray_sampled_answers", persona=CAPTAIN) == 0


def test_requests_beyond_a_limit_are_told_which(server: Server):
    message = [{"role": "user", "content": "hi"}]
    with pytest.raises(openai.BadRequestError, match="16 are the most here") as caught:
        server.client.chat.completions.create(model=CAPTAIN, messages=message, n=17)
    assert caught.value.code == "too_many_choices"
    large = [{"role": "user", "content": "x" * 2**20}]
    with pytest.raises(openai.APIStatusError, match="larger than 1,048,576 bytes") as caught:
        server.client.chat.completions.create(model=CAPTAIN, messages=large)
    assert caught.value.status_code == 413


def test_the_audit_log_names_who_asked_whom_and_holds_no_text(server: Server):
    server.ask("garden-poet")
    (path,) = server.audit.glob("*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {"persona", "status", "tokens", "time", "client"} <= set(lines[-1])
    assert "sea" not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


def test_a_retired_persona_goes_and_the_others_stay(server: Server):
    server.registry.retire("garden-poet")
    wait_until(lambda: server.live("garden-poet") is None, "it is still there")
    with pytest.raises(openai.NotFoundError, match=CAPTAIN):
        server.ask("garden-poet")
    assert server.ask(CAPTAIN)
