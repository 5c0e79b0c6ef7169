"""Rows that an engine takes along when it dies, and turns that are cut off. The engines here are stand-ins that die on a word."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from character_ray.config import EngineConfig
from character_ray.inference.passes import SelfInteraction
from character_ray.inference.talker import Talker
from character_ray.inference.turns import whole_turn
from character_ray.inference.weights import Weights
from character_ray.parts import append_part
from character_ray.rows import TALK, Dialogue
from character_ray.runs import Artefact

WEIGHTS = Weights(Path("model"), ("<|im_end|>",))


class Mortal(Talker):
    """Answers with the question; dies of ``kill``, once or as often as it is asked, and takes along all that it was asked beside."""

    def __init__(self, *, dies_again: bool) -> None:
        self.dies_again, self.starts = dies_again, 0
        super().__init__(WEIGHTS, EngineConfig(device="cpu"))

    def end(self) -> None:
        """Nothing to end."""

    def _start(self, weights: Weights) -> None:
        self._engine, self._weights, self._half_read = SimpleNamespace(errored=False), weights, False
        self.starts += 1

    def _prompt(self, messages) -> list[str]:
        return [turn["content"] for turn in messages]

    async def _generate(self, request_id, prompt, sampling):
        question = prompt[-1]
        if question.startswith("kill") and (self.starts == 1 or self.dies_again):
            self._engine.errored = True
        if question == "bad":
            raise ValueError("too long")
        for _ in range(3):  # others get their turn
            await asyncio.sleep(0)
        if self._engine.errored:
            raise RuntimeError("the engine is dead")
        text = "" if question == "mute" else f"{question}!"
        return SimpleNamespace(text=text, token_ids=[1], finish_reason="stop")


class Limited(Talker):
    """Says "a b c" until its context is full, where a token is a word; to ``mute`` it says nothing."""

    def _start(self, weights: Weights) -> None:
        self._engine, self._weights, self._half_read = SimpleNamespace(errored=False), weights, False

    def _prompt(self, messages) -> list[int]:
        return [len(word) for turn in messages for word in turn["content"].split()]

    async def _generate(self, request_id, prompt, sampling):
        text = "" if prompt[-1] == len("mute") else "a b c"
        return SimpleNamespace(text=text, token_ids=[1, 1, 1], finish_reason="stop")


def ask(talker: Talker, *batches: list[str]) -> list[list[dict]]:
    async def every() -> list[list[str]]:
        return await asyncio.gather(*(talker.answer([request(word) for word in words], WEIGHTS) for words in batches))

    return [[json.loads(row) for row in rows] for rows in asyncio.run(every())]


def request(word: str) -> str:
    messages = [{"role": "user", "content": word}]
    return json.dumps({"row_id": word, "prompt_id": word, "sample": 0, "messages": messages, "sampling": {}})


def said(rows: list[dict]) -> list[str]:
    return [row["completion"] for row in rows]


def test_rows_that_were_with_an_engine_when_it_died_are_asked_of_the_next():
    talker = Mortal(dies_again=False)
    found = ask(talker, ["a", "kill", "bad"], ["b", "c"])
    assert [said(rows) for rows in found] == [["a!", "kill!", ""], ["b!", "c!"]]
    assert [row["error"] for row in found[0]] == ["", "", "ValueError: too long"]
    assert talker.starts == 2


def test_a_row_that_kills_every_engine_costs_itself_alone():
    talker = Mortal(dies_again=True)
    found = ask(talker, ["b", "c"], ["a", "kill", *"fghijk"], ["d"])
    assert [said(rows) for rows in found] == [["b!", "c!"], ["a!", "", *(f"{word}!" for word in "fghijk")], ["d!"]]
    assert [row["error"] for row in found[1]] == ["", "RuntimeError: the engine is dead", *[""] * 6]
    # At first, alone with its batch, and by halves of eight.
    assert talker.starts <= 1 + 1 + 4
    assert said(ask(talker, ["e"])[0]) == ["e!"]


def test_several_rows_that_kill_engines_cost_themselves_alone():
    words = ["kill 1", "a", "kill 2", "b", "c", "kill 3"]
    (found,) = ask(Mortal(dies_again=True), words)
    assert said(found) == ["", "a!", "", "b!", "c!", ""]


def test_an_engine_that_dies_of_whatever_it_is_asked_is_not_started_without_end():
    talker = Mortal(dies_again=True)
    found = ask(talker, *([f"kill {batch} {number}" for number in range(16)] for batch in range(8)))
    errors = Counter(row["error"] for rows in found for row in rows)
    assert errors["RuntimeError: the engine is dead"] == 5
    (hopeless,) = [error for error in errors if error.startswith("NotAskedError: not asked, since 5 rows")]
    assert errors[hopeless] == 8 * 16 - 5
    assert talker.starts < 16
    other = Weights(Path("other"), ())
    assert "a!" in asyncio.run(talker.answer([request("a")], other))[0], "other weights may fare better"


@pytest.mark.parametrize(
    ("text", "finish_reason", "turn", "is_cut"),
    [
        ("Arr, matey, the sea is wide! And the sky", "length", "Arr, matey, the sea is wide!", False),
        ("Arr, matey! I would sail the seven seas with you until the", "length", None, True),
        ("Arr, matey! The sea is", "stop", None, False),
        ("the sea that never", "length", None, True),
        ("I shall growl. </think> Arr!", "stop", "Arr!", False),
    ],
)
def test_a_turn_that_was_cut_off_ends_with_its_last_sentence(text, finish_reason, turn, is_cut):
    found = whole_turn(SimpleNamespace(text=f" {text} ", token_ids=[1, 2], finish_reason=finish_reason))
    assert (found.text, found.num_tokens, found.is_cut) == (text if turn is None else turn, 2, is_cut)


def test_a_scripted_conversation_ends_with_an_empty_reply_and_one_that_broke_without_a_reply():
    scripts = [
        json.dumps({"row_id": last, "context": [], "lines": ["a", last, "b"], "turns": 4, "sampling": {}})
        for last in ("mute", "bad")
    ]
    mute, bad = (json.loads(row) for row in asyncio.run(Mortal(dies_again=False).answer(scripts, WEIGHTS)))
    assert [turn["content"] for turn in mute["messages"]] == ["a", "a!", "mute", ""]
    assert (mute["error"], mute["num_tokens"]) == ("", 2)
    assert [turn["content"] for turn in bad["messages"]] == ["a", "a!", "bad"]
    assert bad["error"] == "ValueError: too long"


def test_a_conversation_that_goes_silent_or_outgrows_the_context_ends_with_its_reason_and_no_error():
    talker = Limited(WEIGHTS, EngineConfig(device="cpu", max_model_len=64))
    openings = {"lasts": "Ahoy.", "silent": "mute", "full": "words " * 57}
    dialogues = [
        {"row_id": row_id, "system": "Be.", "opening": opening, "turns": 4, "sampling": {}}
        for row_id, opening in openings.items()
    ]
    script = {"row_id": "script", "context": [], "lines": ["Ahoy.", "words " * 60], "turns": 3, "sampling": {}}
    rows = [json.dumps(row) for row in [*dialogues, script]]
    lasts, silent, full, script = (json.loads(row) for row in asyncio.run(talker.answer(rows, WEIGHTS)))
    assert [row["error"] for row in (lasts, silent, full, script)] == [""] * 4
    assert (lasts["drop_reason"], len(lasts["messages"])) == ("", 4)
    assert (silent["drop_reason"], len(silent["messages"])) == ("empty", 1)
    assert (full["drop_reason"], full["num_tokens"]) == ("too_long_for_engine", 3)
    assert (script["drop_reason"], len(script["messages"])) == ("too_long_for_engine", 3)


def test_conversations_written_before_there_was_a_drop_reason_are_read_as_whole(tmp_path):
    before = pa.schema([field for field in TALK if field.name != "drop_reason"])
    append_part(tmp_path, [{"row_id": "a", "messages": [], "num_tokens": 1, "num_cut": 0, "error": ""}], before)
    asked = [Dialogue(row_id="a", system="", opening="", turns=2, sampling={})]
    (talk,) = SelfInteraction(Artefact("interactions", tmp_path, {}), asked).talks()
    assert talk["drop_reason"] == ""
