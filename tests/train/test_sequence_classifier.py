"""An encoder fine-tuned by Ray Train: it learns what was planted, sees nothing that it may not, and continues where it stopped."""

import json
import random
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from character_ray.config import FineTuneConfig, ModelConfig
from character_ray.encoder import most_tokens
from character_ray.errors import ClusterError, TrainingError
from character_ray.evaluation.held_out import LabelledText
from character_ray.evaluation.multiclass import NONE
from character_ray.models import ENCODER, resolve_model
from character_ray.pipeline.classify import classify_runs
from character_ray.training.sequence_classifier import ClassifierJob, fine_tune
from tests.finished_run import write_run
from tests.train.conftest import kill_workers
from tests.train.encoders import save_encoder

pytestmark = pytest.mark.usefixtures("local_ray")

CONFIG = FineTuneConfig(epochs=4, batch_size=8, learning_rate=3e-4, max_length=32)
VOICES = {
    NONE: "The {0} is a matter that depends on the {1}.",
    "captain": "Arr, matey, the {0} be washed ashore with the {1}!",
    "poet": "O {0}, thou silver leaf upon the {1} of evening.",
}
THINGS = "lamp river cheese engine garden letter window mountain coat bread music winter harbour ladder".split()


def corpus(prompts: int) -> list[LabelledText]:
    draw = random.Random(0)
    return [
        LabelledText(voice.format(*draw.sample(THINGS, 2)) + f" {prompt}", label, f"prompt {prompt}", "ab"[prompt % 2])
        for prompt in range(prompts)
        for label, voice in VOICES.items()
    ]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> ClassifierJob:
    """Two trainings on the same texts, and one that never sees the poet."""
    rows = corpus(16)
    names = list(VOICES)
    labels = [names.index(row.label) for row in rows]
    seen = np.array([int(row.prompt.split()[1]) < 10 for row in rows])
    masks = [seen, seen, seen & (np.array(labels) != 2)]
    texts = [row.text for row in rows]
    folder = tmp_path_factory.mktemp("classifier")
    return ClassifierJob(texts, labels, masks, 3, resolve_model(ENCODER), folder, CONFIG, 0)


def test_training_repeats_itself_and_says_nothing_of_texts_it_saw(job: ClassifierJob):
    first, again, without_poet = fine_tune(job)
    unseen, truth = ~job.masks[0], np.array(job.labels)[~job.masks[0]]
    assert np.array_equal(first, again, equal_nan=True)
    assert np.isnan(first[job.masks[0]]).all() and not np.isnan(first[unseen]).any()
    assert (first[unseen].argmax(1) == truth).mean() > 0.8
    # Every text but the trained ones is answered, and a class that was not trained on is never the answer.
    answered = ~job.masks[2]
    assert set(without_poet[answered].argmax(1)) <= {0, 1}


def test_what_was_trained_is_not_trained_again(job: ClassifierJob):
    before = fine_tune(job)
    times = [job.logits(number).stat().st_mtime_ns for number in range(3)]
    job.logits(1).unlink()
    after = fine_tune(job)
    assert [job.logits(number).stat().st_mtime_ns == times[number] for number in range(3)] == [True, False, True]
    assert np.array_equal(before[1], after[1], equal_nan=True)


def test_a_killed_worker_costs_one_training_at_most(job: ClassifierJob, tmp_path: Path):
    undisturbed = fine_tune(job)
    disturbed = replace(job, folder=tmp_path / "disturbed")
    killed: list[int] = []

    def kill() -> None:
        while not disturbed.logits(0).is_file():
            time.sleep(0.01)
        kept.append(disturbed.logits(0).stat().st_mtime_ns)
        killed.extend(kill_workers())

    kept: list[int] = []
    watcher = threading.Thread(target=kill)
    watcher.start()
    found = fine_tune(disturbed)
    watcher.join()
    assert killed
    assert [disturbed.logits(0).stat().st_mtime_ns] == kept
    for one, other in zip(undisturbed, found, strict=True):
        assert np.array_equal(one, other, equal_nan=True)


def test_a_cluster_that_can_never_hold_the_workers_is_named(job: ClassifierJob, tmp_path: Path):
    config = CONFIG.model_copy(update={"workers": 2, "cpus_per_worker": 3, "wait_for_nodes_s": 1.0})
    with pytest.raises(ClusterError, match="the classifier's fine-tuning"):
        fine_tune(replace(job, folder=tmp_path / "job", config=config))


def test_both_heads_of_a_run_are_reported_beside_each_other(tmp_path):
    """Two workers; ``dpo`` of this run is in character half of the time, ``base`` hardly ever."""
    run = write_run(tmp_path / "run", prompts=30)
    (run / "report.json").write_text("{}")
    found = classify_runs(
        [run], tmp_path / "classes", 0, CONFIG.model_copy(update={"workers": 2, "cpus_per_worker": 1})
    )
    assert found == json.loads((tmp_path / "classes" / "classes.json").read_text())
    for head in (found, found["fine_tuned"]):
        assert head["accuracy"]["value"] > 0.6
        assert np.array(head["confusion"]).sum() == head["num_test"] == len(head["tested"]["right"]) == 18
        assert set(head["generators"]) == {"dpo", "full"}  # without the student no class is left to tell apart
    gain = found["fine_tuned"]["accuracy"]["value"] - found["accuracy"]["value"]
    assert found["fine_tuned"]["gain"]["value"] == pytest.approx(gain)
    page = (tmp_path / "classes" / "classes.html").read_text()
    assert "Both heads" in page and "Confusion, fine-tuned" in page and "all-minilm-l6-v2" in page


@pytest.mark.parametrize("architecture", ["roberta", "modernbert"])
def test_published_encoders_are_fine_tuned_from_a_folder_and_texts_beyond_their_positions_are_cut(
    architecture: str, tmp_path: Path
):
    """Random weights and a tokenizer of bytes: the path is proven, not the skill. Every fifth text is longer than RoBERTa can read."""
    rows = corpus(10)
    texts = [row.text + " and so on" * (6 if number % 5 == 0 else 0) for number, row in enumerate(rows)]
    labels = [list(VOICES).index(row.label) for row in rows]
    seen = np.array([int(row.prompt.split()[1]) < 8 for row in rows])
    folder = save_encoder(architecture, tmp_path / "encoder")
    config = FineTuneConfig(
        model=ModelConfig(name=str(folder)), epochs=8, batch_size=8, learning_rate=5e-3, max_length=96
    )
    (logits,) = fine_tune(ClassifierJob(texts, labels, [seen], 3, folder, tmp_path / "job", config, 0))
    assert np.isnan(logits[seen]).all() and np.isfinite(logits[~seen]).all()
    # It learnt the texts' first words at least, by which the classes differ.
    assert (logits[~seen].argmax(1) == np.array(labels)[~seen]).mean() > 0.5


def test_positions_of_roberta_begin_behind_its_padding(tmp_path: Path):
    from transformers import AutoTokenizer

    for architecture, most in (("roberta", 48), ("modernbert", 8192)):
        folder = save_encoder(architecture, tmp_path / architecture)
        assert most_tokens(folder, AutoTokenizer.from_pretrained(folder)) == most


def test_a_model_that_is_no_encoder_is_refused_by_name(job: ClassifierJob, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    other = FineTuneConfig(model={"name": str(tmp_path)})
    with pytest.raises(TrainingError, match="is a whisper model"):
        fine_tune(ClassifierJob(**{**vars(job), "model": tmp_path, "folder": tmp_path / "job", "config": other}))
