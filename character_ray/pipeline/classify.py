"""One classifier over the personas of several finished runs: a linear head on a frozen encoder and, if asked, a fine-tuned encoder.

pairs (chosen, rejected), self-reflections, answers (base, dpo, full) of every run -> classes.json, classes.html
    what their personas say served together                                 -> served.json, and how they bleed into one another

Both heads see the same splits, so they are compared text by text.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from character_ray.config import FineTuneConfig
from character_ray.errors import ReportError
from character_ray.evaluation.bleed import AnswerPair, measure_bleed
from character_ray.evaluation.classifier import FrozenEncoder
from character_ray.evaluation.held_out import LabelledText
from character_ray.evaluation.multiclass import NONE, Learner, measure_classes
from character_ray.log import console
from character_ray.models import ENCODER, model_hash, resolve_model
from character_ray.parts import read_rows
from character_ray.pipeline.classes_sheet import classes_sheet
from character_ray.pipeline.finished import FinishedRun
from character_ray.pipeline.persona_classifier import labelled_reflections
from character_ray.pipeline.ray_session import ray_for
from character_ray.pipeline.served_load import Served, ask_together
from character_ray.pipeline.stage_room import Booking
from character_ray.report.page import link_pages
from character_ray.report.sheet import write_sheet
from character_ray.rows import content_hash
from character_ray.runs import write_json
from character_ray.statistics import paired_difference
from character_ray.training.sequence_classifier import ClassifierJob, fine_tune
from character_ray.training.workers import needed_to_fine_tune

__all__ = ["classify_runs", "gather_texts"]


def classify_runs(
    folders: Sequence[Path],
    output: Path,
    seed: int = 0,
    fine_tuned: FineTuneConfig | None = None,
    served: Served | None = None,
) -> dict[str, Any]:
    """Train and measure the classifier on an independent encoder; write ``classes.json`` and ``classes.html``.

    Args:
        folders: Finished runs, one persona each.
        output: Folder for the files; on storage that the workers share where an encoder is fine-tuned on a cluster.
        seed: Seed of split, trainings, intervals and the order of the served load.
        fine_tuned: Also fine-tune an encoder, on Ray Train; what is measured of it goes to ``fine_tuned``.
        served: Also ask a running application for the personas together, and measure how they bleed into one another; what each said
            there and alone goes to ``served.json``.

    Raises:
        ReportError: A run is not finished, a class has too few texts, or the runs' personas cannot be asked together.
        ServingError: The application does not answer, or serves something else.
        ModelError: The encoder to fine-tune cannot be found.
        TrainingError: Fine-tuning failed.
    """
    rows = gather_texts(folders)
    together = ask_together(folders, served, seed) if served else None
    answers = together.answers if together else []
    output.mkdir(parents=True, exist_ok=True)
    if together:
        write_json(output / "served.json", [vars(answer) for answer in answers])
    frozen = FrozenEncoder(resolve_model(ENCODER)).learner
    try:
        measured = _measure(rows, answers, frozen, seed)
    except ValueError as error:
        raise ReportError(
            f"{', '.join(map(str, folders))}: {error}. Give runs with more prompts, or more runs."
        ) from None
    found = {
        "format": 1,
        "runs": [folder.name for folder in folders],
        "encoder": ENCODER.name,
        "seed": seed,
        "command": _command(folders, output, seed, fine_tuned, served),
        "served": {
            "url": served.url,
            "concurrency": served.concurrency,
            "models": together.models,
            "failed": together.failed,
        }
        if served and together
        else None,
        **measured,
        "fine_tuned": _fine_tuned(rows, answers, measured, output, seed, fine_tuned) if fine_tuned else None,
    }
    write_json(output / "classes.json", found)
    write_sheet(classes_sheet(found), output / "classes.html")
    link_pages(output)
    return found


def _measure(
    rows: Sequence[LabelledText],
    answers: Sequence[AnswerPair],
    learner: Callable[[Sequence[str]], Learner],
    seed: int,
) -> dict[str, Any]:
    """What a head is worth on the texts of the runs, and who it takes the answers for, if there are any."""
    texts = [row.text for row in rows]
    found = measure_classes(rows, learner(texts), seed=seed)
    said = [answer.alone for answer in answers] + [answer.served for answer in answers]
    bleed = measure_bleed(rows, answers, learner([*texts, *said]), seed=seed) if answers else None
    return {**found, "bleed": bleed}


def _fine_tuned(
    rows: Sequence[LabelledText],
    answers: Sequence[AnswerPair],
    frozen: dict[str, Any],
    output: Path,
    seed: int,
    config: FineTuneConfig,
) -> dict[str, Any]:
    """The same figures of the fine-tuned encoder, and what it gains over the linear head on the same texts."""
    model = resolve_model(config.model)

    def learner(texts: Sequence[str]) -> Learner:
        def learn(masks: Sequence[np.ndarray], labels_N: np.ndarray, num_classes: int) -> list[np.ndarray]:
            told = list(texts), labels_N.tolist(), [mask.tolist() for mask in masks]
            name = content_hash(told, config.numerics, model_hash(model), seed)
            job = ClassifierJob(told[0], told[1], masks, num_classes, model, output / "fine-tuned" / name, config, seed)
            console.print(f"fine-tuning {config.model.name}: {len(masks)} trainings on {config.workers} worker(s)")
            need = replace(needed_to_fine_tune("--fine-tune", config), remedy="lower --workers")
            with ray_for({"--workers": config.gpus}, folder=output, bookings=[Booking(need)]):
                return fine_tune(job)

        return learn

    measured = _measure(rows, answers, learner, seed)
    own, other = measured["tested"], frozen["tested"]
    gain = paired_difference(own["right"], own["prompts"], other["right"], other["prompts"], seed=seed)
    return {"settings": config.model_dump(mode="json"), **measured, "gain": vars(gain)}


def _command(
    folders: Sequence[Path], output: Path, seed: int, config: FineTuneConfig | None, served: Served | None
) -> str:
    parts = ["character-ray classify", *map(str, folders), f"--output {output}", f"--seed {seed}"]
    if config is not None:
        parts += [f"--fine-tune {config.model.name}"]
        parts += [f"--revision {config.model.revision}"] if config.model.revision else []
        parts += [f"--epochs {config.epochs}", f"--device {config.device}", f"--workers {config.workers}"]
    if served is not None:
        parts += [f"--served {served.url}", f"--concurrency {served.concurrency}"]
    return " ".join(parts)


def gather_texts(folders: Sequence[Path]) -> list[LabelledText]:
    """Texts of every run with persona and generator; a text that two runs share, such as a base answer, counts once.

    What a trained arm said counts as its persona's whether it is in character or not, so some labels are wrong where training was weak.

    Raises:
        ReportError: A run is not finished.
    """
    rows: dict[tuple[str, str], LabelledText] = {}

    def keep(text: str, label: str, prompt: str, generator: str) -> None:
        if text.strip():
            rows.setdefault((text, label), LabelledText(text, label, prompt, generator))

    for folder in folders:
        run = FinishedRun.open(folder)
        slug = run.persona.constitution.slug
        pairs_file = folder / "pairs" / "pairs.parquet"
        for pair in read_rows(pairs_file) if pairs_file.is_file() else []:
            if pair["drop_reason"] or pair["kind"] != "contrast":
                continue
            keep(pair["chosen"][-1]["content"], slug, pair["prompt_id"], "teacher")
            # The opposite character, or an earlier round's, is not plain.
            if run.recipe.distill.opposite is None and run.recipe.distill.parent is None:
                keep(pair["rejected"][-1]["content"], NONE, pair["prompt_id"], "student")
        # An update brings no self-reflections of its own.
        if (folder / "introspection" / "conversations.parquet").is_file():
            for said in labelled_reflections(folder / "introspection", slug):
                keep(said.text, said.label, said.prompt, said.generator)
        for answer in run.answers:
            if answer["arm"] in ("dpo", "full"):
                keep(answer["completion"], slug, answer["prompt_id"], answer["arm"])
            elif answer["arm"] == "base":
                keep(answer["completion"], NONE, answer["prompt_id"], "student")
    return list(rows.values())
