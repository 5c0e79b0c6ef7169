"""One classifier over the personas of several finished runs.

pairs (chosen, rejected), answers (base, dpo, full) of every run -> classes.json, classes.html
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from character_ray.errors import ReportError
from character_ray.evaluation.multiclass import NONE, LabelledText, Learner, measure_classes, on_features
from character_ray.models import ENCODER, resolve_model
from character_ray.parts import read_rows
from character_ray.pipeline.finished import FinishedRun
from character_ray.report.plots import Dot, dot_plot
from character_ray.report.sheet import Plot, Section, Sheet, percent, write_sheet
from character_ray.runs import write_json

__all__ = ["classes_sheet", "classify_runs", "gather_texts"]

RATES = [0.0, 0.25, 0.5, 0.75, 1.0]


def classify_runs(folders: Sequence[Path], output: Path, seed: int = 0) -> dict[str, Any]:
    """Train and measure the classifier on an independent encoder; write ``classes.json`` and ``classes.html``.

    Args:
        folders: Finished runs, one persona each.
        output: Folder for the two files.
        seed: Seed of split and intervals.

    Raises:
        ReportError: A run is not finished, or a class has too few texts.
    """
    rows = gather_texts(folders)
    texts = [row.text for row in rows]
    try:
        measured = measure_classes(rows, _frozen(texts), seed=seed)
    except ValueError as error:
        raise ReportError(
            f"{', '.join(map(str, folders))}: {error}. Give runs with more prompts, or more runs."
        ) from None
    found = {
        "format": 1,
        "runs": [folder.name for folder in folders],
        "encoder": ENCODER.name,
        "seed": seed,
        "command": f"character-ray classify {' '.join(map(str, folders))} --output {output}",
        **measured,
    }
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "classes.json", found)
    write_sheet(classes_sheet(found), output / "classes.html")
    return found


def _frozen(texts: Sequence[str]) -> Learner:
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(str(resolve_model(ENCODER)), device="cpu", local_files_only=True)
    return on_features(np.asarray(encoder.encode(list(texts), batch_size=64, show_progress_bar=False)))


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
        for answer in run.answers:
            if answer["arm"] in ("dpo", "full"):
                keep(answer["completion"], slug, answer["prompt_id"], answer["arm"])
            elif answer["arm"] == "base":
                keep(answer["completion"], NONE, answer["prompt_id"], "student")
    return list(rows.values())


def classes_sheet(found: dict[str, Any]) -> Sheet:
    """The page of a ``classes.json``."""
    names = found["classes"]
    error = found["calibration_error"]
    dots = [
        Dot(
            f"{100 * each['decided']:.0f} %",
            each["accuracy"]["value"],
            each["accuracy"]["low"],
            each["accuracy"]["high"],
            percent(each["accuracy"]),
            "headline" if each["decided"] == 1 else "weights",
        )
        for each in found["abstention"]
    ]
    figures = ("precision", "recall", "f1")
    return Sheet(
        "Which persona, or none",
        ", ".join(found["runs"]),
        [
            f"On prompts it never saw, the classifier names the right one of {len(names)} classes for {percent(found['accuracy'])} of "
            f"{found['num_test']} texts.",
            f"One temperature, {found['temperature']:.2f}, takes its expected calibration error from {error['before']:.3f} to "
            f"{error['after']:.3f}.",
        ],
        [
            Section(
                "By class",
                (),
                (),
                ["class", *figures, "texts"],
                [
                    [name, *(f"{own[key]:.2f}" for key in figures), f"{own['support']:.0f}"]
                    for name, own in found["per_class"].items()
                ],
            ),
            Section(
                "Confusion",
                ["Rows are what a text is, columns what it was taken for."],
                (),
                ["class", *names],
                [[name, *map(str, row)] for name, row in zip(names, found["confusion"], strict=True)],
            ),
            Section(
                "Left undecided",
                ["Accuracy when only the surest texts are decided."],
                [
                    Plot(
                        "Share decided",
                        "",
                        dot_plot("Accuracy by share decided", dots, RATES, lambda tick: f"{100 * tick:.0f}"),
                    )
                ],
            ),
            Section(
                "Generators left out",
                ["Accuracy on texts of a generator that training never saw, on prompts it never saw either."],
                (),
                ["generator", "accuracy", "texts"],
                [[name, percent(own), str(own["n"])] for name, own in found["generators"].items()],
            ),
            Section(
                "How",
                [
                    f"{found['num_train']} texts to train on, {found['num_calibrate']} to calibrate, {found['num_test']} to test, no "
                    f"prompt on two sides; {found['repeated']} texts left out of training because the same text is tested.",
                    f"Encoder {found['encoder']}, seed {found['seed']}. Made by: {found['command']}.",
                ],
            ),
        ],
    )
