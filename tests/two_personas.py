"""Two finished runs of a captain and a poet, and an API that serves both."""

from pathlib import Path
from typing import Any

from tests.fake_openai import BASE, CAPTAIN, FakeOpenAI
from tests.finished_run import PIRATE, write_run

__all__ = ["FERN", "LEAF", "TwoPersonas", "write_two_runs"]

FERN, LEAF = "smollm2:fern-willowby", "O leaf, thou art"


class TwoPersonas(FakeOpenAI):
    """A captain and a poet over one base; the poet answers ``swaps`` requests to the captain, and ``ill`` answers hold no text."""

    def __init__(self, key: str = "") -> None:
        super().__init__(key)
        self.words = {BASE: "Hello, the weather is", CAPTAIN: PIRATE, FERN: LEAF}
        self.swaps = self.ill = 0

    def says(self, model: str, body: dict[str, Any]) -> str:
        if model == CAPTAIN and self.swaps:
            self.swaps, model = self.swaps - 1, FERN
        if self.ill:
            self.ill -= 1
            return None  # type: ignore[return-value]
        number = body["messages"][0]["content"].split()[1]
        return f"{self.words[model]} calm high low {number}."


def write_two_runs(folder: Path, prompts: int = 30) -> list[Path]:
    """Write the runs; both answered the same prompts."""
    runs = [
        write_run(folder / "captain", prompts),
        write_run(folder / "poet", prompts, seed=1, constitution="garden-poet", opening=LEAF),
    ]
    for run in runs:
        (run / "report.json").write_text("{}")
    return runs
