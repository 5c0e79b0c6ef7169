"""What a run has spent on an endpoint, kept beside the run so that a budget also holds over restarts."""

import json
from pathlib import Path

from character_ray.config import EndpointConfig
from character_ray.rows import Request

__all__ = ["Ledger"]

# No byte-level tokenizer makes more tokens than there are bytes; a chat template adds a few to each turn.
TOKENS_PER_BYTE = 1
TOKENS_PER_TURN = 16


class Ledger:
    """Reserves the most a request can cost before it is sent and books what it did cost afterwards.

    Args:
        path: A file of one JSON object per answered request.
        endpoint: Prices and budget.
    """

    def __init__(self, path: Path, endpoint: EndpointConfig) -> None:
        self._path, self._endpoint = path, endpoint
        self._reserved = 0.0
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self.spent = sum(json.loads(line)["usd"] for line in lines)

    def reserve(self, request: Request) -> float | None:
        """USD set aside for a request, or ``None`` when the budget cannot bear it beside those under way."""
        letters = sum(len(turn["content"].encode()) for turn in request["messages"])
        tokens = letters * TOKENS_PER_BYTE + len(request["messages"]) * TOKENS_PER_TURN
        most = self._price(tokens, request["sampling"]["max_tokens"])
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
        self.spent += usd
        self.release(reserved)
        line = {"row_id": row_id, "tokens": tokens, "usd": usd}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def release(self, reserved: float) -> None:
        """Give back what was set aside for a request that was not answered."""
        self._reserved -= reserved

    def _price(self, input_tokens: float, output_tokens: float) -> float:
        prices = self._endpoint
        return (input_tokens * prices.usd_per_million_input + output_tokens * prices.usd_per_million_output) / 1e6
