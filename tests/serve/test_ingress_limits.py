"""What the HTTP side counts of a request, and from where it takes one."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from character_ray.serving.keys import ApiKey
from tests.served import chat, pirate, start


def complete(client: Any, prompt: Any, **changes: Any) -> Any:
    return client.post("/v1/completions", json={"model": "pirate", "prompt": prompt} | changes)


@pytest.mark.parametrize(
    ("prompt", "n", "status"),
    [("hi", 16, 200), (["hi"] * 16, 1, 200), (["hi"] * 17, 1, 400), (["hi"] * 9, 2, 400), ([[1, 2]] * 17, 1, 400)],
)
def test_each_answer_to_each_prompt_counts_as_a_choice(prompt: Any, n: int, status: int):
    client, _, ingress = start(pirate())
    response = complete(client, prompt, n=n)
    assert response.status_code == status
    if status == 400:
        assert response.json()["error"]["code"] == "too_many_choices"
    assert not any(ingress._gate.ongoing.values())


def test_a_list_of_prompts_takes_as_many_of_a_personas_places():
    client, _, ingress = start(pirate(), max_persona_requests=4)
    assert ingress._gate.enter("pirate", 2) is None
    assert complete(client, ["hi"] * 2).status_code == 200
    assert complete(client, ["hi"] * 3).json()["error"]["code"] == "persona_overloaded"
    assert chat(client, n=3).status_code == 429
    assert complete(client, ["hi"] * 5).json()["error"]["code"] == "too_many_choices"
    assert ingress._gate.ongoing["pirate"] == 2


def test_a_list_of_prompts_takes_as_much_of_a_keys_minute():
    key = ApiKey(name="k", sha256=hashlib.sha256(b"k").hexdigest(), requests_per_minute=6)
    client, _, _ = start(pirate(), keys=(key,))
    client.headers["Authorization"] = "Bearer k"
    assert complete(client, ["hi"] * 7).json()["error"]["code"] == "too_many_choices"
    assert complete(client, ["hi"] * 4).status_code == 200
    refused = complete(client, ["hi"] * 3)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 0 < int(refused.headers["Retry-After"]) <= 10
    assert complete(client, ["hi"] * 2).status_code == 200


def at(client: Any, address: str, **headers: str) -> int:
    """The status of a chat that came in by an address, as the visitor's browser sends it for a page."""
    client.base_url = address
    body = {"model": "pirate", "messages": [{"role": "user", "content": "hi"}]}
    return client.post("/v1/chat/completions", json=body, headers=headers).status_code


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("http://127.0.0.1:8000", {}, 200),
        ("http://localhost:8000", {"Origin": "http://localhost:8000"}, 200),
        ("http://127.0.0.1:8000", {"Origin": "https://elsewhere.example"}, 403),
        ("http://127.0.0.1:8000", {"Origin": "null"}, 403),
        ("http://127.0.0.1:8000", {"Host": "rebound.example:8000", "Origin": "http://rebound.example:8000"}, 403),
        ("http://127.0.0.1:8000", {"Host": "rebound.example:8000"}, 403),
        ("http://10.0.0.7:8000", {"Host": "personas.cluster.local"}, 200),
        ("http://10.0.0.7:8000", {"Host": "personas.cluster.local", "Origin": "https://elsewhere.example"}, 403),
        ("http://127.0.0.1:8000", {"Origin": "https://chat.example.org"}, 200),
        ("http://127.0.0.1:8000", {"Host": "chat.example.org"}, 200),
    ],
)
def test_without_keys_only_pages_of_the_machine_and_of_named_sites_may_ask(
    address: str, headers: dict[str, str], status: int
):
    client, _, _ = start(pirate(), origins=("https://chat.example.org",))
    assert at(client, address, **headers) == status


def test_a_browser_lets_pages_of_named_sites_alone_read_answers():
    ask = {"Access-Control-Request-Method": "POST"}
    closed, _, _ = start(pirate())
    named, _, _ = start(pirate(), origins=("https://chat.example.org",))
    everybody, _, _ = start(pirate(), origins=("*",))
    site = {"Origin": "https://chat.example.org"} | ask
    allowed = [each.options("/v1/chat/completions", headers=site).headers for each in (closed, named, everybody)]
    told = [headers.get("access-control-allow-origin") for headers in allowed]
    assert told == [None, "https://chat.example.org", "*"]
    assert at(everybody, "http://127.0.0.1:8000", Origin="https://elsewhere.example") == 200


def test_with_keys_the_key_decides_and_the_site_does_not():
    key = ApiKey(name="k", sha256=hashlib.sha256(b"k").hexdigest())
    client, _, _ = start(pirate(), keys=(key,))
    assert at(client, "http://127.0.0.1:8000", Host="chat.example.org", Authorization="Bearer k") == 200
    assert at(client, "http://127.0.0.1:8000", Host="chat.example.org") == 401


def test_an_ingress_that_starts_later_knows_what_was_revoked_meanwhile(tmp_path: Path):
    digests = [hashlib.sha256(name.encode()).hexdigest() for name in ("old", "new")]
    (tmp_path / "keys.yaml").write_text(f"keys: [{{name: new, sha256: {digests[1]}}}]")
    client, _, _ = start(pirate(), keys=(ApiKey(name="old", sha256=digests[0]),), key_file=tmp_path / "keys.yaml")
    assert at(client, "http://10.0.0.7", Authorization="Bearer old") == 401
    assert at(client, "http://10.0.0.7", Authorization="Bearer new") == 200
