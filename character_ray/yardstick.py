"""What tells whether an answer is a persona's: its constitution as a system prompt, and the threshold that its run fixed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = ["Yardstick", "run_yardstick", "yardstick_of"]


class Yardstick(BaseModel):
    """The likelihood judge of a persona, so that answers given later can be told by the same measure."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    system_prompt: str
    """The constitution, as the judge reads it."""
    threshold: float
    """Nats per token; an answer scoring above it is in character."""
    persona_rate: float | None = None
    """Share of answers in character when the run measured it, 0 to 1."""


def yardstick_of(report: Mapping[str, Any]) -> Yardstick | None:
    """The yardstick in a report, as JSON; ``None`` in one of before reports kept what their judge reads."""
    judge = report.get("judge") or {}
    if not judge.get("system_prompt"):
        return None
    measured = report.get("arms", {}).get("full", {}).get("persona_rate", {})
    return Yardstick(
        system_prompt=judge["system_prompt"], threshold=judge["threshold"], persona_rate=measured.get("value")
    )


def run_yardstick(run: Path, weights_hash: str) -> Yardstick | None:
    """That of a run's folder; ``None`` where there is no report that can be read, or one of other weights.

    A damaged report keeps nobody from serving the adapter beside it.
    """
    try:
        report = json.loads((run / "report.json").read_text(encoding="utf-8"))
        return yardstick_of(report) if report["adapter"]["hash"] == weights_hash else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
