"""What has been spent on an endpoint, kept in a file so that a budget also holds over restarts."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from character_ray.config import EndpointConfig
from character_ray.rows import Request

__all__ = ["Ledger"]

# No byte-level tokenizer makes more tokens than there are bytes; a chat template adds a few to each turn.
TOKENS_PER_BYTE = 1
TOKENS_PER_TURN = 16


class Ledger:
    """Reserves the most a request can cost before it is sent and books what it did cost afterwards.

    A line of which only a part was written, by a run that was killed or a disk that was full, counts as the dearest request known.

    Args:
        path: A file of one JSON object per answered request; one process at a time writes to it.
        endpoint: Prices and budget.
    """

    def __init__(self, path: Path, endpoint: EndpointConfig) -> None:
        self._path, self._endpoint = path, endpoint
        self._reserved = 0.0
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        # The next line must not go on where a torn one ends.
        self._before = "\n" if text and not text.endswith("\n") else ""
        lines = [_read(line) for line in text.splitlines()]
        booked = [line for line in lines if line is not None]
        self._booked = float(sum(line["usd"] for line in booked))
        self._torn = len(lines) - len(booked)
        self._dearest = max((float(line.get("reserved", line["usd"])) for line in booked), default=0.0)

    @property
    def spent(self) -> float:
        """USD that were booked, torn lines at the most they can have said."""
        return self._booked + self._torn * self._dearest

    def reserve(self, request: Request) -> float | None:
        """USD set aside for a request, or ``None`` when the budget cannot bear it beside those under way."""
        letters = sum(len(turn["content"].encode()) for turn in request["messages"])
        tokens = letters * TOKENS_PER_BYTE + len(request["messages"]) * TOKENS_PER_TURN
        most = self._price(tokens, request["sampling"]["max_tokens"])
        self._dearest = max(self._dearest, most)
        budget = self._endpoint.budget_usd
        if budget is not None and self.spent + self._reserved + most > budget:
            return None
        self._reserved += most
        return most

    def book(self, row_id: str, reserved: float, tokens: tuple[int, int] | None) -> None:
        """Write down what an answered request cost.

        Args:
            row_id: The request.
            reserved: What was set aside for it.
            tokens: Prompt and completion tokens; where the endpoint does not say, the request is booked at all that was set aside.
        """
        usd = reserved if tokens is None else self._price(*tokens)
        self._booked += usd
        self.release(reserved)
        line = {"row_id": row_id, "tokens": tokens, "usd": usd, "reserved": reserved}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(f"{self._before}{json.dumps(line)}\n")
        self._before = ""

    def release(self, reserved: float) -> None:
        """Give back what was set aside for a request that was not answered."""
        self._reserved -= reserved

    def _price(self, input_tokens: float, output_tokens: float) -> float:
        prices = self._endpoint
        return (input_tokens * prices.usd_per_million_input + output_tokens * prices.usd_per_million_output) / 1e6


def _read(line: str) -> dict[str, Any] | None:
    """A line of the ledger; ``None`` where it was not written to its end."""
    with suppress(ValueError):
        found = json.loads(line)
        if isinstance(found, dict) and isinstance(found.get("usd"), int | float):
            return found
    return None
