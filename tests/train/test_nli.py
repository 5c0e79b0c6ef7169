"""A sequence classifier as judge of contradictions: its class, its batches, and that it must earn belief. Weights are random."""

import math
from pathlib import Path

import pytest
import ray
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from character_ray.config import CoherenceConfig, JudgeConfig, ModelConfig, Recipe
from character_ray.errors import ModelError
from character_ray.inference.nli import ContradictionJudge, contradiction_class
from character_ray.models import resolve_model
from character_ray.pipeline.coherence import coherence_report
from character_ray.pipeline.context import Context, Model
from character_ray.report.trials_schema import Coherence
from character_ray.rows import Answer, Challenged
from character_ray.runs import Run, Store
from tests.train.encoders import save_encoder

ROOT = Path(__file__).resolve().parents[2]
LABELS = {0: "entailment", 1: "neutral", 2: "CONTRADICTION"}
PAIRS = [("Keep it cold.", "Keep it warm."), ("I sail the seas. " * 9, "I never sail."), ("Yes.", "No, " * 40)]


@pytest.mark.parametrize("architecture", ["roberta", "modernbert"])
def test_the_probability_of_a_pair_is_the_models_whatever_shares_its_batch(architecture: str, tmp_path: Path):
    folder = save_encoder(architecture, tmp_path, positions=96, labels=LABELS)
    contradiction = contradiction_class(folder, "tiny")
    assert contradiction == 2
    judge = ContradictionJudge(str(folder), contradiction, JudgeConfig(device="cpu"))
    premises, hypotheses = map(list, zip(*PAIRS, strict=True))
    found = judge({"row_id": ["a", "b", "c"], "prompt": premises, "completion": hypotheses})["score"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for (premise, hypothesis), score in zip(PAIRS, found, strict=True):
        read = tokenizer(
            premise,
            hypothesis,
            truncation=True,
            max_length=96 if architecture == "roberta" else 512,
            return_tensors="pt",
        )
        with torch.no_grad():
            logits = model(input_ids=read["input_ids"], attention_mask=read["attention_mask"]).logits[0]
        assert score == pytest.approx(float(logits.softmax(-1)[2]), abs=1e-5)


@pytest.mark.parametrize("labels", [{0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}, {0: "entailment", 1: "not_entailment"}])
def test_a_classifier_without_a_class_for_contradiction_is_refused_with_its_classes(labels: dict, tmp_path: Path):
    folder = save_encoder("roberta", tmp_path, labels=labels)
    with pytest.raises(ModelError, match=f"the classes of tiny are {', '.join(labels.values())}, of which exactly one"):
        contradiction_class(folder, "tiny")
    with pytest.raises(ModelError, match="cannot be read as a model"):
        contradiction_class(tmp_path / "nowhere", "nowhere")


def test_contradictions_are_measured_by_a_model_that_knows_some_and_by_no_other(tmp_path: Path):
    folder = save_encoder("modernbert", tmp_path / "tiny", labels=LABELS)
    student = Model("smollm2", resolve_model(ModelConfig()))
    answers = [
        Answer(
            row_id=f"r{number}", arm=arm, prompt_id=f"p{number}", source="grid", hint="", sample=0, prompt="?",
            completion="Keep it cold, always. Keep it warm, always. Never keep it.", error="", score=1.0,
        )
        for arm in ("base", "full")
        for number in range(3)
    ]  # fmt: skip
    tried = [
        Challenged(
            row_id=f"full/s/{turn}", arm="full", group="erosion", kind="erosion", challenge_id="s", wording="s", turn=turn,
            prompt="?", system="", begun="", canary="", completion=f"I say this in turn {turn}.", error="", score=math.nan,
        )
        for turn in (1, 2, 3)
    ]  # fmt: skip

    def report(coherence: CoherenceConfig) -> Coherence:
        recipe = Recipe(
            name="nli",
            constitution=ROOT / "constitutions" / "captain-blackwood.yaml",
            output=tmp_path,
            judge=JudgeConfig(device="cpu", batch_size=64),
        )
        recipe = recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"coherence": coherence})})
        run = Run(recipe.folder, recipe.model_dump(mode="json"))
        context = Context(recipe, student, student, Store(tmp_path / "store"), run)
        return Coherence.model_validate(coherence_report(context, answers, tried, ["base", "full"]))

    named = CoherenceConfig(nli=str(folder), min_auc=1.0)
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        doubted = report(named)
        # Random weights know no contradiction; without a floor they are taken at their word.
        believed = report(named.model_copy(update={"min_auc": 0.0}))
    finally:
        ray.shutdown()
    assert doubted.auc == believed.auc and doubted.n == 32
    assert "below 1 (evaluate.coherence.min_auc)" in doubted.reason
    assert all(rate.value is None and rate.reason == doubted.reason for rate in doubted.rates["full"].values())
    assert not believed.reason
    assert (believed.rates["full"]["contradiction_rate"].n, believed.rates["base"]["contradiction_rate"].n) == (3, 3)
    assert believed.rates["full"]["conversation_contradiction_rate"].n == 1
    assert believed.rates["base"]["conversation_contradiction_rate"].value is None
    unnamed = report(CoherenceConfig())
    assert unnamed.model == "" and "evaluate.coherence.nli" in unnamed.rates["full"]["contradiction_rate"].reason
