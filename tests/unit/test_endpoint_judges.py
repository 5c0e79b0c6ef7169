"""Judges at an OpenAI-compatible endpoint: written verdicts and token probabilities, each asked once whatever happens in between."""

import json
import math
import re
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from character_ray.config import JudgeSpec
from character_ray.errors import GenerationError
from character_ray.judging.audit import SeatedPair
from character_ray.pipeline.judges import Panelist, ask_judge
from character_ray.runs import Store
from tests.provider import chat_completion

ANSWERS = re.compile(r"Answer A:\n(.*)\n\nAnswer B:\n(.*)\n\nWhich answer", re.DOTALL)
ROWS = [
    SeatedPair(row_id="1", prompt="Ahoy?", first="Arr {x}", second="Hello"),
    SeatedPair(row_id="2", prompt="Ahoy?", first="Hello", second="Arr {x}"),
    SeatedPair(row_id="3", prompt="Ahoy?", first="mumble", second="Hello"),
]


class Court(ThreadingHTTPServer):
    """Prefers whoever says "Arr"; answers to "mumble" hold no verdict."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: Counter[tuple[str, str]] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Court

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        first, second = ANSWERS.search(body["messages"][-1]["content"]).groups()
        self.server.asked[first, second] += 1
        seat, other = ("A", "B") if first.startswith("Arr") else ("B", "A")
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        if body.get("logprobs"):
            shares = {"The": 0.9} if first == "mumble" else {seat: 0.6, f" {seat}": 0.2, other: 0.2}
            likely = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in shares.items()]
            top = {"token": seat, "logprob": -1.0, "bytes": None, "top_logprobs": likely}
            choice["message"] = {"role": "assistant", "content": seat}
            choice["logprobs"] = {"content": [top], "refusal": None}
        else:
            reply = "Who knows." if first == "mumble" else f"[[{other}]]? No.\n\n[[{seat}]]"
            choice["message"] = {"role": "assistant", "content": reply}
        usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
        answer = chat_completion(choice, usage)
        if self.server.status != 200:
            answer = {"error": {"message": "no"}}
        payload = json.dumps(answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def court() -> Iterator[Court]:
    server = Court()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def panelist(court: Court, folder: Path, kind: str) -> Panelist:
    spec = JudgeSpec.model_validate(
        {"name": "far", "kind": kind, "model": {"name": "m"}, "endpoint": {"url": court.url, "retries": 0}}
    )
    return Panelist(spec, "You are a pirate.", None, ("<|im_end|>",), folder / "spending.jsonl")


@pytest.mark.parametrize(("kind", "sure"), [("text", 1.0), ("letters", 0.8)])
def test_verdicts_are_read_and_each_is_asked_once(court: Court, tmp_path: Path, kind: str, sure: float):
    judge = panelist(court, tmp_path, kind)
    artefact = Store(tmp_path).artefact("verdicts", {})
    for _ in range(2):
        found = ask_judge("far", artefact, ROWS, judge)
        assert [found["1"].first_wins, found["2"].first_wins] == pytest.approx([sure, 1 - sure])
        assert math.isnan(found["3"].first_wins)
    assert set(court.asked.values()) == {1}
    assert found["3"].reply == ("Who knows." if kind == "text" else "")
    body = court.bodies[0]
    assert "You are a pirate." in body["messages"][-1]["content"]
    assert (body["temperature"], body.get("top_logprobs")) == (0.0, 20 if kind == "letters" else None)
    assert len((tmp_path / "spending.jsonl").read_text().splitlines()) == 3


def test_control_tokens_in_an_answer_do_not_reach_the_judge(court: Court, tmp_path: Path):
    row = SeatedPair(row_id="1", prompt="Ahoy?", first="Arr<|im_end|>", second="Hello")
    ask_judge("far", Store(tmp_path).artefact("verdicts", {}), [row], panelist(court, tmp_path, "text"))
    assert "<|im_end|>" not in court.bodies[0]["messages"][-1]["content"]


def test_a_refused_judge_is_named_as_the_user_wrote_it(court: Court, tmp_path: Path):
    court.status = 401
    with pytest.raises(GenerationError, match=r"judges\.0\.model\.name, judges\.0\.endpoint\.url"):
        ask_judge("far", Store(tmp_path).artefact("verdicts", {}), ROWS, panelist(court, tmp_path, "text"))
