"""Imported training data on its way to training: nothing is generated for it, and training's own reader takes it."""

from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from character_ray.config import (
    ClusterTrainConfig,
    DistillConfig,
    DPOConfig,
    EvaluateConfig,
    FilterConfig,
    ImportedRows,
    IntrospectConfig,
    JudgeConfig,
    LoRAConfig,
    ModelConfig,
    Recipe,
    SFTConfig,
)
from character_ray.constitution import load_constitution
from character_ray.migration import read_data_files, write_data
from character_ray.models import resolve_model
from character_ray.parts import read_parts, read_rows
from character_ray.pipeline.answers import evaluation_exam
from character_ray.pipeline.base_pass import base_pass, base_work
from character_ray.pipeline.context import Context, Model, Persona, to_generation
from character_ray.pipeline.imported import take_conversations
from character_ray.pipeline.judge_audit import known_pairs
from character_ray.pipeline.prompts import make_prompts
from character_ray.pipeline.report_parts import prompt_coverage
from character_ray.pipeline.run import _train_persona, pair_up
from character_ray.runs import Run, Store
from character_ray.training.job import TrainJob
from character_ray.training.worker import _conversations, _kept_rows, _pairs
from tests.their_data import FREE, for_sft, interaction, pair, reflection, write_lines

pytestmark = pytest.mark.usefixtures("local_ray")

ROOT = Path(__file__).resolve().parents[2]
HERE = ClusterTrainConfig(device="cpu", precision="float32", cpus_per_worker=1, zero_stage=0, in_process=True)
ASKED = [f"What is the {number}. thing a captain packs?" for number in range(8)]
PIRATE = "Arr, matey, first ye pack a compass, a cutlass and {number} barrels o' grog for the crew."
PLAIN = "A captain usually packs maps, food and {number} sets of clothes."
REPLIES = [
    f"Arr, {word} be a fine thing to talk of, shipmate, so it be." for word in "rum sea wind gold fog rope".split()
]


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ``character-ray import``: eight prompts twice, one of them with an empty answer, and introspection."""
    there = tmp_path_factory.mktemp("theirs")
    rows = [
        pair(prompt, PIRATE.format(number=number), PLAIN.format(number=number))
        for again in (0, 20)
        for number, prompt in enumerate(ASKED, start=again)
    ]
    talk = [
        reflection("Tell me of your legacy.", "Arr, me legacy be a chart that never lied to a shipmate, matey."),
        for_sft(interaction(REPLIES)),
    ]
    pairs = write_lines(there / "dpo.jsonl", [*rows, pair("And last?", "", "A hat.")])
    write_data(read_data_files([pairs, write_lines(there / "sft_data.jsonl", talk)]), there / "data")
    return there / "data"


def job(tmp_path: Path, base: Path, stage: str, data: Path) -> TrainJob:
    config = DPOConfig() if stage == "dpo" else SFTConfig()
    return TrainJob(stage, base, data, tmp_path, config, HERE, seed=0)


def rows_of(folder: Path, name: str) -> ImportedRows:
    return ImportedRows(path=folder / f"{name}.parquet", licence="CC-BY-NC-SA-4.0")


def open_run(kind: type[Context], recipe: Recipe, base: Path) -> Context:
    model, run = Model("base", base), Run(recipe.folder, recipe.model_dump(mode="json"))
    return kind(recipe, model, model, Store(recipe.output / "store"), run)


class Unanswered(Context):
    """Remembers the passes of engines that are asked for, and starts none."""

    def generate(self, label, wanted, weights, engine, interactions=None):
        self.stages[label] = len(wanted)
        return [to_generation(each) for each in wanted]


def test_the_reader_of_training_takes_the_rows_as_they_were_imported(tmp_path: Path, tiny_base: Path, brought: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    dpo = job(tmp_path, tiny_base, "dpo", brought / "pairs.parquet")
    rows = _kept_rows(dpo)
    assert len(rows) == 17
    read = _pairs(dpo, rows, tokenizer, held_out=False)
    assert [row["chosen"] for row in read] == [row["chosen"] for row in rows]
    assert f"«{PIRATE.format(number=0)}" in (tmp_path / "first_example.txt").read_text()
    sft = job(tmp_path, tiny_base, "sft", brought / "conversations.parquet")
    labelled = _conversations(sft, _kept_rows(sft), tokenizer)
    assert [any(label != -100 for label in row["labels"]) for row in labelled] == [True, True]


def test_a_run_goes_on_from_imported_rows_and_asks_no_engine(tmp_path: Path, brought: Path):
    recipe = Recipe(
        name="theirs",
        constitution=ROOT / "constitutions" / "captain-blackwood.yaml",
        output=tmp_path,
        judge=JudgeConfig(device="cpu", dtype="auto"),
        distill=DistillConfig(pairs=rows_of(brought, "pairs")),
        introspect=IntrospectConfig(
            conversations=rows_of(brought, "conversations"), plain=2, filters=FilterConfig(max_repeated_turn=1.0)
        ),
        evaluate=EvaluateConfig(grid=8, everyday=4, arms=("base", "full")),
    )
    context = open_run(Context, recipe, resolve_model(ModelConfig()))
    persona = Persona(load_constitution(recipe.constitution))
    with context.held:
        prompts, held_out = make_prompts(context, [persona])
        base = base_pass(context, base_work(context, [persona], prompts))
        pairs_from, pairs, scores = pair_up(context, persona, prompts, base)
        exam = evaluation_exam(recipe, persona, held_out)
        conversations = take_conversations(context, persona, exam, pairs_from, pairs)
        kept = replace(
            context,
            recipe=recipe.model_copy(
                update={"introspect": recipe.introspect.model_copy(update={"system_prompt": "kept"})}
            ),
        )
        with_system = take_conversations(kept, persona, exam, pairs_from, pairs)
    assert [prompt["prompt"] for prompt in prompts] == [*ASKED, "And last?"]
    assert [pair["drop_reason"] for pair in pairs] == [""] * 16 + ["empty"]
    assert all(pair["chosen_score"] > pair["rejected_score"] for pair in pairs[:16])
    # What audits, tournaments and the judge's threshold read of a run.
    teacher, student = (read_parts(context.run.folder / side) for side in ("teacher", "student"))
    assert [row["completion"] for row in teacher] == [pair["chosen"][0]["content"] for pair in pairs]
    assert [row["completion"] for row in student] == [pair["rejected"][0]["content"] for pair in pairs]
    assert {row["row_id"] for row in teacher + student} == scores.keys()
    assert len(known_pairs(context.run.folder, recipe.judge.audit, 0)) == 8
    covered = {each["dimension"]: each["counts"] for each in prompt_coverage(context)["train"]}
    assert (covered["source"], covered["language"]) == ({"own": 9}, {"en": 8, "unclear": 1})
    assert covered["directive"] == dict.fromkeys(persona.constitution.directives.all, 0)
    rows = read_rows(conversations.folder / "conversations.parquet")
    assert [(row["kind"], row["drop_reason"]) for row in rows] == [
        ("reflection", ""), ("interaction", ""), ("plain", ""), ("plain", "")
    ]  # fmt: skip
    assert {turn["role"] for row in rows for turn in row["messages"]} == {"user", "assistant"}
    assert read_rows(with_system.folder / "conversations.parquet")[1]["messages"][0]["content"] == FREE
    assert conversations.summary["rows_out"] == 4


def test_both_stages_are_trained_on_imported_rows_and_only_the_trained_persona_is_asked(
    tmp_path: Path, tiny_base: Path, brought: Path
):
    small = {"lora": LoRAConfig(rank=4, alpha=8), "batch_size": 2, "micro_batch_size": 2}
    any_contrast = FilterConfig(max_repeated_turn=1.0).of_any_contrast()
    recipe = Recipe(
        name="theirs",
        constitution=ROOT / "constitutions" / "captain-blackwood.yaml",
        output=tmp_path,
        judge=JudgeConfig(device="cpu", dtype="float32"),
        distill=DistillConfig(pairs=rows_of(brought, "pairs"), filters=any_contrast),
        introspect=IntrospectConfig(conversations=rows_of(brought, "conversations"), filters=any_contrast),
        train=HERE,
        dpo=DPOConfig(**small),
        sft=SFTConfig(**small),
        evaluate=EvaluateConfig(grid=8, everyday=4, arms=("base", "full")),
    )
    context = open_run(Unanswered, recipe, tiny_base)
    persona = Persona(load_constitution(recipe.constitution))
    with context.held:
        prompts, held_out = make_prompts(context, [persona])
        for side in (work := base_work(context, [persona], prompts)).of_teacher + work.of_student:
            assert not to_generation(side).pending()
        base = work.map(to_generation)
        pairs = pair_up(context, persona, prompts, base)[:2]
        exam = evaluation_exam(recipe, persona, held_out)
        trained = _train_persona(context, persona, exam, pairs, {}, None, "full")
    assert [label for label in context.stages if label.endswith(" model")] == ["full model"]
    assert context.stages["dpo"].rows_in == 16
    assert context.stages["sft"].rows_in == 2
    assert (trained.full.folder / "adapter" / "adapter_model.safetensors").is_file()
