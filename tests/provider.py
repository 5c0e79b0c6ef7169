"""A model's provider for tests of endpoints: it counts what it is asked, and refuses, stays silent or errs where a test says so."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from character_ray.config import EndpointConfig, SamplingConfig
from character_ray.inference.passes import Generation
from character_ray.inference.remote import generate_remotely
from character_ray.rows import Message
from character_ray.runs import Store
from character_ray.stages.requests import build_request

__all__ = ["INPUT_TOKENS", "OUTPUT_TOKENS", "Provider", "ask", "chat_completion", "spent", "wanted"]

INPUT_TOKENS, OUTPUT_TOKENS = 20, 10


def chat_completion(choice: dict[str, Any], usage: dict[str, int]) -> dict[str, Any]:
    """An answer of the chat API with one choice."""
    head = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
    return head | {"choices": [choice], "usage": usage}


class Provider(ThreadingHTTPServer):
    """Answers each chat with its last message, except where a test says otherwise."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[dict[str, Any]] = []
        self.starts: list[float] = []
        self.refuse: dict[str, list[int]] = {}
        """Status codes a text is refused with before it is answered."""
        self.always: int | None = None
        self.error: dict[str, str] = {}
        """Further fields of the error that a refusal tells."""
        self.slow: dict[str, float] = {}
        """Seconds before a text is answered."""
        self.tells_usage = True
        self.silent: dict[str, int] = {}
        """How many tries of a text get no answer while the server runs; ``breaks_off`` ends the connection instead."""
        self.breaks_off = False
        self.when_silent: Callable[[], None] = lambda: None
        self.ends = threading.Event()
        self.instead: dict[str, tuple[str, bytes]] = {}
        """Content type and body that a text is answered with, at status 200; that of "" answers every other."""

    @contextmanager
    def running(self) -> Iterator["Provider"]:
        """Answer while the block runs."""
        threading.Thread(target=self.serve_forever, daemon=True).start()
        yield self
        self.ends.set()
        self.shutdown()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def asked(self) -> Counter[str]:
        return Counter(body["messages"][-1]["content"] for body in self.bodies)


class _Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_POST(self) -> None:
        self.server.starts.append(time.monotonic())
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"]
        self.server.bodies.append(body)
        if self.server.silent.get(text, 0):
            self.server.silent[text] -= 1
            self.server.when_silent()
            if not self.server.breaks_off:
                self.server.ends.wait(60)
            self.close_connection = True
            return
        refusals = self.server.refuse.get(text, [])
        status = self.server.always or (refusals.pop(0) if refusals else 200)
        answer: dict[str, Any] = {"error": {"message": f"status {status}"} | self.server.error}
        if status == 200:
            time.sleep(self.server.slow.get(text, 0.0))
            message = {"role": "assistant", "content": f"Aye, {text}"}
            usage = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS, "total_tokens": 30}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            answer = chat_completion(choice, usage)
            if not self.server.tells_usage:
                del answer["usage"]
        instead = self.server.instead.get(text) or self.server.instead.get("")
        kind, payload = instead or ("application/json", json.dumps(answer).encode())
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(payload)))
        if status == 429:
            self.send_header("Retry-After", "0.01")
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        pass


def wanted(folder: Path, rows: int = 12) -> Generation:
    """So many requests, each with a text of its own."""
    sampling = SamplingConfig(max_tokens=OUTPUT_TOKENS)
    requests = [
        build_request("test", str(n), [Message(role="user", content=f"word {n}")], sampling, seed=0)
        for n in range(rows)
    ]
    return Generation(Store(folder).artefact("teacher", {"rows": rows}), requests)


def ask(generation: Generation, folder: Path, endpoint: EndpointConfig) -> None:
    """Let the endpoint answer; the ledger lies in the folder."""
    generate_remotely("teacher", [generation], "big-model", endpoint, folder / "spending.jsonl")


def spent(folder: Path) -> float:
    """USD in the ledger of the folder."""
    lines = (folder / "spending.jsonl").read_text().splitlines()
    return sum(json.loads(line)["usd"] for line in lines)
