"""An encoder fine-tuned on Ray Train: it learns what was planted, and more workers are the same training."""

from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from character_ray.config import ClusterTrainConfig
from character_ray.errors import TrainingError
from character_ray.models import ENCODER, resolve_model
from character_ray.training.sequence_classifier import ClassifierJob, classify_texts, train_classifier

WORDS = ("arr matey the tide", "dear reader the moon", "the answer is here")
TEXTS = tuple(f"{WORDS[number % 3]} {number}" for number in range(48))
LABELS = tuple(number % 3 for number in range(48))


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer BERT without dropout, with the packaged encoder's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_model(ENCODER))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    folder = tmp_path_factory.mktemp("encoder")
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def job(base: Path, folder: Path, workers: int = 1, **changes) -> ClassifierJob:
    cluster = ClusterTrainConfig(device="cpu", workers=workers, cpus_per_worker=1)
    settings = {"epochs": 6, "learning_rate": 5e-3, "batch_size": 12, "num_classes": 3} | changes
    return ClassifierJob(base, TEXTS, LABELS, folder=folder, cluster=cluster, **settings)


def test_it_learns_and_two_workers_are_the_same_training(tiny_encoder: Path, tmp_path: Path):
    losses = {workers: train_classifier(job(tiny_encoder, tmp_path / str(workers), workers)) for workers in (1, 2)}
    assert len(losses[1]) == len(losses[2]) == 6 * 4
    assert losses[1][-1] < 0.3 < 0.9 < losses[1][0]  # ln 3 = 1.1 where nothing is known
    new = [f"{words} anew" for words in WORDS]
    logits = [classify_texts(tmp_path / str(workers), new) for workers in (1, 2)]
    assert logits[0].argmax(1).tolist() == [0, 1, 2]
    # Sums in another order differ in the last bits, and 24 steps of Adam magnify that.
    assert logits[1] == pytest.approx(logits[0], abs=0.1)
    assert not (tmp_path / "1" / "ray_train").exists()


def test_logits_do_not_depend_on_the_batch(tiny_encoder: Path):
    torch.manual_seed(0)
    model = BertForSequenceClassification.from_pretrained(tiny_encoder, num_labels=2).eval()
    assert model.num_labels == 2
    texts = ["arr", "a much longer text about the sea and the tide", "moon"]
    together = classify_texts(tiny_encoder, texts, batch_size=3)
    alone = np.concatenate([classify_texts(tiny_encoder, [text]) for text in texts])
    assert together == pytest.approx(alone, abs=1e-4)


def test_batches_that_cannot_be_shared_and_unknown_classes_are_refused(tiny_encoder: Path, tmp_path: Path):
    with pytest.raises(TrainingError, match="batch_size=9 cannot be shared out evenly over 2 workers"):
        train_classifier(job(tiny_encoder, tmp_path / "a", 2, batch_size=9))
    with pytest.raises(TrainingError, match=r"labels \[0, 1, 2\] are not all among the 2 classes"):
        train_classifier(job(tiny_encoder, tmp_path / "b", num_classes=2))
