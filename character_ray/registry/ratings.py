"""The headline figures of a run's report, as a registry and a server tell them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["ratings_of", "run_ratings"]

KEPT = ("persona_rate", "hidden_trait_rate", "identity_rate", "looping_rate", "rating")


def ratings_of(report: Mapping[str, Any]) -> dict[str, float]:
    """The figures of the arm ``full`` in a report, as JSON; those that could not be measured are left out."""
    measured = report["arms"].get("full", {})
    found = {name: measured[name]["value"] for name in KEPT if name in measured}
    return {name: float(value) for name, value in found.items() if value is not None}


def run_ratings(run: Path, weights_hash: str) -> dict[str, float]:
    """Those of a run's folder; empty where there is no report that can be read, or one of other weights."""
    try:
        report = json.loads((run / "report.json").read_text(encoding="utf-8"))
        return ratings_of(report) if report["adapter"]["hash"] == weights_hash else {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
