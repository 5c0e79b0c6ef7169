"""The run's persona classifier: what it learns, what it says of every answer, and how far it can be believed.

pairs, self-reflections -> classifier; answers of all arms -> probabilities; both -> the split by generator
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from character_ray.config import DistillConfig
from character_ray.evaluation.classifier import IN_CHARACTER, SURE, FrozenEncoder, PersonaClassifier, decided
from character_ray.evaluation.held_out import LabelledText
from character_ray.evaluation.multiclass import NONE
from character_ray.models import ENCODER, resolve_model
from character_ray.parts import read_rows
from character_ray.pipeline.context import Context
from character_ray.pipeline.directives import KnownPair
from character_ray.pipeline.fine_tuned import FineTunedEncoder
from character_ray.rows import Answer, Challenged, Pair
from character_ray.runs import Artefact

__all__ = ["Classified", "classify_answers", "labelled_answers", "labelled_pairs", "labelled_reflections"]

PLAIN = "student"
# What an arm's answers are by training. What prompted says is neither: nobody trained it, and it may not follow.
WRITTEN_BY = {
    "base": (PLAIN, NONE),
    "teacher": ("teacher", IN_CHARACTER),
    "dpo": ("dpo", IN_CHARACTER),
    "sft": ("sft", IN_CHARACTER),
    "full": ("full", IN_CHARACTER),
    "control": ("control", NONE),
}


@dataclass(frozen=True)
class Classified:
    """What the classifier says, and what is known of it."""

    probability_N: np.ndarray | None
    """That each answer, and what it was asked about further, is in character; ``None`` where no classifier could be trained."""
    report: dict[str, Any] | None
    note: str
    """Why there is no classifier; empty where there is."""


def classify_answers(
    context: Context,
    answers: Sequence[Answer],
    pairs: Sequence[Pair],
    known: Sequence[KnownPair],
    conversations: Artefact,
    further: Sequence[Challenged] = (),
) -> Classified:
    """Train the classifier and ask it about every answer; none of them is trained on.

    Args:
        context: The run; its recipe says what learns.
        answers: Of all arms.
        pairs: All of the run's.
        known: What the untrained student said to training prompts.
        conversations: The stage that holds the self-reflections.
        further: What it is asked about behind the answers, and which counts in none of its own figures.

    Raises:
        TrainingError: The encoder's fine-tuning failed.
        ClusterError: No nodes can hold its workers.
    """
    recipe, config = context.recipe, context.recipe.evaluate.classifier.fine_tune
    rows = [*labelled_pairs(pairs, known, recipe.distill), *labelled_reflections(conversations.folder, IN_CHARACTER)]
    draws = {"seed": recipe.seed, "resamples": recipe.evaluate.bootstrap}
    texts = [row["completion"] for row in (*answers, *further)]
    model = (
        PersonaClassifier(FrozenEncoder(resolve_model(ENCODER)), ENCODER.name)
        if config is None
        else PersonaClassifier(FineTunedEncoder(context, config, texts), config.model.name)
    )
    try:
        report = model.fit(rows, **draws)
    except ValueError as error:
        return Classified(None, None, f"The persona classifier could not be trained: {error}.")
    report["fine_tuned"] = config.numerics if config else None
    probability = model.probability(texts)
    report["generators"] = model.across_generators([*rows, *labelled_answers(answers)], PLAIN, **draws)
    report["sure"] = SURE
    report["arms"] = {}
    for arm in dict.fromkeys(answer["arm"] for answer in answers):
        own = [number for number, answer in enumerate(answers) if answer["arm"] == arm and _asked(answer)]
        if own:
            prompts = [answers[number]["prompt_id"] for number in own]
            report["arms"][arm] = decided(probability[own], prompts, **draws)
    return Classified(probability, report, "")


def labelled_pairs(pairs: Sequence[Pair], known: Sequence[KnownPair], distill: DistillConfig) -> list[LabelledText]:
    """What the persona classifier learns of the pairs.

    What pairs about the voice reject is not in character where the untrained student wrote it. The opposite character's text is another
    character's, and an earlier adapter's may be the persona's own: beside those the untrained student's answers to the same prompts
    are taken, tidied as pairs are.

    Args:
        pairs: All of the run's; those that were dropped, and lessons, whose rejected side may be in character, are left out.
        known: What the untrained student said to training prompts.
        distill: Who wrote the rejected side.
    """
    kept = [pair for pair in pairs if not pair["drop_reason"] and pair["kind"] == "contrast"]
    chosen = [LabelledText(pair["chosen"][0]["content"], IN_CHARACTER, pair["prompt_id"], "teacher") for pair in kept]
    if distill.contrast == "student":
        plain = [(pair["rejected"][0]["content"], pair["prompt_id"]) for pair in kept]
    else:
        said = {each.prompt: each.tidied for each in known}
        asked = {pair["prompt"][-1]["content"]: pair["prompt_id"] for pair in kept}
        plain = [(said[prompt], prompt_id) for prompt, prompt_id in asked.items() if prompt in said]
    return [*chosen, *(LabelledText(text, NONE, prompt_id, PLAIN) for text, prompt_id in plain)]


def labelled_answers(answers: Sequence[Answer]) -> list[LabelledText]:
    """The arms' answers to evaluation prompts, each of the class that its arm was trained for, whether it hits it or not."""
    found = []
    for answer in answers:
        if answer["arm"] in WRITTEN_BY and _asked(answer):
            generator, label = WRITTEN_BY[answer["arm"]]
            found.append(LabelledText(answer["completion"], label, answer["prompt_id"], generator))
    return found


def labelled_reflections(folder: Path, label: str) -> list[LabelledText]:
    """The self-reflections that a persona was trained on, as texts of its class; the question is their prompt.

    Args:
        folder: Of the introspection stage.
        label: The class.
    """
    return [
        LabelledText(row["messages"][-1]["content"], label, row["messages"][-2]["content"], "introspection")
        for row in read_rows(folder / "conversations.parquet")
        if not row["drop_reason"] and row["kind"] == "reflection"
    ]


def _asked(answer: Answer) -> bool:
    """Whether it is an answer to an evaluation prompt; probes and failed ones are not."""
    return answer["source"] != "probe" and not answer["error"]
