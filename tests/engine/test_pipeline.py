"""The whole story on the embedded model: what training must show, and that the test would notice if it did not."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from character_ray.config import ModelConfig
from character_ray.constitution import load_constitution, vocabulary_pattern
from character_ray.models import resolve_model
from character_ray.parts import read_rows
from character_ray.report.io import load_report
from character_ray.statistics import paired_difference

pytestmark = pytest.mark.timeout(2500)  # the first test waits for the whole run

PATTERN = vocabulary_pattern(load_constitution("constitutions/captain-blackwood.yaml"))


def speaks_up(answers, arm, against):
    """Whether ``arm`` uses the persona's own words more often than ``against``, by a paired 95 % interval."""
    sides = []
    for name in (arm, against):
        rows = [row for row in answers if row["arm"] == name and row["source"] != "probe"]
        sides += [[float(bool(PATTERN.search(row["completion"]))) for row in rows], [row["prompt_id"] for row in rows]]
    interval = paired_difference(*sides, seed=0)
    assert interval.n >= 32
    return interval.low > 0


def untrained_completions(prompts):
    """What a freshly initialised adapter answers, sampled as every arm is."""
    torch.manual_seed(0)
    base = resolve_model(ModelConfig())
    tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=8, lora_alpha=16, task_type="CAUSAL_LM")
    )
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    inputs = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    ids = model.generate(**inputs, do_sample=True, temperature=0.7, top_p=0.9, max_new_tokens=32)
    return tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def test_the_trained_persona_beats_the_base_and_an_untrained_one_does_not(miniature):
    answers = read_rows(miniature[0] / "answers.parquet")
    assert speaks_up(answers, "full", "base")
    asked = [row for row in answers if row["arm"] == "base" and row["source"] != "probe"]
    texts = untrained_completions([row["prompt"] for row in asked])
    untrained = [row | {"arm": "untrained", "completion": text} for row, text in zip(asked, texts, strict=True)]
    assert not speaks_up(answers + untrained, "untrained", "base")


def test_the_judge_agrees_that_the_persona_was_learnt(miniature):
    report = load_report(miniature[0] / "report.json")
    rates = {arm: metrics["persona_rate"].value for arm, metrics in report.arms.items()}
    assert rates["full"] > rates["base"]
    rating = next(d for d in report.differences if d.metric == "rating" and d.against == "base")
    assert rating.low > 0


def test_every_arm_is_tried_and_every_directive_judged_alone(miniature):
    trials = load_report(miniature[0] / "report.json").trials
    assert {trial.group for trial in trials.rates} >= {"attack", "scaffold", "safety", "directive"}
    assert all(set(trial.arms) == {"base", "prompted", "full"} for trial in trials.rates)
    directives = [trial for trial in trials.rates if trial.group == "directive"]
    assert len({trial.kind for trial in directives}) == len(directives) > 3
    # The teacher was shown them all, so that some judges at least tell what it wrote from what the base wrote.
    assert max(trial.judge_auc for trial in directives) > 0.7
    for trial in directives:
        if trial.judge_auc < 0.7:
            assert all(
                rates["followed_rate"].value is None for rates in trial.arms.values() if "followed_rate" in rates
            )
    assert set(trials.stakeholders) == {"base", "prompted", "full"}
    judges = {judge.directive: judge for judge in trials.directive_judges}
    assert set(judges) == {trial.kind for trial in directives}
    decided = [judge.directive for judge in judges.values() if judge.constraint and not judge.reason]
    operator = trials.stakeholders["full"]["operator"]
    # One occasion of each constraint that has a judge to decide it.
    assert (operator.n == len(decided)) if decided else (operator.value is None and "constraint" in operator.reason)
    assert (miniature[0] / "trials.parquet").is_file()


def test_dpo_starts_at_ln_2_and_learns(miniature):
    steps = load_report(miniature[0] / "report.json").training["dpo"]
    assert steps[0]["rewards/margins"] == pytest.approx(0, abs=1e-3)
    assert steps[-1]["rewards/margins"] > 1


def test_the_deliverable_is_one_adapter_that_equals_both(miniature):
    report = load_report(miniature[0] / "report.json")
    assert report.adapter.rank == 16
    assert (
        report.adapter.logit_difference_float32 < 1e-3
    )  # logits of this model are near 20; float32 keeps seven digits


def test_no_training_row_holds_the_constitution(miniature):
    rows = [
        row for row in read_rows(miniature[0] / "introspection" / "conversations.parquet") if not row["drop_reason"]
    ]
    assert {row["kind"] for row in rows} >= {"reflection", "plain"}
    assert all(turn["role"] != "system" for row in rows for turn in row["messages"])


def test_a_second_submission_reuses_everything_and_a_change_says_what_it_redoes(miniature, submit):
    folder, _ = miniature
    before = json.loads((folder / "report.json").read_text())
    recipe = json.loads((folder / "run.json").read_text())["recipe"]
    overrides = [f"constitution={recipe['constitution']}", f"output={recipe['output']}"]
    again = submit("tests/engine/miniature.yaml", *overrides)
    assert again.returncode == 0, again.stdout[-3000:]
    after = json.loads((folder / "report.json").read_text())
    assert all(stage["reused"] for stage in after["run"]["stages"].values())
    assert after["arms"] == before["arms"]


def test_a_recipe_for_gpus_on_a_cluster_without_is_refused_in_words(submit, tmp_path):
    refused = submit(
        "tests/engine/miniature.yaml",
        f"output={tmp_path}",
        "train.device=gpu",
        "train.workers=2",
        "dpo.batch_size=8",
        "sft.batch_size=8",
    )
    assert refused.returncode != 0
    assert "train needs 2 GPUs, but this Ray cluster has 0" in refused.stdout + refused.stderr


def test_a_training_that_no_nodes_can_hold_is_refused_before_anything_is_generated(submit, tmp_path):
    refused = submit(
        "tests/engine/miniature.yaml",
        f"output={tmp_path}",
        "train.workers=8",
        "dpo.batch_size=32",
        "sft.batch_size=32",
    )
    assert refused.returncode != 0
    assert "train needs 8 workers with 2 CPU each" in refused.stdout + refused.stderr
