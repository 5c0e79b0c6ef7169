"""The record of a benchmark: its ratios, what they were made of, and how to make them again."""

import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from character_ray.pipeline.hardware import hardware, versions

__all__ = ["write_record"]


def write_record(
    output: Path,
    module: str,
    ratios: Mapping[str, float],
    arms: Mapping[str, Sequence[float]],
    units: Mapping[str, str],
    settings: Mapping[str, Any],
    **more: Any,
) -> None:
    """Write the record and print the ratios.

    Args:
        output: The JSON file.
        module: The benchmark, such as ``benchmarks.bench_training``, for the command.
        ratios: By name: R1, R2, ...
        arms: Every repeat of every arm.
        units: What the numbers of a ratio's arms are.
        settings: Arguments and configuration.
        more: Further sections, such as gates.
    """
    record = {
        "ratios": ratios,
        "arms": {name: {"median": statistics.median(values), "repeats": values} for name, values in arms.items()},
        "units": units,
        "settings": settings,
        **more,
        "versions": versions(),
        "hardware": hardware(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": " ".join([f"python -m {module}", *sys.argv[1:]]),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")
    print(", ".join(f"{name} {value:.3f}" for name, value in ratios.items()), f"-> {output}")
