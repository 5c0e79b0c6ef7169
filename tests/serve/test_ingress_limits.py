"""What the HTTP side counts of a request, and from where it takes one."""

import hashlib
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
