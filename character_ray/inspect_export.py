"""A run's evaluation as logs that Inspect AI reads: its viewer, its ``read_eval_log`` and its data frames.

    runs/<name>/answers.parquet, report.json, run.json  ->  <folder>/<time>_<persona>_<arm>.json    log format 2, one per arm

Written from the format's description, with no need of Inspect itself. Every answer is a sample, a probe's repetitions are epochs. The
scores are the likelihood ratio and whether it is above the run's threshold; the arm's metrics of the report, with their intervals, are
in the log's metadata.
"""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from character_ray.config import ARMS, Recipe
from character_ray.constitution import (
    Constitution,
    check_unedited,
    load_constitution,
    prompted_messages,
    teacher_messages,
)
from character_ray.errors import ReportError
from character_ray.parts import read_rows
from character_ray.rows import Answer, Message, content_hash

__all__ = ["LOG_VERSION", "export_logs"]

LOG_VERSION = 2
"""Version of Inspect's log format that is written; read with inspect-ai 0.3.285."""


def export_logs(run: Path, folder: Path) -> dict[str, int]:
    """Write one log per arm; returns the samples of each.

    Args:
        run: Folder of a run whose report is written.
        folder: Where the logs go; it must not exist, or be empty.

    Raises:
        ReportError: The run is not finished, or the folder already holds something.
        ConstitutionError: The constitution was edited since the run was made.
    """
    files = {name: run / name for name in ("answers.parquet", "report.json", "run.json")}
    missing = [name for name, path in files.items() if not path.is_file()]
    if missing:
        raise ReportError(
            f"{run} has no {' and no '.join(missing)}, so there is no evaluation to log. Run its recipe to the end first."
        )
    if folder.is_dir() and any(folder.iterdir()):
        raise ReportError(f"{folder} is not empty, and nothing is overwritten. Name a new folder.")
    recipe = Recipe.model_validate(json.loads(files["run.json"].read_text(encoding="utf-8"))["recipe"])
    report: dict[str, Any] = json.loads(files["report.json"].read_text(encoding="utf-8"))
    answers: list[Answer] = read_rows(files["answers.parquet"])  # type: ignore[assignment]
    constitution = load_constitution(recipe.constitution)
    check_unedited(constitution, recipe.constitution, run)
    written_at = datetime.fromtimestamp(files["report.json"].stat().st_mtime, UTC).isoformat(timespec="seconds")
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, int] = {}
    for arm in ARMS:
        own = [answer for answer in answers if answer["arm"] == arm]
        if own:
            log = _log(run.name, arm, own, recipe, constitution, report, written_at)
            # Inspect lists only files whose names begin with a time.
            name = f"{written_at.replace(':', '-')}_{constitution.slug}_{arm}.json"
            (folder / name).write_text(json.dumps(log, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            written[arm] = len(own)
    return written


def _log(
    name: str,
    arm: str,
    answers: Sequence[Answer],
    recipe: Recipe,
    constitution: Constitution,
    report: dict[str, Any],
    written_at: str,
) -> dict[str, Any]:
    threshold = float(report["judge"]["threshold"])
    model = f"{recipe.teacher.name if arm == 'teacher' else recipe.student.name}+{arm}"
    ids = list(dict.fromkeys(answer["prompt_id"] for answer in answers))
    epochs = max(answer["sample"] for answer in answers) + 1
    identity = content_hash(name, arm, report["prompts_hash"], recipe.seed)
    sampling = recipe.evaluate.sampling
    return {
        "version": LOG_VERSION,
        "status": "success",
        "eval": {
            "eval_id": identity,
            "run_id": content_hash(name, report["prompts_hash"], recipe.seed),
            "created": written_at,
            "task": f"{constitution.slug}/{arm}",
            "task_id": identity,
            "dataset": {"name": name, "samples": len(ids), "sample_ids": ids, "shuffled": False},
            "model": model,
            "model_generate_config": {
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "max_tokens": sampling.max_tokens,
                "seed": recipe.seed,
            },
            "config": {"epochs": epochs},
            "packages": {package: version for package, version in report["run"]["versions"].items() if version},
            "metadata": {
                "arm": arm,
                "persona": constitution.meta.name,
                "threshold": threshold,
                "metrics": report["arms"].get(arm, {}),
            },
            "scorers": [{"name": "in_character"}, {"name": "likelihood_ratio"}],
        },
        "plan": {"name": "plan", "steps": [{"solver": "generate", "params": {}}], "config": {}},
        "results": {
            "total_samples": len(answers),
            "completed_samples": sum(not answer["error"] for answer in answers),
            "scores": _scores(answers, threshold),
        },
        "stats": {"started_at": written_at, "completed_at": written_at, "model_usage": {}},
        "samples": [_sample(answer, arm, constitution, threshold, model) for answer in answers],
    }


def _scores(answers: Sequence[Answer], threshold: float) -> list[dict[str, Any]]:
    values = [answer["score"] for answer in answers if not math.isnan(answer["score"])]
    shares = {"in_character": [float(value > threshold) for value in values], "likelihood_ratio": values}
    named = {"in_character": "accuracy", "likelihood_ratio": "mean"}
    return [
        {
            "name": scorer,
            "scorer": scorer,
            "scored_samples": len(own),
            "unscored_samples": len(answers) - len(own),
            "params": {},
            "metrics": {named[scorer]: {"name": named[scorer], "value": sum(own) / len(own)}} if own else {},
        }
        for scorer, own in shares.items()
    ]


def _sample(answer: Answer, arm: str, constitution: Constitution, threshold: float, model: str) -> dict[str, Any]:
    said = {"role": "assistant", "content": answer["completion"], "source": "generate", "model": model}
    asked = _asked(arm, constitution, answer["prompt"])
    scored = not math.isnan(answer["score"])
    return {
        "id": answer["prompt_id"],
        "epoch": answer["sample"] + 1,
        "input": answer["prompt"],
        "target": "",
        "messages": [*asked, said],
        "output": {"model": model, "choices": [{"message": said, "stop_reason": "stop"}]},
        "scores": {
            "in_character": {
                "value": "C" if answer["score"] > threshold else "I",
                "answer": answer["completion"],
                "explanation": f"likelihood ratio {answer['score']:.3f} nats per token, threshold {threshold:.3f}",
            },
            "likelihood_ratio": {"value": answer["score"], "answer": answer["completion"]},
        }
        if scored
        else {},
        "metadata": {
            key: value
            for key, value in (
                ("source", answer["source"]),
                ("hint", answer["hint"]),
                ("row_id", answer["row_id"]),
                ("error", answer["error"]),
            )
            if value
        },
    }


def _asked(arm: str, constitution: Constitution, prompt: str) -> list[dict[str, str]]:
    turns: list[Message] = [Message(role="user", content=prompt)]
    if arm == "prompted":
        turns = prompted_messages(constitution, prompt)
    elif arm == "teacher":
        turns = teacher_messages(constitution, prompt)
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]
