"""EleutherAI's evaluation harness on an arm: an optional dependency, run as its own command."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from character_ray.errors import RecipeError

__all__ = ["check_harness", "harness_command", "read_harness", "run_harness"]


def check_harness(tasks: Sequence[str]) -> None:
    """Check that the harness is there when tasks of it are asked for.

    Raises:
        RecipeError: It is not installed.
    """
    if tasks and importlib.util.find_spec("lm_eval") is None:
        raise RecipeError(
            f"evaluate.tax.lm_eval_tasks={', '.join(tasks)} needs the evaluation harness, which is not installed. "
            "Install it with `pip install lm-eval`, or remove lm_eval_tasks from the recipe."
        )


def harness_command(
    base: Path,
    adapter: Path | None,
    tasks: Sequence[str],
    output: Path,
    *,
    device: str,
    dtype: str,
    seed: int,
    system_prompt: str = "",
    limit: int | None = None,
) -> list[str]:
    """The command that measures one arm (harness 0.4.10 or later).

    Args:
        base: Folder of the base model.
        adapter: PEFT folder, or ``None`` for the untrained weights.
        tasks: Names of the harness's tasks.
        output: Folder for its results.
        device: ``cpu`` or ``cuda``.
        dtype: Number format of the weights.
        seed: Seed of every draw the harness makes.
        system_prompt: The constitution, for the prompted arm.
        limit: Examples per task.
    """
    model = f"pretrained={base},dtype={dtype}" + (f",peft={adapter}" if adapter else "")
    command = [
        sys.executable,
        "-m",
        "lm_eval",
        "run",
        "--model",
        "hf",
        "--model_args",
        model,
        "--tasks",
        ",".join(tasks),
    ]
    command += ["--device", device, "--batch_size", "8", "--apply_chat_template", "--seed", str(seed)]
    command += ["--output_path", str(output)]
    command += ["--system_instruction", system_prompt] if system_prompt else []
    command += ["--limit", str(limit)] if limit else []
    return command


def run_harness(command: Sequence[str], output: Path) -> dict[str, dict[str, float]]:
    """Run the command and read what it wrote.

    Raises:
        RecipeError: The harness failed; the end of what it said is quoted.
    """
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RecipeError(
            f"the evaluation harness ended with status {ended.returncode}: {ended.stderr.strip()[-1500:]}\n"
            "Check the names in evaluate.tax.lm_eval_tasks (`lm_eval ls tasks` lists them) and that their data can be reached."
        )
    return read_harness(output)


def read_harness(output: Path) -> dict[str, dict[str, float]]:
    """Numbers by task and metric of the newest result below a folder, standard errors included.

    Raises:
        RecipeError: There is no result.
    """
    files = sorted(output.rglob("results_*.json"), key=lambda path: path.stat().st_mtime)
    if not files:
        raise RecipeError(
            f"{output}: the evaluation harness wrote no results_*.json. Run its command by hand to see why."
        )
    results: dict[str, dict[str, Any]] = json.loads(files[-1].read_text(encoding="utf-8"))["results"]
    return {
        task: {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
        for task, values in results.items()
    }
