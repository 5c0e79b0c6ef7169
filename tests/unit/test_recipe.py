"""Recipes: what a user gets told, and when."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from character_ray.config import ClusterTrainConfig, JudgeConfig, Recipe, load_recipe, recipe_warnings
from character_ray.errors import RecipeError
from character_ray.pipeline import run_personas, run_pipeline
from character_ray.studies import Cell, Study
from character_ray.studies.run import run_cells
from jobs import full_pipeline, tournament

DEMO = Path(__file__).parents[2] / "jobs" / "recipes" / "demo-cpu.yaml"


def test_overrides_are_merged_and_checked_like_the_file():
    assert load_recipe(DEMO, ["dpo.lora.rank=4", "seed=7"]).dpo.lora.rank == 4
    with pytest.raises(RecipeError, match=r"dpo\.lora\.rnk: unknown key 'rnk'\. Did you mean 'rank'\?"):
        load_recipe(DEMO, ["dpo.lora.rnk=4"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed=1", "dpo.lora.rnk=4:10"], "override dpo.lora.rnk: unknown key 'rnk'. Did you mean 'rank'?"),
        (["dpo.lora={rnk: 4}"], "override dpo.lora: dpo.lora.rnk: unknown key 'rnk'. Did you mean 'rank'?"),
        (
            ["evaluate.arms=brave"],
            "override evaluate.arms: must be a list, but the value is 'brave'. Write evaluate.arms=[…, …].",
        ),
        (["student=brave"], "override student: must be a mapping, but the value is 'brave'. Write student.name=…."),
        (["prompts.languages=3"], "override prompts.languages: must be a mapping, but the value is 3. "),
        (["seed=1", "train.workers=3"], f"{DEMO} with seed=1, train.workers=3: dpo.batch_size=4 is not a multiple"),
        (
            ["student.name=a/b"],
            "Set teacher.name to the student's name to let it teach itself, or add teacher_engine: {device: gpu}",
        ),
        (["student.revision=main"], "teacher.revision=None differs from student.revision='main'"),
    ],
)
def test_what_is_wrong_with_an_override_is_told_of_the_override(overrides, message):
    with pytest.raises(RecipeError) as error:
        load_recipe(DEMO, overrides)
    assert message in str(error.value)


def test_what_is_wrong_with_the_file_is_told_of_its_line(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("name: demo\nconstitution: c.yaml\nstudent: brave\nevaluate:\n  arms: brave\n")
    with pytest.raises(RecipeError) as error:
        load_recipe(path, ["seed=1"])
    assert str(error.value).splitlines() == [
        f"{path}:3: student: must be a mapping, but the value is 'brave'. Write student: {{name: …}}.",
        f"{path}:5: evaluate.arms: must be a list, but the value is 'brave'. Write [a, b], or one line each, beginning with a dash "
        "and a space.",
    ]


@pytest.mark.parametrize("job", [full_pipeline, tournament])
def test_a_job_shows_its_usage(job, capsys):
    assert [job.main(["--help"]), job.main(["x.yaml", "-h"]), job.main([])] == [0, 0, 2]
    assert capsys.readouterr().out.count(f"python jobs/{job.__name__.partition('.')[2]}.py") >= 3


def test_all_problems_are_reported_at_once_with_their_lines(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("name: demo\nconstitution: c.yaml\nsede: 1\ndpo: {beta: -1}\n")
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert "r.yaml:3: sede: unknown key" in str(error.value)
    assert "r.yaml:4: dpo.beta:" in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dpo.lora.rank=300", "could never be served.* Set serve.max_lora_rank to 320"),
        ("dpo.lora.rank=600", r"rank 608, larger than serve.max_lora_rank=32.* Set serve.max_lora_rank to 512"),
        ("dpo.micro_batch_size=3", "Set dpo.batch_size to a multiple of 3"),
        ("teacher.name=Qwen/Qwen3-4B", "teacher_engine is missing"),
        ("evaluate.arms=[base]", "must contain full"),
        ("train.precision=bfloat16", "trains in float32 only"),
        ("evaluate.sampling.max_tokens=4000", "max_model_len=1536 must hold"),
        (
            "student_engine={keep: true, max_replicas: 2}",
            "keep=true holds 1 engines from pass to pass, and max_replicas=2",
        ),
        (
            "student_engine={keep: false, gpu_share: 0.5}",
            "gpu_share=0.5 books part of one GPU .* is not kept. Set keep=true",
        ),
        ("dpo.loss=exo_pair", "label_smoothing is 0, but loss=exo_pair takes its logarithm.* to 0.001 for instance"),
        ("dpo.loss=robust", "label_smoothing is 0, but loss=robust is sigmoid without it.* to 0.1 for instance"),
        (
            "dpo.label_smoothing=0.1",
            "label_smoothing=0.1 has no effect with loss=sigmoid; robust, exo_pair, aot, aot_unpaired reckon",
        ),
        (
            "dpo={loss: aot, micro_batch_size: 1}",
            "loss=aot sorts the pairs of a forward pass, and micro_batch_size=1 leaves one",
        ),
        ("train={device: gpu, workers: 2, gpu_share: 0.5}", "would put several of workers=2 on one GPU"),
        ("nonsense", "is not of the form section.key=value"),
    ],
)
def test_what_could_not_work_is_refused_before_anything_starts(override, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(DEMO, [override])


LONG_TEACHER = "distill.teacher.max_tokens=4000"


@pytest.mark.parametrize(
    "where",
    [["teacher_engine={device: cpu, max_model_len: 8192}"], ["teacher_endpoint={url: 'http://there/v1'}"]],
    ids=["engine of its own", "endpoint"],
)
def test_a_teacher_elsewhere_is_not_held_to_the_students_context(where):
    assert load_recipe(DEMO, [LONG_TEACHER, *where]).distill.teacher.max_tokens == 4000


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([LONG_TEACHER], r"distill\.teacher\.max_tokens=4000, but student_engine\.max_model_len=1536 must hold"),
        (
            [LONG_TEACHER, "teacher_engine={device: cpu, max_model_len: 2048}", "student_engine.max_model_len=8192"],
            r"but teacher_engine\.max_model_len=2048 must hold.* Raise teacher_engine\.max_model_len, or lower distill\.teacher\.max_tok",
        ),
        (
            ["evaluate.sampling.max_tokens=600", "teacher_engine={device: cpu, max_model_len: 512}"],
            r"evaluate\.sampling\.max_tokens=600, but teacher_engine\.max_model_len=512",
        ),
        (
            ["distill.student.max_tokens=4000", "teacher_engine={device: cpu, max_model_len: 8192}"],
            r"distill\.student\.max_tokens=4000, but student_engine\.max_model_len=1536",
        ),
    ],
)
def test_a_completion_is_held_against_the_engine_that_writes_it(overrides, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(DEMO, overrides)


def test_a_repetition_penalty_is_warned_about():
    recipe = load_recipe(DEMO, ["distill.teacher.repetition_penalty=1.15"])
    assert any("distill.teacher.repetition_penalty=1.15" in warning for warning in recipe_warnings(recipe))
    assert recipe_warnings(load_recipe(DEMO)) == []


def test_conversations_that_may_outgrow_the_context_are_warned_about_with_the_numbers():
    (warning,) = recipe_warnings(recipe_with({"student_engine": {"max_model_len": 2048}}))
    assert "introspect.turns=10 with introspect.interaction_sampling.max_tokens=256" in warning
    assert "2,304 tokens" in warning and "student_engine.max_model_len=2048" in warning
    assert "Raise student_engine.max_model_len to 2704 or more, or lower turns or max_tokens" in warning
    assert "dropped (too_long_for_engine)" in warning


def recipe_with(change):
    return Recipe.model_validate({"name": "r", "constitution": "c.yaml"} | change)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"student_engine": {"max_model_len": 2704}},
        {"student_engine": {"max_model_len": 2048}, "introspect": {"turns": 6}},
        {"student_engine": {"max_model_len": 2048}, "introspect": {"interaction_sampling": {"max_tokens": 180}}},
        {"student_engine": {"max_model_len": 2048}, "introspect": {"interactions": 0}},
    ],
)
def test_conversations_that_fit_or_are_not_held_are_not(change):
    assert recipe_warnings(recipe_with(change)) == []


def test_ranks_that_no_engine_holds_are_named_before_training_and_need_a_folded_evaluation():
    ranks = ["dpo.lora.rank=64", "sft.lora.rank=512", "serve.max_lora_rank=512"]
    (warning,) = recipe_warnings(load_recipe(DEMO, ranks))
    assert "sft.lora.rank=512 add up to an adapter of rank 576" in warning
    assert "recompressed to rank 512" in warning
    with pytest.raises(RecipeError, match=r"student_engine\.adapters=live holds at most 512"):
        load_recipe(DEMO, [*ranks, "student_engine.adapters=live"])


def test_a_key_written_twice_is_an_error(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("name: demo\nconstitution: c.yaml\nseed: 1\nseed: 2\n")
    with pytest.raises(RecipeError, match="seed is written twice"):
        load_recipe(path)


def test_further_settings_of_deepspeed_need_deepspeed():
    offload = "train.deepspeed={zero_optimization: {offload_optimizer: {device: cpu}}}"
    assert load_recipe(DEMO.with_name("smollm2-full.yaml"), [offload]).train.deepspeed["zero_optimization"]
    with pytest.raises(RecipeError, match="has no effect with zero_stage=0"):
        load_recipe(DEMO.with_name("smollm2-full.yaml"), [offload, "train.zero_stage=0"])


def test_only_one_optimizer_can_be_asked_for_and_one_that_is_made_by_the_trainer_has_results_of_its_own():
    asked = "train.trainer={optim: adafactor}"
    with pytest.raises(RecipeError, match=r"trainer sets optim and deepspeed sets optimizer=.*Leave one of them out"):
        load_recipe(DEMO, [asked, "train.deepspeed={optimizer: {type: Lamb}}"])
    plain, under = (load_recipe(DEMO, [asked, f"train.zero_stage={stage}"]).train.numerics() for stage in (0, 2))
    assert under == plain | {"zero_stage": 2, "optimizer": "trainer"}
    assert "optimizer" not in load_recipe(DEMO, ["train.trainer={adam_beta1: 0.8}"]).train.numerics()


def test_training_in_process_is_for_one_worker_without_deepspeed():
    with pytest.raises(RecipeError, match="workers=2 and zero_stage=0"):
        load_recipe(DEMO, ["train.in_process=true", "train.zero_stage=0", "train.workers=2"])
    with pytest.raises(RecipeError, match="workers=1 and zero_stage=2"):
        load_recipe(DEMO, ["train.in_process=true"])
    assert load_recipe(DEMO, ["train.in_process=true", "train.zero_stage=0"]).train.in_process


def test_fused_kernels_need_a_gpu():
    with pytest.raises(RecipeError, match="liger's kernels run on GPUs, but device is 'cpu'"):
        load_recipe(DEMO, ["train.liger=true"])


@pytest.mark.parametrize(
    ("override", "modules", "message"),
    [
        ("train.liger=true", ["liger_kernel"], "train.liger is set, but liger_kernel cannot be imported here"),
        ("train.report_to=[wandb]", ["wandb"], "train.report_to names 'wandb', but wandb cannot be imported here"),
        ("seed=1", ["tensorboard", "tensorboardX"], "'tensorboard', but tensorboard and tensorboardX cannot be"),
    ],
)
def test_packages_are_missed_where_a_run_starts_and_not_where_its_recipe_is_read(
    monkeypatch, tmp_path, override, modules, message
):
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    read = load_recipe(DEMO.with_name("smollm2-full.yaml"), [override, f"output={tmp_path}"])
    starts: list[Callable[[], object]] = [
        partial(run_pipeline, read),
        partial(run_personas, read, [read.constitution]),
        partial(run_cells, Study(name="s", recipe=DEMO, cells={"a": {}}), [Cell(name="a", seed=0, recipe=read)]),
    ]
    for start in starts:
        with pytest.raises(RecipeError, match=message):
            start()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "gpus"),
    [
        ({"device": "cpu", "replicas": 4}, 0),
        ({"replicas": 3}, 3),
        ({"replicas": 4, "gpu_share": 0.25}, 1),
        ({"replicas": 3, "gpu_share": 0.5}, 2),
        ({"replicas": 3, "gpu_share": 0.6}, 3),
        ({"replicas": 6, "gpu_share": 1 / 3}, 2),
    ],
)
def test_judges_take_whole_gpus_or_shares(settings, gpus):
    assert JudgeConfig(**settings).gpus == gpus


def test_on_cpus_engines_and_judges_are_kept_and_on_gpus_where_the_recipe_says_so():
    demo, full = load_recipe(DEMO), load_recipe(DEMO.with_name("smollm2-full.yaml"))
    assert (demo.student_engine.is_kept, demo.judge.is_kept, demo.student_engine.kept_gpus) == (True, True, 0)
    assert not load_recipe(DEMO, ["student_engine.max_replicas=2"]).student_engine.is_kept
    booked = full.student_engine.kept_gpus + full.judge.kept_gpus + full.train.needed_gpus
    assert booked == pytest.approx(1.0)
    alone = load_recipe(DEMO.with_name("laptop-gpu.yaml"))
    assert (alone.student_engine.kept_gpus, alone.judge.kept_gpus, alone.train.needed_gpus) == (0, 0, 1)


def test_fewer_workers_are_for_plain_data_parallel_steps_that_they_divide():
    fewer = [
        "train.workers=4",
        "train.min_workers=2",
        "train.zero_stage=0",
        "dpo.batch_size=8",
        "dpo.micro_batch_size=1",
    ]
    fewer += ["sft.batch_size=8", "sft.micro_batch_size=1"]
    assert load_recipe(DEMO, fewer).train.numbers_of_workers(8) == [4, 2]
    with pytest.raises(
        RecipeError, match=r"zero_stage=2 divides the optimizer's state .* Set zero_stage: 0, or leave min_workers out"
    ):
        load_recipe(DEMO, [*fewer, "train.zero_stage=2"])
    with pytest.raises(RecipeError, match="min_workers=5 is more than workers=4"):
        load_recipe(DEMO, [*fewer, "train.min_workers=5"])
    with pytest.raises(RecipeError, match=r"trainer sets dataloader_drop_last, by which it decides them"):
        load_recipe(DEMO, [*fewer, "train.trainer={dataloader_drop_last: true}"])
    with pytest.raises(RecipeError, match=r"no such number divides the 8 micro-batches of a step \(dpo.batch_size=8"):
        load_recipe(DEMO, [*fewer, "train.min_workers=3"])


def test_a_training_that_may_have_fewer_workers_needs_only_their_gpus_to_begin():
    eight = {"workers": 8, "zero_stage": 0}
    assert ClusterTrainConfig(**eight).needed_gpus == 8
    assert ClusterTrainConfig(**eight, min_workers=2).needed_gpus == 2
    assert ClusterTrainConfig(**eight, min_workers=2, device="cpu", precision="float32").needed_gpus == 0
