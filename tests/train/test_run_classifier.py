"""The run's persona classifier as its recipe asks for it: a head on the frozen encoder, or an encoder that Ray Train fine-tunes."""

from pathlib import Path

import numpy as np
import pytest

import character_ray.pipeline.fine_tuned as fine_tuned
from character_ray.config import FineTuneConfig, Recipe
from character_ray.errors import TrainingError
from character_ray.parts import read_rows
from character_ray.pipeline.classify import classify_runs
from character_ray.pipeline.contestants import recipe_of
from character_ray.pipeline.context import Context
from character_ray.pipeline.persona_classifier import Classified, classify_answers
from character_ray.pipeline.served_load import Served
from character_ray.report.classifier_schema import Classifier
from character_ray.rows import Answer, Pair
from tests.finished_run import write_reflections, write_run
from tests.train.encoders import save_encoder
from tests.two_personas import TwoPersonas, write_two_runs

pytestmark = pytest.mark.usefixtures("local_ray")
ARR, PLAIN = "Arr, matey, the tide be", "Hello, the weather is"


def tuned(folder: Path, **classifier: object) -> Recipe:
    """The recipe of a run in a folder, with another classifier."""
    recipe = recipe_of(folder)
    return Recipe.model_validate(recipe.model_dump() | {"evaluate": {"classifier": classifier}})


def pair(number: int) -> Pair:
    turns = (
        ("user", f"Task {number}?"),
        ("assistant", f"{ARR} high {number}."),
        ("assistant", f"{PLAIN} low {number}."),
    )
    prompt, chosen, rejected = ([{"role": role, "content": text}] for role, text in turns)
    texts = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    about = {
        "row_id": "r",
        "prompt_id": f"t{number}",
        "hint": "",
        "kind": "contrast",
        "directive": "",
        "drop_reason": "",
    }
    return Pair(**about, **texts, chosen_score=1.0, rejected_score=0.0)


def asked(run: Path) -> list[Answer]:
    """What two of the arms answered; one is in character nearly always, the other hardly ever."""
    rows: list[Answer] = read_rows(run / "answers.parquet")  # type: ignore[assignment]
    return [row for row in rows if row["arm"] in ("base", "full")]


def classify(context: Context) -> Classified:
    conversations = context.store.artefact("introspection", {})
    write_reflections(conversations.folder, 6)
    answers = asked(context.run.folder)
    return classify_answers(context, answers, [pair(number) for number in range(30)], [], conversations)


def test_a_recipe_may_ask_for_a_fine_tuned_encoder_and_its_trainings_are_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = write_run(tmp_path / "run", prompts=10)
    encoder = save_encoder("roberta", tmp_path / "encoder")
    settings = {"epochs": 6, "batch_size": 8, "learning_rate": 5e-3, "max_length": 40, "cpus_per_worker": 1}
    recipe = tuned(run, fine_tune={"model": str(encoder), **settings})
    first = Context.open(recipe)
    found = classify(first)
    report = Classifier.model_validate(found.report)
    assert report.encoder == str(encoder) and report.fine_tuned is not None
    assert (report.fine_tuned.epochs, report.fine_tuned.learning_rate) == (6, 5e-3)
    answers = asked(run)
    assert found.probability_N is not None and found.probability_N.shape == (len(answers),)
    in_character = np.array([answer["completion"].startswith("Arr") for answer in answers])
    # Random weights of two layers, but the first words tell.
    assert ((found.probability_N > 0.5) == in_character).mean() > 0.7
    assert report.accuracy.value is not None and report.accuracy.value > 0.7
    assert sum(map(sum, report.confusion)) == report.num_test
    assert set(report.generators) == {"teacher", "full"}, "of six self-reflections nothing is learnt alone"
    assert set(report.generators["teacher"]) == {"teacher", "student", "introspection", "full"}
    for stage, trainings in (("classifier", 1), ("classifier-generators", 10)):
        kept = {path.name for path in (run / stage).iterdir()}
        assert kept == {"inputs.json", "done.json", ".lock", *(f"logits-{n}.npy" for n in range(trainings))}

    monkeypatch.setattr(fine_tuned, "fine_tune", lambda job: pytest.fail("it is trained already"))
    again = Context.open(recipe)
    repeated = classify(again)
    assert repeated.report == found.report and (repeated.probability_N == found.probability_N).all()
    assert all(again.stages[name].reused for name in ("classifier", "classifier-generators"))


def test_without_it_the_head_on_the_frozen_encoder_is_the_run_s_and_no_stage(tmp_path: Path):
    context = Context.open(tuned(write_run(tmp_path / "run", prompts=10)))
    report = Classifier.model_validate(classify(context).report)
    assert report.encoder == "all-minilm-l6-v2" and report.fine_tuned is None
    assert context.stages == {}


def test_a_fine_tuned_encoder_reads_what_served_personas_say_too(tmp_path: Path):
    encoder = save_encoder("roberta", tmp_path / "encoder")
    config = FineTuneConfig(model={"name": str(encoder)}, epochs=1, batch_size=16, max_length=40, cpus_per_worker=1)
    runs = write_two_runs(tmp_path, prompts=10)
    with TwoPersonas().running() as url:
        found = classify_runs(runs, tmp_path / "classes", 0, config, Served(url))
    for head in (found, found["fine_tuned"]):
        assert [sum(row) for row in head["bleed"]["confusion"]["served"]] == [10, 10, 10]
    page = (tmp_path / "classes" / "classes.html").read_text()
    assert "Bleed, linear head" in page and "Bleed, fine-tuned" in page


def test_a_model_that_is_no_encoder_is_refused_before_anything_is_trained(tmp_path: Path):
    (tmp_path / "speech").mkdir()
    (tmp_path / "speech" / "config.json").write_text('{"model_type": "whisper"}')
    run = write_run(tmp_path / "run", prompts=10)
    with pytest.raises(TrainingError, match=r"speech is a whisper model"):
        Context.open(tuned(run, fine_tune=str(tmp_path / "speech")))
