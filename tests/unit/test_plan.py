"""What a recipe takes: shapes, roofline, memory and the whole plan, against figures worked out by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from character_ray.cli import app
from character_ray.config import EngineConfig, JudgeConfig, ModelConfig, load_recipe
from character_ray.config.challenges import ChallengesConfig
from character_ray.constitution import load_constitution
from character_ray.errors import ModelError, RecipeError
from character_ray.judging.threshold import KNOWN_PER_DIRECTIVE
from character_ray.model_shape import KNOWN_SHAPES, find_shape, read_shape
from character_ray.plan import Estimate, check_fits, compare_with, estimate_recipe, plan_recipe
from character_ray.plan.check import measured_seconds
from character_ray.plan.memory import as_loaded, engine_memory, judge_memory, kv_gib
from character_ray.report.io import load_report
from character_ray.roofline import (
    GPUS,
    Costs,
    Device,
    Load,
    cpu,
    generation_s,
    judging_s,
    reading_s,
    sampling_s,
    training_s,
)

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "jobs" / "recipes"
MEASURED = ROOT / "docs" / "results" / "smollm2-full" / "report.json"
FREE = Costs(
    engine_start=0, engine_token=0, weights_per_s=1e30, exchange=0, judge_start=0, judge_row=0, training_start=0,
    training_layer=0, sampling_layer=0, memory_share=1, multiply_share=1, training_share=1,
)  # fmt: skip
# One product and one byte a second are easy to count with.
SLOW = Device("slow", 80.0, 1.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("name", "billions", "at_work"),
    [
        ("smollm2-135m", 0.1345, 0.1345),
        ("qwen3-0.6b", 0.596, 0.596),
        ("qwen3-1.7b", 1.72, 1.72),
        ("qwen3-4b", 4.02, 4.02),
        ("qwen3-8b", 8.19, 8.19),
        ("qwen3-14b", 14.77, 14.77),
        ("qwen3-32b", 32.76, 32.76),
        ("qwen3-30b-a3b", 30.53, 3.35),
        ("qwen3-235b-a22b", 235.1, 22.2),
    ],
)
def test_shapes_have_the_published_numbers_of_parameters(name: str, billions: float, at_work: float):
    shape = KNOWN_SHAPES[name]
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.005)
    active = shape.blocks_at_work + shape.embedding * (1 if shape.tied else 2)
    assert active / 1e9 == pytest.approx(at_work, rel=0.01)


def test_keys_and_values_of_qwen3_4b_take_147456_bytes_a_token():
    shape = KNOWN_SHAPES["qwen3-4b"]
    assert shape.kv_bytes() == 2 * 36 * 8 * 128 * 2 == 147_456
    assert shape.kv_bytes(8) == 147_456 / 8
    # Four heads on eight GPUs: every head lies on two of them.
    assert KNOWN_SHAPES["qwen3-235b-a22b"].kv_bytes(8) == KNOWN_SHAPES["qwen3-235b-a22b"].kv_bytes(4)


def test_a_lora_of_rank_32_on_qwen3_4b_has_66_million_parameters():
    targets = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    by_hand = 32 * 36 * (2 * (2560 + 4096) + 2 * (2560 + 1024) + 3 * (2560 + 9728))
    assert KNOWN_SHAPES["qwen3-4b"].lora(32, targets) == by_hand == 66_060_288
    assert KNOWN_SHAPES["qwen3-4b"].lora(32, ("q_proj",)) == 32 * 36 * (2560 + 4096)


def test_of_many_experts_one_sequence_reads_its_own():
    shape = KNOWN_SHAPES["qwen3-30b-a3b"]
    assert shape.parameters_read(1) == pytest.approx(shape.blocks_at_work + shape.embedding)
    assert shape.parameters_read(1000) == pytest.approx(shape.blocks + shape.embedding, rel=1e-6)


def test_a_folder_beats_the_table_and_needs_no_weights(tmp_path: Path):
    config = {
        "num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 16,
        "vocab_size": 10, "tie_word_embeddings": True,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shape = find_shape(ModelConfig(name=str(tmp_path)))
    assert shape.head_size == 2
    # q and o: 8 x 8 each, k and v: 8 x 4 each, three of 8 x 16, twice; and the embedding.
    assert shape.parameters == 2 * (2 * 64 + 2 * 32 + 3 * 128) + 80
    (tmp_path / "config.json").write_text(
        json.dumps({"text_config": config, "quantization_config": {"quant_method": "awq", "bits": 4}}), encoding="utf-8"
    )
    assert read_shape(tmp_path).bytes_per_weight == 0.5


def test_names_of_the_hub_find_their_shape_and_unknown_ones_are_refused(tmp_path: Path):
    assert find_shape(ModelConfig(name="Qwen/Qwen3-235B-A22B-Instruct-2507")) == KNOWN_SHAPES["qwen3-235b-a22b"]
    assert find_shape(ModelConfig(name="Qwen/Qwen3-4B")) == KNOWN_SHAPES["qwen3-4b"]
    with pytest.raises(ModelError, match=r"'somebody/Qwen3-4Bolder' is not known"):
        find_shape(ModelConfig(name="somebody/Qwen3-4Bolder"))
    (tmp_path / "config.json").write_text('{"num_attention_heads": 2}', encoding="utf-8")
    with pytest.raises(ModelError, match="does not describe a decoder"):
        find_shape(ModelConfig(name=str(tmp_path)))


def test_a_decoding_step_reads_weights_and_history():
    shape = KNOWN_SHAPES["smollm2-135m"]
    load = Load(rows=4, prompt=0, cached=100, completion=10)
    fast = Device("bandwidth alone", 80.0, 1e30, 1.0, 0.0)
    seconds = generation_s(load, shape, fast, FREE, sequences=2)
    # Two at a time, so twenty steps; each reads 2 bytes a parameter and two histories of 100 + 10 / 2 tokens.
    by_hand = 20 * (2 * shape.parameters + 2 * 105 * 2 * 30 * 3 * 64 * 2)
    assert seconds == pytest.approx(by_hand)
    # More GPUs share both, where the heads can be divided.
    assert generation_s(load, shape, fast, FREE, sequences=2, gpus=3, tensor_parallel=3) == pytest.approx(by_hand / 3)


def test_prefill_multiplies_by_every_parameter_of_the_layers():
    shape = KNOWN_SHAPES["smollm2-135m"]
    memory = Device("speed alone", 80.0, 1.0, 1e30, 0.0)
    seconds = generation_s(Load(3, 50, 0, 1e-9), shape, memory, FREE, sequences=3)
    assert seconds == pytest.approx(3 * 50 * (2 * shape.blocks + 4 * 30 * 9 * 64 * 25), rel=1e-6)


def test_software_costs_are_added_for_every_token_row_and_layer():
    shape, load = KNOWN_SHAPES["smollm2-135m"], Load(10, 5, 0, 100)
    costs = Costs(engine_token=1e-3)
    endless = Device("endless", 80.0, 1e30, 1e30, 0.0)
    assert generation_s(load, shape, endless, costs, sequences=10) == pytest.approx(1.0)
    assert judging_s(200, 10, shape, endless, Costs(judge_row=0.5)) == pytest.approx(100)
    # A quarter of a device multiplies at a quarter of its rate.
    assert judging_s(200, 10, shape, SLOW, FREE, share=0.25) == pytest.approx(4 * judging_s(200, 10, shape, SLOW, FREE))
    # Launches bound a small model: ten micro-batches, four readings of thirty layers.
    assert training_s(10, 100, 4, 0, shape, endless, Costs(training_layer=0.01)) == pytest.approx(12)


def test_training_multiplies_four_times_by_the_frozen_weights_of_sft_and_six_times_by_the_adapter():
    shape = KNOWN_SHAPES["qwen3-4b"]
    frozen = shape.blocks + shape.embedding
    assert training_s(1, 1, 3, 0, shape, SLOW, FREE) == pytest.approx(4 * frozen)
    assert training_s(1, 1, 3, 1000, shape, SLOW, FREE) == pytest.approx(4 * frozen + 6000)
    # DPO's reference reads once more: 2N.
    assert training_s(1, 1, 4, 0, shape, SLOW, FREE) == pytest.approx(6 * frozen)


def test_a_training_step_of_qwen3_4b_agrees_with_the_known_limit():
    # 16 pairs of 2 x 1,024 tokens at 790 TFLOP/s: 1.07 s, attention's own products (6 %) left out here.
    shape = KNOWN_SHAPES["qwen3-4b"]
    lora = shape.lora(32, ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"))
    device = Device("as measured", 139.8, 790e12, 4.3e12, 0.0)
    assert training_s(1, 32 * 1024, 4, lora, shape, device, FREE) == pytest.approx(1.07, rel=0.07)


def test_an_engine_holds_weights_adapter_and_what_is_left_for_the_cache():
    engine = EngineConfig(max_num_seqs=256, max_model_len=4096)
    shape = KNOWN_SHAPES["qwen3-4b"]
    memory = engine_memory("student_engine", engine, shape, GPUS["h100"], lora_rank=32)
    assert memory.parts["weights"] == pytest.approx(2 * 4.0218e9 / 2**30, rel=1e-3)
    assert memory.parts["adapter"] == pytest.approx(2 * 66_060_288 / 2**30)
    assert memory.parts["working"] == pytest.approx(1.5 + 3 * 4 * 256 * 151936 / 2**30)
    assert memory.total_gib == pytest.approx(0.9 * 79.2) == pytest.approx(memory.limit_gib)
    assert memory.shortage == ""
    fixed = EngineConfig(vllm={"kv_cache_memory_bytes": 10 * 2**30}, gpu_memory_utilization=0.2)
    assert engine_memory("student_engine", fixed, shape, GPUS["h100"]).parts["KV cache"] == 10
    on_cpu = fixed.model_copy(update={"device": "cpu"})
    assert engine_memory("student_engine", on_cpu, shape, cpu(2, 0.0)).parts["KV cache"] == 10


def test_weights_that_the_engine_turns_into_fp8_take_half_of_the_layers_memory():
    shape, gpu = KNOWN_SHAPES["qwen3-4b"], GPUS["h200"]
    plain = EngineConfig(dtype="bfloat16")
    small = plain.model_copy(update={"vllm": {"quantization": "fp8", "kv_cache_dtype": "fp8"}})
    before, after = (engine_memory("student_engine", engine, shape, gpu).parts for engine in (plain, small))
    assert before["weights"] - after["weights"] == pytest.approx(shape.blocks / 2**30)
    assert kv_gib(small, shape) == kv_gib(plain, shape) / 2
    stored = replace(shape, bytes_per_weight=1.0)
    assert as_loaded(small, stored) == stored  # a folder of FP8 weights already


def test_a_cache_too_small_for_one_sequence_is_refused_with_both_numbers():
    engine = EngineConfig(max_model_len=262_144, max_num_seqs=1)
    memory = engine_memory("student_engine", engine, KNOWN_SHAPES["qwen3-14b"], GPUS["l40s"])
    needed = 262_144 * 2 * 40 * 8 * 128 * 2 / 2**30
    assert f"student_engine.max_model_len=262144 needs {needed:.2f} GiB" in memory.shortage


def test_a_plan_that_does_not_fit_is_refused_with_its_stages_and_a_remedy():
    recipe = load_recipe(RECIPES / "cluster-235b.yaml", ["teacher_engine.tensor_parallel=4", "dpo.micro_batch_size=2"])
    with pytest.raises(
        RecipeError, match=r"teacher: 1\d\d\.\d GiB where 71\.3 GiB .* Raise teacher_engine\.tensor_parallel=4"
    ):
        check_fits(estimate_recipe(recipe))
    large = ["dpo.batch_size=512", "dpo.micro_batch_size=64", "dpo.gradient_checkpointing=false"]
    with pytest.raises(
        RecipeError, match=r"dpo: .*Try: lower dpo\.micro_batch_size=64; set dpo\.gradient_checkpointing=true"
    ):
        check_fits(estimate_recipe(load_recipe(RECIPES / "cluster-235b.yaml", large)))
    check_fits(estimate_recipe(load_recipe(RECIPES / "cluster-235b.yaml")))


@pytest.mark.parametrize("name", ["cluster-235b", "demo-cpu", "laptop-gpu", "qwen3-4b", "smollm2-full"])
def test_every_recipe_can_be_planned_and_its_tokens_follow_from_its_rows(name: str):
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    plan = estimate_recipe(recipe)
    assert [each.step for each in plan.estimates] == plan_recipe(recipe)
    by_stage = {each.step.stage: each for each in plan.estimates}
    share = recipe.plan.mean_length
    for stage, sampling in (
        ("teacher", recipe.distill.teacher),
        ("student", recipe.distill.student),
        ("reflections", recipe.introspect.reflection_sampling),
    ):
        each = by_stage[stage]
        assert each.decode == pytest.approx(each.step.rows * sampling.max_tokens * share)
        assert each.prefill == pytest.approx(each.step.rows * 50)
    talk, config = by_stage["interactions"], recipe.introspect
    turns = talk.step.rows * (config.turns - 1)
    assert talk.decode == pytest.approx(turns * config.interaction_sampling.max_tokens * share)
    assert plan.seconds > 0
    assert plan.usd > 0


def test_a_shared_engine_saves_one_start():
    recipe = load_recipe(RECIPES / "laptop-gpu.yaml", ["evaluate.arms=[base,full]"])
    apart, shared = estimate_recipe(recipe, talk_apart=True), estimate_recipe(recipe)
    start = Costs().engine_start + KNOWN_SHAPES["smollm2-135m"].parameters * 2 / Costs().weights_per_s
    assert apart.seconds - shared.seconds == pytest.approx(start)


def test_a_dearer_gpu_costs_more_and_takes_as_long():
    recipe = load_recipe(RECIPES / "laptop-gpu.yaml", ["plan.usd_per_gpu_hour=1.0"])
    dearer = load_recipe(RECIPES / "laptop-gpu.yaml", ["plan.usd_per_gpu_hour=2.5"])
    first, second = estimate_recipe(recipe), estimate_recipe(dearer)
    assert second.usd == pytest.approx(2.5 * first.usd)
    assert second.seconds == first.seconds
    assert first.usd == pytest.approx(first.seconds / 3600)


def test_a_teacher_behind_an_endpoint_costs_what_its_provider_asks():
    endpoint = {"url": "https://provider.example/v1", "usd_per_million_input": 2.0, "usd_per_million_output": 10.0}
    recipe = load_recipe(RECIPES / "laptop-gpu.yaml", ["teacher.name=big", f"teacher_endpoint={json.dumps(endpoint)}"])
    teacher = next(each for each in estimate_recipe(recipe).estimates if each.step.stage == "teacher")
    assert teacher.memory is None
    assert teacher.usd > teacher.decode * 10e-6
    read = (teacher.usd - teacher.decode * 10e-6) / 2e-6
    # The whole prompt is paid for, constitution and examples included.
    assert read > 3 * teacher.prefill


def test_the_teachers_arm_at_an_endpoint_is_paid_beside_the_gpus_of_the_others():
    endpoint = {"url": "https://provider.example/v1", "usd_per_million_input": 2.0, "requests_per_minute": 10}
    overrides = ["teacher.name=big", f"teacher_endpoint={json.dumps(endpoint)}"]

    def answers(*arms: str) -> tuple[float, float, float]:
        recipe = load_recipe(RECIPES / "laptop-gpu.yaml", [*overrides, f"evaluate.arms=[{','.join(arms)}]"])
        (found,) = [each for each in estimate_recipe(recipe).estimates if each.step.stage == "answers"]
        return found.usd, found.seconds, found.step.rows / len(arms)

    (usd, seconds, each), (with_teacher, longer, _) = answers("base", "full"), answers("base", "full", "teacher")
    assert 0 < usd < with_teacher
    assert longer - seconds == pytest.approx(each * 6)
    cheap = load_recipe(RECIPES / "laptop-gpu.yaml", [*overrides, "teacher_endpoint.usd_per_million_input=0"])
    assert {e.step.stage: e.usd for e in estimate_recipe(cheap).estimates}["teacher"] == 0, "waiting costs no GPU"


def test_on_policy_distillation_draws_its_samples_and_holds_another_teacher():
    own = ["dpo.algorithm=on_policy", "dpo.on_policy={samples: 4, max_tokens: 100}"]

    def dpo(recipe: str, *overrides: str) -> Estimate:
        planned = estimate_recipe(load_recipe(RECIPES / f"{recipe}.yaml", overrides))
        return next(each for each in planned.estimates if each.step.stage == "dpo")

    alone = dpo("smollm2-full", *own)
    assert "samples" not in dpo("smollm2-full").memory.parts
    assert alone.memory.parts["samples"] > 0
    assert "teacher" not in alone.memory.parts, "the student's own weights"
    longer = dpo("smollm2-full", *own, "dpo.on_policy.max_tokens=200")
    steps = alone.step.rows * load_recipe(RECIPES / "smollm2-full.yaml").plan.kept_pairs * 4 / 16
    assert longer.seconds - alone.seconds >= steps * 100 * 30 * Costs().sampling_layer, "a token after the other"
    taught = dpo("qwen3-4b", *own)
    teacher = find_shape(load_recipe(RECIPES / "qwen3-4b.yaml").teacher)
    assert taught.memory.parts["teacher"] == pytest.approx(teacher.parameters * 2 / 2**30)
    assert "teacher" not in dpo("qwen3-4b").memory.parts


def test_a_token_that_a_training_draws_reads_the_weights_and_a_teacher_reads_once():
    shape = replace(KNOWN_SHAPES["smollm2-135m"], tied=True)
    read = (shape.blocks + shape.embedding) * 2
    assert sampling_s(10, 1, shape, replace(SLOW, flops=1e30), FREE) == pytest.approx(10 * read)
    assert reading_s(3, 7, shape, SLOW, FREE) == pytest.approx(3 * 7 * 2 * (shape.blocks + shape.embedding))
    launches = replace(FREE, sampling_layer=0.5, training_layer=2.0)
    fast = replace(SLOW, flops=1e30, bandwidth=1e30)
    assert sampling_s(10, 4, shape, fast, launches) == pytest.approx(10 * 30 * 0.5)
    assert reading_s(3, 7, shape, fast, launches) == pytest.approx(3 * 30 * 2.0)


def test_only_what_fits_beside_a_training_is_kept_on_its_gpu():
    recipe = load_recipe(RECIPES / "smollm2-full.yaml", ["train.gpu_share=0.5", "student_engine.gpu_share=0.4"])

    def kept(**changes: int) -> dict[str, float]:
        engine = recipe.student_engine.model_copy(update=changes)
        planned = estimate_recipe(recipe.model_copy(update={"student_engine": engine}))
        parts = {each.step.stage: each.memory.parts for each in planned.estimates}["dpo"]
        return {name: size for name, size in parts.items() if "kept" in name}

    assert kept(replicas=1) == kept(replicas=4), "the other three are on other GPUs"
    (one,) = [e.memory for e in estimate_recipe(recipe).estimates if e.step.stage == "scores"]
    assert kept(replicas=4)["kept judges"] == pytest.approx(one.total_gib), "of four, each of a tenth"
    too_large = {name: size for name, size in kept(replicas=4, gpu_share=0.6).items() if name == "kept engines"}
    assert too_large == {}


def test_a_plan_says_what_the_driver_joins():
    recipe = load_recipe(RECIPES / "cluster-235b.yaml")
    planned = estimate_recipe(recipe)
    assert planned.driver["student in float32"] == pytest.approx(KNOWN_SHAPES["qwen3-4b"].parameters * 4 / 2**30)
    assert planned.driver["adapters"] == pytest.approx(2 * 66_060_288 / 32 * recipe.deliverable_rank * 4 / 2**30)
    told = CliRunner().invoke(app, ["plan", str(RECIPES / "cluster-235b.yaml")]).output.replace("\n", " ")
    assert "a cluster's head, takes 19.4 GiB of main memory" in told


def test_the_measured_run_is_predicted_as_well_as_the_plan_says():
    """What ``character_ray.cli.plan.HOW_GOOD`` and docs/plan.md state."""
    compared = {each.stage: each for each in compare_with(load_report(MEASURED), talk_apart=True)}
    whole = compared.pop("whole run")
    assert whole.measured_s == pytest.approx(13.7 * 60, abs=5)
    assert abs(whole.error) <= 0.03
    assert compared.pop("other").measured_s < 20
    assert max(abs(each.error) for each in compared.values()) <= 0.16


def test_published_throughputs_are_overrated_by_no_more_than_the_plan_says():
    # Tokens read and written per second, ShareGPT, a thousand prompts at once, H100s, vLLM 0.9 and 0.11.
    for name, gpus, published in (("qwen3-8b", 1, 13305), ("qwen3-14b", 1, 6596), ("qwen3-235b-a22b", 8, 8425)):
        load = Load(rows=1000, prompt=216, cached=0, completion=200)
        shape = KNOWN_SHAPES[name]
        seconds = generation_s(load, shape, GPUS["h100"], Costs(), sequences=256, gpus=gpus, tensor_parallel=gpus)
        assert 1.45 <= 1000 * 416 / seconds / published <= 2.35


def test_stages_of_a_report_are_gathered_under_the_plans_names():
    stages = {
        "teacher": 1.0,
        "control-teacher": 2.0,
        "answers-full": 4.0,
        "answers-control": 8.0,
        "sft-alone": 16.0,
        "sft": 32.0,
    }
    assert measured_seconds(stages) == {"teacher": 3.0, "answers": 12.0, "sft": 48.0}


def test_cores_are_added_up():
    assert cpu(4, 0.05).flops == 4 * cpu(1, 0.05).flops
    assert cpu(4, 0.05).usd_per_hour == pytest.approx(0.2)


def test_the_command_prints_the_plan_and_refuses_what_does_not_fit():
    recipe = str(RECIPES / "smollm2-full.yaml")
    done = CliRunner().invoke(app, ["plan", recipe, "--gpu", "h200", "--price", "2.5", "--against", str(MEASURED)])
    assert done.exit_code == 0, done.output
    assert "US$ 2.50 an hour each" in " ".join(done.output.split())
    assert "whole run" in done.output
    refused = CliRunner().invoke(app, ["plan", str(RECIPES / "cluster-235b.yaml"), "--gpu", "l40s"])
    assert isinstance(refused.exception, RecipeError)
    assert "teacher" in refused.output


def test_trials_and_the_judge_of_each_directive_are_counted():
    """Two occasions of each directive, and known completions to tell teacher from base under it."""
    recipe = load_recipe(RECIPES / "demo-cpu.yaml")
    constitution = load_constitution(recipe.constitution)
    without, tried = (
        recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"challenges": challenges})})
        for challenges in (
            ChallengesConfig(),
            ChallengesConfig(safety=3, per_directive=2, erosion=5, turns=4, max_tokens=16),
        )
    )
    directives, arms = len(constitution.directives.all), len(recipe.evaluate.arms)
    before, after = ({step.stage: step.rows for step in plan_recipe(each)} for each in (without, tried))
    occasions = 2 * directives
    assert after["answers"] - before["answers"] == arms * (2 * 3 + occasions + 5 * 4)
    known = 2 * directives * min(KNOWN_PER_DIRECTIVE, before["student"])
    assert after["scores"] - before["scores"] == arms * (2 * 3 + occasions + 5 * 4 + occasions) + known
    decoded = {
        each.step.rows: each.decode
        for plan in (estimate_recipe(without), estimate_recipe(tried))
        for each in plan.estimates
        if each.step.stage == "answers"
    }
    short = 16 * recipe.plan.mean_length * (after["answers"] - before["answers"])
    assert decoded[after["answers"]] - decoded[before["answers"]] == pytest.approx(short)


def test_challenges_and_erosion_of_a_run_are_answers_of_a_plan():
    stages = {"answers-full": 1.0, "challenges-full": 2.0, "erosion-base": 4.0, "scores-directives": 8.0, "dpo": 16.0}
    assert measured_seconds(stages) == {"answers": 7.0, "scores": 8.0, "dpo": 16.0}


def test_a_judge_must_fit_its_share_of_a_gpu():
    shape, device = KNOWN_SHAPES["qwen3-4b"], GPUS["h100"]
    alone = judge_memory(JudgeConfig(), shape, device, 400)
    shared = judge_memory(JudgeConfig(replicas=8, gpu_share=0.125), shape, device, 400)
    assert not alone.shortage and shared.parts == alone.parts
    assert "that judge.gpu_share=0.125 leaves" in shared.shortage
    # On GPUs auto is float32.
    assert judge_memory(JudgeConfig(dtype="auto"), shape, device, 400).parts == alone.parts


def test_a_training_counts_what_is_kept_on_its_gpu():
    recipe = load_recipe(RECIPES / "smollm2-full.yaml")
    beside = {each.step.stage: each.memory for each in estimate_recipe(recipe).estimates}
    dpo, engine, judge = (beside[stage] for stage in ("dpo", "student", "scores"))
    assert dpo.parts["kept engines"] == pytest.approx(engine.total_gib)
    two = load_recipe(RECIPES / "smollm2-full.yaml", ["student_engine.replicas=2"])
    again = {each.step.stage: each.memory for each in estimate_recipe(two).estimates}
    assert again["dpo"].parts["kept engines"] == pytest.approx(2 * engine.total_gib)
    assert dpo.parts["kept judges"] == pytest.approx(4 * judge.total_gib)
    alone = load_recipe(RECIPES / "laptop-gpu.yaml")
    assert not any("kept" in part for each in estimate_recipe(alone).estimates for part in each.memory.parts)


def test_what_is_kept_starts_once():
    recipe = load_recipe(RECIPES / "laptop-gpu.yaml", ["evaluate.arms=[base,full]", "judge.keep=false"])
    kept = recipe.model_copy(update={"student_engine": recipe.student_engine.model_copy(update={"keep": True})})
    costs = Costs(engine_reload=0.0)
    # The base, the distilled and the final model pass through it.
    saved = estimate_recipe(recipe, costs).seconds - estimate_recipe(kept, costs).seconds
    assert saved == pytest.approx(2 * costs.engine_start)
    judged = recipe.model_copy(update={"judge": recipe.judge.model_copy(update={"keep": True})})
    assert estimate_recipe(recipe).seconds - estimate_recipe(judged).seconds == pytest.approx(2 * Costs().judge_start)
