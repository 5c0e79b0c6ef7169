"""Relevance by the embedded model: an answer is known by the question it makes likely."""

from pathlib import Path

import pytest
import ray

from character_ray.config import DistillConfig, FilterConfig, JudgeConfig, LessonsConfig, ModelConfig, Recipe
from character_ray.constitution import load_constitution
from character_ray.inference.passes import Generation
from character_ray.inference.relevance import QUESTION, relevance_row
from character_ray.inference.systems_judge import SystemsJudge
from character_ray.models import resolve_model
from character_ray.parts import append_part
from character_ray.pipeline.context import Context, Model, Persona
from character_ray.pipeline.pairs import PairSides, make_pairs
from character_ray.rows import COMPLETION, Completion, Pair, Prompt, Request
from character_ray.runs import Run, Store

ROOT = Path(__file__).resolve().parents[2]
ANSWERS = {
    "How do I bake bread?": "Arr, mix yer flour with yeast and water, knead the dough, and bake it till the crust be brown.",
    "Why is the sky blue?": "Arr, the air scatters the blue of the sun's light more than the red, so blue be all ye see aloft.",
    "Who painted the Mona Lisa?": "Arr, that lady was painted by Leonardo da Vinci, a master of Florence, matey.",
}
CATCH_PHRASE = "Arr, that be a tale of the seven seas, matey, and a fine tale it be, ye scallywag!"
PLAIN = "There are several points to consider, and it depends on what you need."


def test_relevance_is_what_an_answer_adds_to_the_likelihood_of_its_question():
    rows = [relevance_row(f"{asked} {text}", asked, text) for asked in ANSWERS for text in ANSWERS.values()]
    judge = SystemsJudge(str(resolve_model(ModelConfig())), JudgeConfig(device="cpu"))
    scores = judge({key: [row[key] for row in rows] for key in rows[0]})["score"].reshape(3, 3)
    assert scores.argmax(axis=1).tolist() == [0, 1, 2]
    read = judge.plain.mean_log_probs(
        judge.chats({"prompt": [rows[0]["prompt"], QUESTION], "completion": [rows[0]["completion"]] * 2})
    )
    assert scores[0, 0] == pytest.approx(read[0] - read[1], abs=1e-4)


def pairs_of(output: Path) -> list[Pair]:
    """The pairs of a run whose teacher says, of every prompt, one thing to the point and one catch-phrase."""
    recipe = Recipe(
        name="relevance",
        constitution=ROOT / "constitutions" / "captain-blackwood.yaml",
        output=output,
        judge=JudgeConfig(device="cpu", dtype="auto"),
        distill=DistillConfig(
            samples=2, choose="relevance", lessons=LessonsConfig(relevance=1.0), filters=FilterConfig(min_contrast=0.1)
        ),
    )
    model, store = Model("smollm2", resolve_model(ModelConfig())), Store(output / "store")
    context = Context(recipe, model, model, store, Run(recipe.folder, recipe.model_dump(mode="json")))

    def said(side: str, *texts: list[str]) -> Generation:
        completions = [
            Completion(
                row_id=f"{side}-{sample}-{asked}",
                prompt_id=asked,
                sample=sample,
                completion=text,
                num_tokens=9,
                finish_reason="stop",
                error="",
            )
            for sample, each in enumerate(texts)
            for asked, text in zip(ANSWERS, each, strict=True)
        ]
        generation = Generation(
            store.artefact(side, {}),
            [Request(row_id=row["row_id"], prompt_id="", sample=0, messages=[], sampling={}) for row in completions],
        )
        append_part(generation.artefact.folder, completions, COMPLETION)
        return generation

    prompts = [
        Prompt(
            prompt_id=asked, prompt=asked, source="own", hint="", audience="", scenario="", objective="", constraint=""
        )
        for asked in ANSWERS
    ]
    sides = PairSides(said("teacher", list(ANSWERS.values()), [CATCH_PHRASE] * 3), said("student", [PLAIN] * 3))
    return make_pairs(context, Persona(load_constitution(recipe.constitution)), prompts, sides)[1]


def test_a_run_chooses_the_answer_to_the_point_and_rejects_the_catch_phrase(tmp_path: Path):
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        pairs = pairs_of(tmp_path)
    finally:
        ray.shutdown()
    contrast, lessons = ([pair for pair in pairs if pair["kind"] == kind] for kind in ("contrast", "relevance"))
    assert {pair["prompt_id"]: pair["chosen"][0]["content"] for pair in contrast} == ANSWERS
    assert [pair["rejected"][0]["content"] for pair in lessons] == [CATCH_PHRASE] * 3
    assert any(pair["rejected_score"] > pair["chosen_score"] for pair in lessons), "by character the phrase would win"
