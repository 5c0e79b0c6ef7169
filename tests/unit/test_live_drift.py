"""Live answers that are scored: which are taken, what the base reads, and what is counted. The base here is a stand-in."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from character_ray.adapters import BaseModelId, Manifest
from character_ray.config import DriftConfig
from character_ray.serving import drift as drift_module
from character_ray.serving.drift import DriftWatch, heard
from character_ray.serving.personas import Persona
from character_ray.yardstick import Yardstick, run_yardstick, yardstick_of

CONSTITUTION = "You are a captain."
USER = {"role": "user", "content": "Who are you?"}
EARLIER = [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": "Arr!"}]


def persona(*, yardstick: Yardstick | None) -> Persona:
    manifest = Manifest(
        persona="Captain",
        slug="captain",
        stage="full",
        base_model=BaseModelId(name="m", hash="h"),
        template_hash="t",
        constitution_hash="c",
        rank=8,
        weights_hash="0" * 16,
    )
    return Persona(manifest, Path("adapter"), yardstick=yardstick)


CAPTAIN = persona(yardstick=Yardstick(system_prompt=CONSTITUTION, threshold=0.5, persona_rate=0.9))


class Counts:
    """Metrics that can be read."""

    def __init__(self) -> None:
        self.verdicts: list[str] = []
        self.rates: list[float] = []
        self.answers = SimpleNamespace(inc=lambda tags: self.verdicts.append(tags["verdict"]))
        self.published_rate = SimpleNamespace(set=lambda value, tags: self.rates.append(value))


class Base:
    """Reads a token a word; with the constitution in the context an answer with "Arr" is likelier by a nat a token, others by none."""

    def __init__(self) -> None:
        self.read: list[list[dict[str, str]]] = []

    async def __call__(self, messages: Any, fields: Any) -> dict[str, Any]:
        self.read.append(list(messages))
        if "fails" in messages[-1]["content"]:
            raise RuntimeError("the engine is away")
        words = [word for turn in messages for word in (turn["role"], *turn["content"].split(), "end")]
        if messages[-1]["role"] == "user":
            return {"prompt_token_ids": [hash(word) for word in [*words, "assistant"]]}
        likelier = messages[0]["role"] == "system" and "Arr" in messages[-1]["content"]
        ids = [hash(word) for word in words]
        logprobs = [None, *({str(each): {"logprob": -2.0 + likelier}} for each in ids[1:])]
        return {"prompt_token_ids": ids, "prompt_logprobs": logprobs}


def watch(base: Base, *answers: str, waiting: int = 32) -> Counts:
    counts = Counts()

    async def follow() -> None:
        drift = DriftWatch(DriftConfig(share=1, waiting=waiting), base, counts)
        for text in answers:
            drift.offer(CAPTAIN, [{"role": "system", "content": "Be brief."}, *EARLIER, USER], text)
        task = asyncio.create_task(drift.follow())
        while len(counts.verdicts) < len(answers):
            await asyncio.sleep(0)
        task.cancel()

    asyncio.run(asyncio.wait_for(follow(), 10))
    return counts


def test_an_answer_is_judged_by_the_runs_own_threshold():
    base = Base()
    counts = watch(base, "Thus. </think> Arr, a captain!", "I am an assistant. </think> No captain.")
    assert counts.verdicts == ["in_character", "out_of_character"]
    assert counts.rates == [0.9, 0.9]
    # As the run did: without what was said before, under the constitution or under nothing, whatever the client's system prompt.
    assert [[turn["role"] for turn in chat] for chat in base.read[:4]] == [
        ["system", "user"],
        ["system", "user", "assistant"],
        ["user"],
        ["user", "assistant"],
    ]
    assert base.read[0][0]["content"] == CONSTITUTION and base.read[0][1] == USER
    assert base.read[1][-1]["content"] == "Arr, a captain!"


def test_what_cannot_be_scored_is_counted_and_ends_nothing():
    assert watch(Base(), "this fails", "Arr!").verdicts == ["not_scored", "in_character"]


def test_a_published_rate_is_told_again_while_nothing_is_scored(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(drift_module, "REPEAT_S", 0.001)
    counts = Counts()

    async def follow() -> None:
        drift = DriftWatch(DriftConfig(share=1), Base(), counts)
        drift.offer(CAPTAIN, [USER], "Arr!")
        task = asyncio.create_task(drift.follow())
        while len(counts.rates) < 4:
            await asyncio.sleep(0.001)
        task.cancel()

    asyncio.run(asyncio.wait_for(follow(), 10))
    assert counts.verdicts == ["in_character"]
    assert set(counts.rates) == {0.9}


def test_beyond_those_that_may_wait_answers_are_let_go():
    assert sorted(watch(Base(), "Arr!", "Arr!", "Arr!", waiting=1).verdicts) == ["in_character", "let_go", "let_go"]


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({}, True),
        ({"n": 2}, False),
        ({"tools": [{"type": "function"}]}, False),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}, False),
        ({"messages": [USER, {"role": "assistant", "content": "begun"}]}, False),
        ({"messages": None}, False),
    ],
)
def test_one_answer_to_a_chat_of_text_is_taken(change, taken):
    body = SimpleNamespace(**{"n": None, "tools": None, "messages": [USER], **change})
    drift = DriftWatch(DriftConfig(share=1), Base(), Counts())
    assert drift.takes(CAPTAIN, body) is taken
    assert not drift.takes(persona(yardstick=None), body) and not drift.takes(None, body)


def test_the_share_is_kept():
    body = SimpleNamespace(n=1, tools=None, messages=[USER])

    async def taken() -> int:
        drift = DriftWatch(DriftConfig(share=0.1, seed=3), Base(), Counts())
        return sum(drift.takes(CAPTAIN, body) for _ in range(1000))

    assert 70 < asyncio.run(taken()) < 130


def test_a_stream_passes_unchanged_and_its_text_is_told_at_its_end():
    pieces = [
        event({"role": "assistant", "content": ""}),
        event({"content": "Arr, "}) + event({"content": "me!"}),
        "data: [DONE]\n\n",
    ]
    said: list[str] = []

    async def listen() -> list[str]:
        async def stream():
            for piece in pieces:
                assert not said
                yield piece

        return [piece async for piece in heard(stream(), said.append)]

    assert asyncio.run(listen()) == pieces
    assert said == ["Arr, me!"]


def test_what_a_stream_said_before_it_broke_is_not_told():
    async def stream():
        yield event({"content": "Arr"})
        yield f"data: {json.dumps({'error': {'message': 'away'}})}\n\n"

    async def listen() -> None:
        async for _ in heard(stream(), lambda text: pytest.fail(text)):
            pass

    asyncio.run(listen())


def event(delta: dict[str, str]) -> str:
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]})}\n\n"


def test_a_run_tells_its_yardstick_of_its_own_weights_alone(tmp_path):
    report = {
        "adapter": {"hash": "a"},
        "judge": {"system_prompt": CONSTITUTION, "threshold": 0.2},
        "arms": {"full": {"persona_rate": {"value": 0.8}}},
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert run_yardstick(tmp_path, "a") == Yardstick(system_prompt=CONSTITUTION, threshold=0.2, persona_rate=0.8)
    assert run_yardstick(tmp_path, "b") is None and run_yardstick(tmp_path / "none", "a") is None
    assert yardstick_of({"judge": {"threshold": 0.2}}) is None


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"adapter": null}', '{"adapter": {"hash": "a"}, "judge": {"system_prompt": "x"}}']
)
def test_a_damaged_report_keeps_nobody_from_serving(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    assert run_yardstick(tmp_path, "a") is None
