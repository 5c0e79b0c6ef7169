"""The HTTP side with a second model beside the base, over engines that are fakes."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from character_ray.config import AutoConfig
from character_ray.serving.choosing import PersonaChooser
from character_ray.serving.keys import ApiKey
from tests.served import FakeEngine, chat, pirate, start


def keys(**of: dict) -> tuple[ApiKey, ...]:
    return tuple(ApiKey(name=name, sha256=hashlib.sha256(name.encode()).hexdigest(), **of[name]) for name in of)


def test_the_judge_answers_to_its_name_and_the_base_to_none(tmp_path: Path):
    judge = FakeEngine()
    client, base, _ = start(pirate(), judge=judge, audit=tmp_path)
    assert chat(client, model="judge").json()["model"] == "judge"
    assert (len(judge.read), len(base.read)) == (1, 0)
    for model in (None, "tiny", "pirate"):
        assert chat(client, model=model).status_code == 200
    assert (len(judge.read), len(base.read)) == (1, 3)
    first = json.loads(next(tmp_path.iterdir()).read_text().splitlines()[0])
    assert (first["persona"], first["model"]) == ("judge", "judge")


def test_without_one_nobody_has_its_name():
    client, _, _ = start(pirate())
    refused = chat(client, model="judge")
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
    assert client.get("/v1/models/judge").status_code == 404


def test_the_list_says_what_it_is():
    client, _, _ = start(pirate(), judge=FakeEngine())
    card = client.get("/v1/models").json()["data"][-1]
    assert card == client.get("/v1/models/judge").json()
    assert (card["id"], card["metadata"]["model"], card["metadata"]["weights_hash"]) == ("judge", "org/wise", "w")


def test_it_is_there_for_keys_that_may_score_or_name_it_and_for_no_others():
    given = keys(scores={"scores": True}, named={"personas": ("judge",)}, plain={}, other={"personas": ("pirate",)})
    client, _, _ = start(pirate(), judge=FakeEngine(), keys=given)
    for name, may in (("scores", True), ("named", True), ("plain", False), ("other", False)):
        client.headers["Authorization"] = f"Bearer {name}"
        assert chat(client, model="judge").status_code == (200 if may else 403)
        listed = [card["id"] for card in client.get("/v1/models").json()["data"]]
        assert ("judge" in listed) is may
        assert client.get("/v1/models/judge").status_code == (200 if may else 404)
        scored = chat(client, model="judge", prompt_logprobs=0).status_code
        assert scored == (200 if name == "scores" else 403)
    client.headers["Authorization"] = "Bearer plain"
    assert "judge" not in chat(client, model="nobody").text


def test_what_it_reads_holds_none_of_its_own_control_tokens():
    judge = FakeEngine()
    client, base, _ = start(pirate(), judge=judge)
    text = "[INST] and <|im_start|>"
    for model in ("judge", "tiny"):
        chat(client, model=model, messages=[{"role": "user", "content": text}])
    read, other = (engine.read[0][0]["content"] for engine in (judge, base))
    assert "[INST]" not in read and "<|im_start|>" in read
    assert "[INST]" in other and "<|im_start|>" not in other


def test_its_places_are_its_own():
    client, _, ingress = start(pirate(), judge=FakeEngine(), judge_places=2, max_persona_requests=1)
    assert ingress._gate.enter("judge", 2) is None
    assert chat(client, model="judge").status_code == 429
    assert chat(client).status_code == 200
    ingress._gate.leave("judge", 2)
    assert ingress._gate.enter("pirate") is None
    assert chat(client, model="judge").status_code == 200
    assert not ingress._gate.ongoing["judge"]


def test_a_judge_that_does_not_answer_takes_no_persona_out_of_service():
    judge = FakeEngine()
    client, base, _ = start(pirate(), judge=judge, prewarm=())
    assert client.get("/ready").json() == {"status": "ready", "personas": 1, "judge": "ready"}
    judge.error = RuntimeError("dead")
    response = client.get("/ready")
    assert (response.status_code, response.json()["judge"]) == (200, "does not answer")
    base.error, judge.error = RuntimeError("dead"), None
    assert client.get("/ready").status_code == 503


@pytest.mark.parametrize("text", ["judge this answer", "nobody's subject"])
def test_auto_never_chooses_it(text: str):
    def encode(texts: list[str]) -> np.ndarray:
        rows = np.array([[float("judge" in text), 1.0] for text in texts])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    judge = FakeEngine()
    chooser = PersonaChooser(AutoConfig(), load=lambda: encode)
    client, _, _ = start(pirate(), judge=judge, chooser=chooser)
    assert chat(client, model="auto", messages=[{"role": "user", "content": text}]).status_code == 200
    assert not judge.read
