"""A run's evaluation as logs that Inspect AI reads: its viewer, its ``read_eval_log`` and its data frames.

    runs/<name>/answers.parquet, report.json, run.json  ->  <folder>/<time>_<persona>_<arm>.json         log format 2, one per arm
    runs/<name>/trials.parquet                          ->  <folder>/<time>_<persona>_<arm>-trials.json  another, where there were trials

Written from the format's description, with no need of Inspect itself. Every answer is a sample, a probe's repetitions are epochs; every
challenge is one, too, and every turn of an erosion conversation, with the turns before it. The scores are the likelihood ratio and whether
it is above the run's threshold, as in the report's rates; whatever else was decided of a trial is in its metadata, and the arm's metrics of
the report, with their intervals, are in the log's.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from character_ray.config import ARMS, Recipe, SamplingConfig
from character_ray.constitution import (
    Constitution,
    check_unedited,
    load_constitution,
    prompted_messages,
    teacher_messages,
)
from character_ray.errors import ReportError
from character_ray.parts import read_rows
from character_ray.rows import Answer, Challenged, Message, content_hash

__all__ = ["LOG_VERSION", "export_logs"]

LOG_VERSION = 2
"""Version of Inspect's log format that is written; read with inspect-ai 0.3.285."""


def export_logs(run: Path, folder: Path) -> dict[str, int]:
    """Write a log of every arm, and one of its trials where it had some; returns the samples of each.

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
    constitution = load_constitution(recipe.constitution)
    check_unedited(constitution, recipe.constitution, run)
    written_at = datetime.fromtimestamp(files["report.json"].stat().st_mtime, UTC).isoformat(timespec="seconds")
    origin = _Origin(run.name, recipe, constitution, report, written_at)
    answers: list[Answer] = read_rows(files["answers.parquet"])  # type: ignore[assignment]
    trials: list[Challenged] = read_rows(run / "trials.parquet") if (run / "trials.parquet").is_file() else []  # type: ignore[assignment]
    logs: dict[str, list[_Sample]] = {
        arm: [_answered(each, constitution) for each in answers if each["arm"] == arm] for arm in ARMS
    }
    decided = _decided(report, trials)
    for arm in ARMS:
        logs[f"{arm}/trials"] = _tried(arm, trials, decided, constitution)
    folder.mkdir(parents=True, exist_ok=True)
    written = {name: samples for name, samples in logs.items() if samples}
    for name, samples in written.items():
        log = _log(origin, name, samples)
        # Inspect lists only files whose names begin with a time.
        file = f"{written_at.replace(':', '-')}_{constitution.slug}_{name.replace('/', '-')}.json"
        (folder / file).write_text(json.dumps(log, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return {name: len(samples) for name, samples in written.items()}


@dataclass(frozen=True)
class _Origin:
    """Where all logs of a run come from."""

    run: str
    recipe: Recipe
    constitution: Constitution
    report: dict[str, Any]
    written_at: str

    def sampling(self, part: str) -> SamplingConfig:
        own = self.recipe.evaluate.sampling
        most = min(own.max_tokens, self.recipe.evaluate.challenges.max_tokens) if part else own.max_tokens
        return own.model_copy(update={"max_tokens": most})

    def metrics(self, arm: str, part: str) -> Any:
        """What the report says of the arm."""
        if not part:
            return self.report["arms"].get(arm, {})
        trials = self.report.get("trials") or {}
        rates = {f"{each['group']}/{each['kind']}": each["arms"].get(arm, {}) for each in trials.get("rates", ())}
        return rates | ({"survival": trials["survival"][arm]} if arm in trials.get("survival", {}) else {})


@dataclass(frozen=True)
class _Sample:
    id: str
    epoch: int
    prompt: str
    asked: list[dict[str, str]]
    completion: str
    score: float
    error: str
    about: dict[str, Any]

    def scores(self, threshold: float) -> dict[str, dict[str, Any]]:
        """As the report counts: an answer that failed has none, and an empty one, which has no likelihood, is out of character."""
        if self.error:
            return {}
        answer = {"answer": self.completion}
        if math.isnan(self.score):
            return {
                "in_character": {
                    "value": "I",
                    **answer,
                    "explanation": "an empty answer, which has no likelihood ratio",
                }
            }
        why = f"likelihood ratio {self.score:.3f} nats per token, threshold {threshold:.3f}"
        return {
            "in_character": {"value": "C" if self.score > threshold else "I", **answer, "explanation": why},
            "likelihood_ratio": {"value": self.score, **answer},
        }


def _answered(answer: Answer, constitution: Constitution) -> _Sample:
    about = {key: answer[key] for key in ("source", "hint", "row_id", "error")}
    return _Sample(
        answer["prompt_id"],
        answer["sample"] + 1,
        answer["prompt"],
        _asked(answer["arm"], constitution, answer["prompt"]),
        answer["completion"],
        answer["score"],
        answer["error"],
        about,
    )


def _tried(
    arm: str, trials: Sequence[Challenged], decided: Sequence[list[str]], constitution: Constitution
) -> list[_Sample]:
    """Challenges and turns of erosion conversations, which come in their order."""
    samples: list[_Sample] = []
    before: list[dict[str, str]] = []
    for row, verdicts in zip(trials, decided, strict=True):
        if row["arm"] != arm:
            continue
        asked, number = _asked(arm, constitution, row["prompt"], row["system"]), row["turn"]
        before = before if number > 1 else []
        if number:
            before = [*before, asked[-1]]
            asked = [*asked[:-1], *before]
            before = [*before, {"role": "assistant", "content": row["completion"]}]
        asked += [{"role": "assistant", "content": row["begun"]}] if row["begun"] else []
        name = f"{row['kind']}/{row['challenge_id']}" + (f"/{number}" if number else "")
        about: dict[str, Any] = {key: row[key] for key in ("group", "kind", "wording", "canary", "row_id", "error")}
        about |= {"turn": number, "verdicts": verdicts}
        samples.append(_Sample(name, 1, row["prompt"], asked, row["completion"], row["score"], row["error"], about))
    return samples


def _decided(report: dict[str, Any], trials: Sequence[Challenged]) -> list[list[str]]:
    """What the report's transcripts say was decided of every trial, in their order; nothing where it was stripped of them."""
    own = [each["verdicts"] for each in report.get("transcripts", ()) if each["group"] not in ("prompt", "probe")]
    return own if len(own) == len(trials) else [[] for _ in trials]


def _log(origin: _Origin, name: str, samples: Sequence[_Sample]) -> dict[str, Any]:
    """A log of one arm, named ``arm``, or of its trials, named ``arm/trials``."""
    arm, _, part = name.partition("/")
    recipe, constitution, report, written_at = origin.recipe, origin.constitution, origin.report, origin.written_at
    threshold = float(report["judge"]["threshold"])
    model = f"{recipe.teacher.name if arm == 'teacher' else recipe.student.name}+{arm}"
    ids = list(dict.fromkeys(sample.id for sample in samples))
    identity = content_hash(origin.run, name, report["prompts_hash"], recipe.seed)
    sampling = origin.sampling(part)
    return {
        "version": LOG_VERSION,
        "status": "success",
        "eval": {
            "eval_id": identity,
            "run_id": content_hash(origin.run, report["prompts_hash"], recipe.seed),
            "created": written_at,
            "task": f"{constitution.slug}/{name}",
            "task_id": identity,
            "dataset": {"name": origin.run, "samples": len(ids), "sample_ids": ids, "shuffled": False},
            "model": model,
            "model_generate_config": {
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "max_tokens": sampling.max_tokens,
                "seed": recipe.seed,
            },
            "config": {"epochs": max(sample.epoch for sample in samples)},
            "packages": {package: version for package, version in report["run"]["versions"].items() if version},
            "metadata": {
                "arm": arm,
                "persona": constitution.meta.name,
                "threshold": threshold,
                "metrics": origin.metrics(arm, part),
            },
            "scorers": [{"name": "in_character"}, {"name": "likelihood_ratio"}],
        },
        "plan": {"name": "plan", "steps": [{"solver": "generate", "params": {}}], "config": {}},
        "results": {
            "total_samples": len(samples),
            "completed_samples": sum(not sample.error for sample in samples),
            "scores": _scores(samples, threshold),
        },
        "stats": {"started_at": written_at, "completed_at": written_at, "model_usage": {}},
        "samples": [_logged(sample, threshold, model) for sample in samples],
    }


def _scores(samples: Sequence[_Sample], threshold: float) -> list[dict[str, Any]]:
    scored = [sample.scores(threshold) for sample in samples]
    values = {
        scorer: [own[scorer]["value"] for own in scored if scorer in own]
        for scorer in ("in_character", "likelihood_ratio")
    }
    values["in_character"] = [float(value == "C") for value in values["in_character"]]
    named = {"in_character": "accuracy", "likelihood_ratio": "mean"}
    return [
        {
            "name": scorer,
            "scorer": scorer,
            "scored_samples": len(own),
            "unscored_samples": len(samples) - len(own),
            "params": {},
            "metrics": {named[scorer]: {"name": named[scorer], "value": sum(own) / len(own)}} if own else {},
        }
        for scorer, own in values.items()
    ]


def _logged(sample: _Sample, threshold: float, model: str) -> dict[str, Any]:
    said = {"role": "assistant", "content": sample.completion, "source": "generate", "model": model}
    return {
        "id": sample.id,
        "epoch": sample.epoch,
        "input": sample.prompt,
        "target": "",
        "messages": [*sample.asked, said],
        "output": {"model": model, "choices": [{"message": said, "stop_reason": "stop"}]},
        "scores": sample.scores(threshold),
        "metadata": {key: value for key, value in sample.about.items() if value},
    }


def _asked(arm: str, constitution: Constitution, prompt: str, system: str = "") -> list[dict[str, str]]:
    turns: list[Message] = [Message(role="user", content=prompt)]
    if arm == "prompted":
        turns = prompted_messages(constitution, prompt)
    elif arm == "teacher":
        turns = teacher_messages(constitution, prompt)
    if system:  # stands behind the arm's own
        own = [turn["content"] for turn in turns if turn["role"] == "system"]
        rest = [turn for turn in turns if turn["role"] != "system"]
        turns = [Message(role="system", content="\n\n".join([*own, system])), *rest]
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]
