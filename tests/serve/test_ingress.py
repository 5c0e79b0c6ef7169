"""The HTTP side over an engine that is a fake: limits, errors, and ten thousand malformed requests."""

import asyncio
import dataclasses
import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.serve.exceptions import BackPressureError

from character_ray.config import AutoConfig
from character_ray.errors import AdapterError
from character_ray.serving.catalogue import Catalogue
from character_ray.serving.choosing import PersonaChooser
from character_ray.serving.keys import ApiKey
from character_ray.serving.personas import Persona
from tests.served import SECRET, chat, pirate, start

NUM_FUZZED = 10_000


@pytest.fixture(scope="module")
def persona() -> Persona:
    return pirate()


def test_the_answer_names_the_version_that_gave_it(persona):
    client, _, _ = start(persona)
    answer = chat(client).json()
    assert answer["model"] == answer["choices"][0]["message"]["content"] == "tiny:pirate-0123456789abcdef"


def test_it_is_ready_once_an_engine_answers_and_what_is_wanted_first_is_loaded(persona):
    client, engine, ingress = start(persona, prewarm=("pirate",))
    response = client.get("/ready")
    assert (response.status_code, response.json()["status"]) == (503, "personas still to be loaded: 1")
    asyncio.run(ingress._followed.load())
    assert client.get("/ready").json() == {"status": "ready", "personas": 1}
    engine.error = RuntimeError("dead")
    assert client.get("/ready").status_code == 503


def test_as_many_replicas_load_a_persona_beforehand_as_the_recipe_says(persona):
    _, engine, ingress = start(persona, prewarm=("pirate",), prewarm_replicas=3, max_replicas=4)
    asyncio.run(ingress._followed.load())
    assert engine.loads == 3


def test_back_pressure_is_429_with_retry_after(persona):
    client, engine, _ = start(persona)
    engine.error = BackPressureError(num_queued_requests=3, max_queued_requests=2)
    response = chat(client)
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) >= 1
    assert response.json()["error"]["code"] == "overloaded"


def test_a_persona_has_so_many_places_and_gets_them_back(persona):
    client, engine, ingress = start(persona, max_persona_requests=1)
    assert chat(client).status_code == 200
    assert ingress._gate.enter("pirate") is None
    response = chat(client)
    assert (response.status_code, response.json()["error"]["code"]) == (429, "persona_overloaded")
    assert response.headers["Retry-After"]
    assert chat(client, model="tiny").status_code == 200
    ingress._gate.leave("pirate")
    engine.error = RuntimeError(SECRET)
    assert chat(client).status_code == 500
    engine.error = None
    assert chat(client).status_code == 200, "a failed request gave its place back"


@pytest.mark.parametrize("error", [RuntimeError(f"Traceback: {SECRET}"), KeyError(SECRET), OSError(SECRET)])
def test_what_went_wrong_inside_stays_inside(persona, error):
    client, engine, _ = start(persona)
    engine.error = error
    response = chat(client)
    assert response.status_code == 500
    assert SECRET not in response.text
    assert "Traceback" not in response.text


def test_a_large_body_is_refused_whether_or_not_it_is_announced(persona):
    client, _, _ = start(persona, max_request_bytes=2048)
    assert chat(client, messages=[{"role": "user", "content": "x" * 3000}]).status_code == 413
    pieces = (b"x" * 1000 for _ in range(5))
    assert client.post("/v1/chat/completions", content=pieces).status_code == 413
    assert chat(client, messages=[{"role": "user", "content": "x" * 1500}]).status_code == 200


@pytest.mark.parametrize("with_text", [False, True])
def test_the_audit_log_holds_text_only_when_asked(persona, tmp_path, with_text):
    client, _, _ = start(persona, audit=tmp_path / "audit", audit_text=with_text)
    chat(client, messages=[{"role": "user", "content": "a private matter"}])
    chat(client, model="nobody")
    (path,) = (tmp_path / "audit").iterdir()
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["persona"], first["status"], first["tokens"]) == ("pirate", 200, 3)
    assert (second["persona"], second["status"]) == ("unknown", 404)
    assert ("a private matter" in path.read_text()) is with_text


@pytest.mark.parametrize(
    "scored", [{"prompt_logprobs": 0}, {"prompt_logprobs": 5}, {"echo": True, "logprobs": True, "top_logprobs": 1}]
)
def test_only_a_key_that_may_has_given_text_scored(persona, scored):
    named = {"may": True, "may-not": False}
    keys = tuple(
        ApiKey(name=name, sha256=hashlib.sha256(name.encode()).hexdigest(), scores=scores)
        for name, scores in named.items()
    )
    client, _, _ = start(persona, keys=keys)
    client.headers["Authorization"] = "Bearer may-not"
    assert chat(client).status_code == 200
    refused = chat(client, **scored)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "scoring_not_allowed")
    plain = {"model": "pirate", "prompt": "hi", "echo": True, "logprobs": 0}
    assert client.post("/v1/completions", json=plain).status_code == 403
    client.headers["Authorization"] = "Bearer may"
    assert chat(client, **scored).status_code == 200


def test_a_candidate_is_there_for_a_key_or_a_recipe_that_allows_it_and_what_was_replaced_for_all(persona):
    def version(weights: str, status: str) -> Persona:
        manifest = persona.manifest.model_copy(update={"weights_hash": weights * 16})
        return Persona(manifest, Path(SECRET), status=status)  # type: ignore[arg-type]

    keys = tuple(
        ApiKey(name=name, sha256=hashlib.sha256(name.encode()).hexdigest(), candidates=candidates)
        for name, candidates in {"may": True, "may-not": False}.items()
    )
    candidate, replaced = f"pirate-{'c' * 16}", f"pirate-{'d' * 16}"
    for given, allowed in ((keys, False), ((), False), ((), True)):
        client, _, ingress = start(persona, keys=given, candidates=allowed)
        versions = (version("c", "candidate"), version("d", "retired"))
        ingress._followed.now = dataclasses.replace(ingress._followed.now, versions=versions)
        client.headers["Authorization"] = "Bearer may-not"
        assert chat(client, model=replaced).json()["model"] == f"tiny:{replaced}"
        assert chat(client, model=candidate).status_code == (200 if allowed else 404)
        listed = client.get("/v1/models?versions=true").json()["data"]
        assert [card["id"] for card in listed][2:] == [f"tiny:{candidate}"] * allowed + [f"tiny:{replaced}"]
        assert len(client.get("/v1/models").json()["data"]) == 2
        client.headers["Authorization"] = "Bearer may"
        assert chat(client, model=candidate).status_code == (200 if given or allowed else 404)
        assert chat(client).json()["model"] == f"tiny:{persona.pinned}"


def words_as_vectors(texts: Sequence[str]) -> np.ndarray:
    """An encoder whose meaning is easily seen: one axis for each of four words, and one for all others."""
    rows = [[float(word in text.lower()) for word in ("sea", "sail", "garden", "rose")] for text in texts]
    vectors = np.array([[*row, float(not any(row))] for row in rows])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def two(persona: Persona) -> tuple[Persona, Persona]:
    """A pirate and a gardener who say what they are about."""
    pirate = persona.manifest.model_copy(update={"about": ["the sea", "sail the sea"]})
    poet = persona.manifest.model_copy(
        update={"slug": "poet", "weights_hash": "f" * 16, "about": ["a garden", "rose garden"]}
    )
    return Persona(pirate, Path(SECRET)), Persona(poet, Path(SECRET))


def chooser() -> PersonaChooser:
    return PersonaChooser(AutoConfig(), load=lambda: words_as_vectors)


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(texts)]


def test_auto_answers_as_the_persona_that_suits_the_conversation_and_says_who(two):
    client, _, _ = start(*two, chooser=chooser())
    response = chat(client, model="auto", messages=turns("Tell me of the rose in your garden"))
    assert response.json()["model"] == f"tiny:poet-{'f' * 16}"
    assert response.headers["X-Character-Ray-Persona"] == "poet"
    assert float(response.headers["X-Character-Ray-Confidence"]) > 0.5
    unsure = chat(client, model="auto", messages=turns("hello"))
    assert (unsure.json()["model"], unsure.headers["X-Character-Ray-Persona"]) == ("tiny", "tiny")
    assert "X-Character-Ray-Persona" not in chat(client).headers


def test_a_conversation_keeps_its_persona_when_it_turns_to_anothers_subject(two):
    client, _, _ = start(*two, chooser=chooser())
    said = ["hello", "Hello.", "I sail the sea", "Do you?", "and my garden has a rose, a rose!"]
    begun = chat(client, model="auto", messages=turns(*said[:3])).headers["X-Character-Ray-Persona"]
    later = chat(client, model="auto", messages=turns(*said)).headers["X-Character-Ray-Persona"]
    assert begun == later == "pirate"


def test_auto_chooses_only_among_what_a_key_may_ask_for(two):
    key = ApiKey(name="poet", sha256=hashlib.sha256(b"k").hexdigest(), personas=("poet",))
    client, _, _ = start(*two, chooser=chooser(), keys=(key,))
    assert chat(client, model="auto").status_code == 401
    client.headers["Authorization"] = "Bearer k"
    assert chat(client, model="auto", messages=turns("a rose garden")).headers["X-Character-Ray-Persona"] == "poet"
    refused = chat(client, model="auto", messages=turns("sail the sea"))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
    assert "pirate" not in refused.text


def test_auto_is_listed_and_known_only_where_it_is_switched_on(two):
    on, _, _ = start(*two, chooser=chooser())
    off, _, _ = start(*two)
    assert [card["id"] for card in on.get("/v1/models").json()["data"]] == ["tiny", "tiny:pirate", "tiny:poet", "auto"]
    assert on.get("/v1/models/auto").status_code == 200
    assert (chat(off, model="auto").status_code, off.get("/v1/models/auto").status_code) == (404, 404)
    assert "auto" not in off.get("/v1/models").text


def test_the_audit_log_knows_who_was_chosen_and_that_it_was_a_choice(two, tmp_path):
    client, _, _ = start(*two, chooser=chooser(), audit=tmp_path)
    chat(client, model="auto", messages=turns("sail the sea"))
    chat(client)
    (path,) = tmp_path.iterdir()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["persona"], line["auto"]) for line in lines] == [("pirate", True), ("pirate", False)]


def test_choices_have_so_many_places_and_give_them_back(two):
    client, _, ingress = start(*two, chooser=chooser(), max_persona_requests=1)
    assert ingress._gate.enter("auto") is None
    assert chat(client, model="auto").status_code == 429
    ingress._gate.leave("auto")
    assert [chat(client, model="auto").status_code for _ in range(2)] == [200, 200]
    assert not any(ingress._gate.ongoing.values())


def test_an_encoder_that_does_not_load_is_an_error_in_the_log_and_stays_inside(two):
    def broken():
        raise OSError(SECRET)

    client, _, _ = start(*two, chooser=PersonaChooser(AutoConfig(), load=broken))
    response = chat(client, model="auto")
    assert response.status_code == 500
    assert SECRET not in response.text
    assert chat(client).status_code == 200


def test_no_persona_may_be_named_auto(persona):
    taken = Persona(persona.manifest.model_copy(update={"slug": "auto"}), Path("folder"))
    with pytest.raises(AdapterError, match="folder: the persona is named auto"):
        Catalogue("tiny", "h", (taken,))


def _value(draw: random.Random, depth: int = 0) -> Any:
    texts = ["", "pirate", "tiny:pirate", "../../etc/passwd", "<|im_start|>system", "\x00", "\ud800", "é" * 9, "auto"]
    kinds = ["text", "int", "float", "none", "bool"] + (["list", "dict"] if depth < 3 else [])
    match draw.choice(kinds):
        case "text":
            return draw.choice(texts)
        case "int":
            return draw.choice([-1, 0, 1, 17, 2**31, 2**70])
        case "float":
            return draw.choice([0.5, -1e308, float("inf"), float("nan")])
        case "none":
            return None
        case "bool":
            return draw.random() < 0.5
        case "list":
            return [_value(draw, depth + 1) for _ in range(draw.randrange(4))]
        case _:
            keys = ["role", "content", "type", "text", "image_url", "name", "tool_calls", "x"]
            return {draw.choice(keys): _value(draw, depth + 1) for _ in range(draw.randrange(4))}


def _body(draw: random.Random) -> bytes:
    if draw.random() < 0.1:
        return draw.randbytes(draw.randrange(64))
    fields = ["model", "messages", "prompt", "n", "stream", "max_tokens", "temperature", "tools", "stop", "logprobs"]
    fields += ["response_format", "chat_template", "chat_template_kwargs", "documents", "seed", "unheard_of"]
    good: dict[str, Any] = {"model": "pirate", "messages": [{"role": "user", "content": "hi"}], "prompt": "hi"}
    body = good | {draw.choice(fields): _value(draw) for _ in range(draw.randrange(1, 4))}
    data = json.dumps(body).encode()
    return data[: draw.randrange(len(data))] if draw.random() < 0.1 else data


def test_ten_thousand_malformed_requests_crash_nothing_and_show_no_trace(persona):
    client, _, ingress = start(persona, chooser=chooser())
    draw, statuses = random.Random(7), set()
    for number in range(NUM_FUZZED):
        path = draw.choice(["/v1/chat/completions", "/v1/completions"])
        body = _body(draw)
        response = client.post(path, content=body, headers={"content-type": "application/json"})
        statuses.add(response.status_code)
        assert response.status_code < 500, (number, path, body, response.text)
        if response.status_code != 200:
            error = response.json()["error"]
            assert error["message"], body
            assert error["code"], body
        assert "Traceback" not in response.text
        assert SECRET not in response.text
    assert {200, 400, 404} <= statuses
    assert not any(ingress._gate.ongoing.values())
