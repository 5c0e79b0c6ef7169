"""Studies: files are checked before anything runs, claims are decided by intervals, and packs carry all that verdicts need."""

import json
import math
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from character_ray.config import Recipe, load_recipe
from character_ray.constitution import load_constitution
from character_ray.errors import CharacterRayError, RecipeError, ReportError
from character_ray.parts import write_rows
from character_ray.report.io import write_report
from character_ray.rows import DECIDED, Decided
from character_ray.side_by_side import Work, do_all
from character_ray.statistics import crossed_interval
from character_ray.studies import Claim, load_study, select_cells
from character_ray.studies import run as studies_run
from character_ray.studies.definition import definition_changes
from character_ray.studies.finished import Finished, read_finished
from character_ray.studies.pack import read_packs, write_pack
from character_ray.studies.run import collect, run_cells, write_results
from character_ray.studies.verdict import judge_claim
from jobs.study import main
from tests.report_fixture import captain_report

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted((ROOT / "jobs" / "studies").glob("*.yaml"))
PUBLISHED = [
    found for folder in sorted((ROOT / "docs" / "studies").iterdir()) if (found := sorted(folder.glob("*.zip")))
]
STUDY = """\
name: ranks
recipe: jobs/recipes/demo-cpu.yaml
seeds: [0, 1]
cells:
  small: {dpo.lora.rank: 4}
  large: {dpo.lora.rank: 8}
claims:
  - {text: More is more, metric: persona_rate, better: large, worse: small}
"""


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_that_ships_is_valid(path: Path):
    study, cells = load_study(path)
    assert len(cells) == len(study.cells) * len(study.seeds)
    assert len({cell.recipe.folder for cell in cells}) == len(cells)


def test_every_cell_and_seed_is_a_recipe_of_its_own(tmp_path):
    _, cells = load_study(write(tmp_path, STUDY))
    assert [(cell.name, cell.seed, cell.recipe.dpo.lora.rank, cell.recipe.seed) for cell in cells] == [
        ("small", 0, 4, 0),
        ("small", 1, 4, 1),
        ("large", 0, 8, 0),
        ("large", 1, 8, 1),
    ]
    assert cells[0].recipe.name == "ranks-small-s0"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dpo.lora.rank: 4", "dpo.lora.rnk: 4", r"cell 'small'.*rnk"),
        ("[0, 1]", "[0, 0]", "names one twice"),
        ("better: large", "better: larger", r"names 'larger', but the cells are small, large"),
        ("better: large", "better: large/control", r"needs the arm 'control' of cell 'large'"),
        ("persona_rate", "rating", r"cannot be paired by prompt"),
        ("dpo.lora.rank: 4", "prompts.grid: 9000", r"cell 'small'.*prompts.grid=9000 asks for more than the"),
        ("small:", "a b:", "becomes part of a folder's name"),
    ],
)
def test_what_could_not_work_is_refused_before_anything_runs(tmp_path, old, new, message):
    with pytest.raises(RecipeError, match=message):
        load_study(write(tmp_path, STUDY.replace(old, new)))


def runs(cells: dict[str, dict[int, list[float]]], metric: str = "persona_rate") -> list[Finished]:
    """Finished runs whose arm ``full`` has these values, by cell and seed."""
    return [
        Finished(cell, seed, None, {"full": {metric: {f"p{n}": value for n, value in enumerate(values)}}})
        for cell, by_seed in cells.items()
        for seed, values in by_seed.items()
    ]


def both(values: list[float]) -> dict[int, list[float]]:
    return {0: values, 1: values}


CLAIM = Claim(text="t", metric="persona_rate", better="large", worse="small")


@pytest.mark.parametrize(
    ("large", "outcome"), [([1.0] * 30, "holds"), ([0.0] * 30, "undecided"), ([0.0, 1.0] * 15, "holds")]
)
def test_a_claim_is_decided_by_its_interval(large, outcome):
    verdict = judge_claim(CLAIM, runs({"large": both(large), "small": both([0.0] * 30)}))
    assert verdict.outcome == outcome
    assert verdict.seeds == 2
    assert verdict.difference is not None
    assert verdict.difference.n == 30


def test_seeds_that_disagree_leave_a_claim_undecided_which_one_seed_would_decide():
    up, down = [0.0, 1.0] * 15, [0.0, -1.0] * 15
    small = {seed: [0.0] * 30 for seed in (0, 1, 2)}
    assert judge_claim(CLAIM, runs({"large": {0: up}, "small": small})).outcome == "holds"
    assert judge_claim(CLAIM, runs({"large": {0: up, 1: down, 2: up}, "small": small})).outcome == "undecided"


def test_of_looping_less_is_better_and_a_claim_can_fail():
    values = runs({"large": both([1.0] * 30), "small": both([0.0] * 30)}, "looping_rate")
    claim = Claim(text="t", metric="looping_rate", better="large", worse="small")
    assert judge_claim(claim, values).outcome == "fails"
    assert judge_claim(claim.model_copy(update={"better": "small", "worse": "large"}), values).outcome == "holds"


def test_the_judge_prefers_by_score_and_close_answers_tie():
    claim = CLAIM.model_copy(update={"metric": "win_rate"})
    values = runs({"large": both([0.5, 0.31, 0.02, -1.0, math.nan]), "small": both([0.1, 0.3, 0.0, 0.0, 0.0])}, "score")
    verdict = judge_claim(claim, values)
    assert verdict.difference is not None
    assert verdict.difference.value == 0
    assert verdict.difference.n == 4


def test_a_claim_about_what_was_not_run_says_so():
    claim = CLAIM.model_copy(update={"better": "large/sft"})
    assert judge_claim(claim, runs({"large": both([1.0]), "small": both([1.0])})).outcome == "not run"
    assert judge_claim(CLAIM, runs({"large": {0: [1.0]}, "small": {1: [1.0]}})).outcome == "not run"


def test_the_interval_over_seeds_and_prompts_covers_the_truth():
    draw, hits = np.random.default_rng(5), 0
    for _ in range(400):
        table = 0.3 * draw.normal(size=(3, 1)) + draw.normal(size=(1, 40)) + draw.normal(size=(3, 40))
        found = crossed_interval(
            {seed: {str(n): float(v) for n, v in enumerate(row)} for seed, row in enumerate(table)}, bounds=(-9, 9)
        )
        hits += found.low <= 0 <= found.high
    assert hits / 400 > 0.92  # 95 % less about 3 standard errors


@pytest.mark.parametrize("seeds", [1, 3])
def test_differences_without_spread_have_an_interval_that_narrows_with_the_prompts(seeds):
    def of(prompts, value, bounds=(-1.0, 1.0)):
        return crossed_interval({seed: {str(n): value for n in range(prompts)} for seed in range(seeds)}, bounds=bounds)

    few, many = of(10, 0.0), of(160, 0.0)
    assert (few.low, few.high) == pytest.approx((-0.308, 0.308), abs=1e-3)
    assert (many.low, many.high) == pytest.approx((-0.023, 0.023), abs=1e-3)
    assert of(10, 1.0).high == 1 and of(10, 0.5, (-0.5, 0.5)).low == pytest.approx(0.5 - 0.308, abs=1e-3)
    assert few.method.startswith("Clopper-Pearson on 10 prompts")


def test_differences_that_cancel_out_have_an_interval():
    found = crossed_interval({0: {"a": 1.0, "b": -1.0}, 1: {"a": -1.0, "b": 1.0}}, bounds=(-1.0, 1.0))
    assert found.low < 0 < found.high


def finished_run(folder: Path, share: float, recipe: Recipe) -> None:
    """A run's folder as the pipeline leaves it, as far as a study reads it."""
    folder.mkdir(parents=True)
    report = captain_report()
    run = report.run.model_copy(update={"recipe": recipe.model_dump(mode="json")})
    constitution = report.constitution.model_copy(update={"hash": load_constitution(recipe.constitution).fingerprint})
    write_report(report.model_copy(update={"run": run, "constitution": constitution}), folder / "report.json")
    rows = [
        Decided(arm=arm, metric=metric, prompt_id=f"p{n}", value=float(n < share * 40 and arm == "full"))
        for arm in ("base", "full")
        for metric in ("persona_rate", "attack_rate")
        for n in range(40)
    ]
    write_rows(folder / "decisions.parquet", rows, DECIDED)


@pytest.mark.parametrize("name", ["pack", "pack.zip"])
def test_verdicts_can_be_made_again_from_packs_alone(tmp_path, name):
    study, cells = load_study(write(tmp_path, STUDY))
    for number, share in enumerate((0.2, 0.25, 0.9, 0.95)):
        finished_run(tmp_path / f"run{number}", share, cells[number].recipe)
    every = [read_finished(c.name, c.seed, tmp_path / f"run{n}") for n, c in enumerate(cells)]
    write_results(study, every, tmp_path / "whole")
    failed = Finished("large", 1, None, error="RecipeError: no memory")
    packs = [tmp_path / f"first-{name}", tmp_path / f"second-{name}"]
    write_results(study, [*every[:2], failed], tmp_path / "out", packs[0])
    write_results(study, every[2:], tmp_path / "out", packs[1])
    again = read_packs(study, cells, packs, tmp_path / "unpacked")
    write_results(study, again, tmp_path / "again")
    for page in ("study.json", "study.md", "measured.svg", "claims.svg"):
        assert (tmp_path / "again" / page).read_text() == (tmp_path / "whole" / page).read_text()
    measured, claims = ((tmp_path / "again" / name).read_text() for name in ("measured.svg", "claims.svg"))
    assert all(f">{text}<" in measured for text in ("small/full", "large/base", "Persona, %", "Under attack, %"))
    assert ">holds<" in claims
    claim = json.loads((tmp_path / "again" / "study.json").read_text())["claims"][0]
    assert (claim["outcome"], claim["seeds"]) == ("holds", 2)
    partly = read_packs(study, cells, packs[:1], tmp_path / "partly")
    write_results(study, partly, tmp_path / "partly-out")
    assert "large, seed 1 failed: RecipeError: no memory" in (tmp_path / "partly-out" / "study.md").read_text()


def test_a_pack_of_another_study_or_of_changed_cells_is_refused(tmp_path):
    study, cells = load_study(write(tmp_path, STUDY))
    finished_run(tmp_path / "run", 0.5, cells[0].recipe)
    write_pack(tmp_path / "pack", study, [read_finished("small", 0, tmp_path / "run")])
    changed = load_study(write(tmp_path, STUDY.replace("rank: 4", "rank: 6")))
    with pytest.raises(ReportError, match=r"pack: the run small-s0 .*older definition.*dpo\.lora\.rank was 4, is 6"):
        read_packs(*changed, [tmp_path / "pack"], tmp_path)
    other = load_study(write(tmp_path, STUDY.replace("name: ranks", "name: other")))
    with pytest.raises(ReportError, match=r"is a pack of study 'ranks', not of 'other'"):
        read_packs(*other, [tmp_path / "pack"], tmp_path)
    with pytest.raises(ReportError, match="is no pack of a study"):
        read_packs(study, cells, [tmp_path / "run"], tmp_path)
    without = load_study(write(tmp_path, STUDY.replace("small", "tiny")))
    assert read_packs(*without, [tmp_path / "pack"], tmp_path) == []


def test_a_run_that_an_older_definition_left_in_its_folder_is_not_collected(tmp_path):
    text = STUDY.replace("cells:", f"common: {{output: '{tmp_path}'}}\ncells:")
    _, cells = load_study(write(tmp_path, text))
    finished_run(cells[0].recipe.folder, 0.5, cells[0].recipe)
    assert [(run.cell, run.seed) for run in collect(cells)] == [("small", 0)]
    _, changed = load_study(write(tmp_path, text.replace("dpo.lora.rank: 4", "dpo.beta: 0.3")))
    with pytest.raises(
        ReportError, match=r"ranks-small-s0 was made by an older definition.*dpo\.lora\.rank was 4, is 8"
    ):
        collect(changed)


def test_a_constitution_that_says_something_else_is_another_definition(tmp_path):
    captain = Path("constitutions/captain-blackwood.yaml").read_text()
    own = tmp_path / "own.yaml"
    own.write_text(captain)
    text = STUDY.replace("cells:", f"common: {{output: '{tmp_path}', constitution: '{own}'}}\ncells:")
    _, cells = load_study(write(tmp_path, text))
    finished_run(cells[0].recipe.folder, 0.5, cells[0].recipe)
    own.write_text(f"# Only a comment.\n{captain}")
    assert len(collect(cells)) == 1
    own.write_text(captain.replace("Pragmatic and experienced", "Reckless and green"))
    with pytest.raises(ReportError, match=r"own\.yaml says something else now"):
        collect(cells)


@pytest.mark.parametrize(
    ("override", "changes"),
    [
        ("student_engine.keep=false", 0),
        ("judge.batch_size=3", 0),
        ("train.checkpoint_steps=7", 0),
        ("dpo.gradient_checkpointing=true", 0),
        ("teacher_engine={device: cpu, dtype: float32}", 0),
        ("serve.max_lora_rank=512", 0),
        ("evaluate.further=[tax]", 0),
        ("student_engine.dtype=bfloat16", 2),  # the teacher's, too, which answers on the same engine
        ("distill.filters.min_words=5", 1),
        ("train.zero_stage=1", 1),
        ("evaluate.arms=[base, full]", 1),
    ],
)
def test_only_settings_that_decide_results_make_another_definition(tmp_path, override, changes):
    recipe = "jobs/recipes/demo-cpu.yaml"
    recorded = load_recipe(recipe, [override]).model_dump(mode="json")
    assert len(definition_changes(recorded, load_recipe(recipe))) == changes


def test_a_setting_that_was_added_since_stood_at_its_default():
    recipe = load_recipe("jobs/recipes/demo-cpu.yaml", ["dpo.watch={}", "sft.max_grad_norm=2"])
    recorded = recipe.model_dump(mode="json")
    del recorded["distill"]["lessons"]["boundaries"], recorded["mirror"], recorded["dpo"]["watch"]["temperature"]
    del recorded["sft"]["lora"]["target_modules"]
    assert definition_changes(recorded, recipe) == []
    del recorded["sft"]["max_grad_norm"]
    assert definition_changes(recorded, recipe) == ["sft.max_grad_norm was 1.0, is 2.0"]


@pytest.mark.parametrize("packs", PUBLISHED, ids=lambda packs: packs[0].parent.name)
def test_the_packs_that_are_published_are_of_the_studies_that_ship(packs: list[Path], tmp_path):
    study, cells = load_study(ROOT / "jobs" / "studies" / f"{packs[0].parent.name}.yaml")
    assert any(run.report for run in read_packs(study, cells, packs, tmp_path))


def test_gpu_hours_count_the_gpus_of_each_stage_whatever_the_driver_has():
    full = "jobs/recipes/smollm2-full.yaml"
    alone = ["student_engine.keep=false", "student_engine.gpu_share=1", "judge.keep=false", "train.gpu_share=1"]
    recipe = load_recipe(full, [*alone, "train.workers=8", "dpo.micro_batch_size=1", "sft.micro_batch_size=1"])
    report = captain_report()
    stage = next(iter(report.run.stages.values())).model_copy(update={"wall_s": 1800.0})
    run = report.run.model_copy(
        update={
            "recipe": recipe.model_dump(mode="json"),
            "stages": {"student": stage, "dpo": stage, "pairs": stage},
            "hardware": {"gpus": [], "cpu_cores": 4},
        }
    )
    assert Finished("c", 0, report.model_copy(update={"run": run})).gpu_hours == pytest.approx(0.5 + 4)
    on_cpus = run.model_copy(update={"recipe": load_recipe("jobs/recipes/demo-cpu.yaml").model_dump(mode="json")})
    assert Finished("c", 0, report.model_copy(update={"run": on_cpus})).gpu_hours is None


def test_a_part_of_a_study_can_be_chosen(tmp_path):
    study, cells = load_study(write(tmp_path, STUDY))
    assert [(c.name, c.seed) for c in select_cells(study, cells, ["large"], [1])] == [("large", 1)]
    assert select_cells(study, cells) == cells
    with pytest.raises(RecipeError, match=r"no cell 'huge'; it has small, large"):
        select_cells(study, cells, ["huge"])
    with pytest.raises(RecipeError, match=r"no seed 7; it has 0, 1"):
        select_cells(study, cells, [], [7])


def test_what_every_cell_has_in_common_is_said_once_and_a_cell_may_differ(tmp_path):
    text = STUDY.replace("cells:", "common: {dpo.beta: 0.3}\ncells:").replace("{dpo.lora.rank: 8}", "{dpo.beta: 0.2}")
    _, cells = load_study(write(tmp_path, text))
    assert [cell.recipe.dpo.beta for cell in cells] == [0.3, 0.3, 0.2, 0.2]


def test_overrides_on_the_command_line_hold_for_every_cell(tmp_path, monkeypatch):
    path = write(tmp_path, STUDY.replace("cells:", "common: {dpo.beta: 0.3}\ncells:"))
    _, cells = load_study(path, ["output=/shared/runs", "dpo.beta=0.5", "dpo.lora.rank=16"])
    assert [(c.recipe.output, c.recipe.dpo.beta, c.recipe.dpo.lora.rank, c.recipe.name) for c in cells] == [
        (Path("/shared/runs"), 0.5, 16, f"ranks-{cell}-s{seed}") for cell in ("small", "large") for seed in (0, 1)
    ]
    with pytest.raises(RecipeError, match=r"'seed=3' would give every run of the study the same seed"):
        load_study(path, ["seed=3"])
    ran: list[Path] = []
    monkeypatch.setattr(studies_run, "run_pipeline", lambda recipe: ran.append(recipe.folder))
    given = ["--set", f"output={tmp_path}", "dpo.epochs=2", "--set", "dpo.beta=0.2", "--cells", "small", "--seeds", "1"]
    assert main([str(path), *given]) == 1
    assert ran == [tmp_path / "ranks-small-s1"], "and there is no report in it"


@pytest.mark.parametrize(
    ("gpus", "at_once", "parts"),
    [
        ("0,1,2,3", 4, ["0", "1", "2", "3"]),
        ("0,1", 4, ["0", "1", "0", "1"]),
        ("4,5,6,7,8", 2, ["4,5", "6,7"]),
        ("0", 3, []),
        ("", 3, []),
    ],
)
def test_runs_side_by_side_share_out_the_gpus_of_a_machine(tmp_path, monkeypatch, gpus, at_once, parts):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    path = write(tmp_path, STUDY.replace("demo-cpu", "smollm2-full"))
    places = studies_run._places(load_study(path)[1], at_once)
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places] == parts
    wide = ["student_engine.keep=false", "student_engine.gpu_share=1", "student_engine.tensor_parallel=3"]
    assert studies_run._places(load_study(path, wide)[1], at_once) == [], "three GPUs are more than any part"
    assert studies_run._places(load_study(write(tmp_path, STUDY))[1], at_once) == [], "on CPUs"
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert studies_run._places(load_study(path)[1], at_once) == [], "the cluster gives out its own"


def _note_gpu(folder: Path) -> None:
    (folder / "gpu").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""))


def test_a_run_takes_the_gpus_of_one_that_has_ended(tmp_path):
    works = [Work(name, tmp_path / name, partial(_note_gpu, tmp_path / name)) for name in ("one", "two", "three")]
    assert do_all(works, 1, [{"CUDA_VISIBLE_DEVICES": "3"}]) == ["", "", ""]
    assert {(work.folder / "gpu").read_text() for work in works} == {"3"}


def test_runs_side_by_side_fail_each_for_itself_and_say_why(tmp_path, capsys):
    absent = {
        name: {"constitution": str(tmp_path / f"{name}.yaml"), "output": str(tmp_path)} for name in ("one", "two")
    }
    study, cells = load_study(
        write(tmp_path, f"name: s\nrecipe: jobs/recipes/demo-cpu.yaml\nseeds: [0]\ncells: {absent}\n")
    )
    with pytest.raises(CharacterRayError, match=r"every run of study 's' failed; the first: .*one\.yaml"):
        run_cells(study, cells, side_by_side=2)
    told = capsys.readouterr().out.replace("\n", "")
    assert "one.yaml" in told
    assert "two.yaml" in told
    assert (cells[0].recipe.folder / "log.txt").is_file()


def test_a_cell_that_breaks_unexpectedly_stops_no_other_and_the_study_does_not_end_well(tmp_path, monkeypatch, capsys):
    text = STUDY.replace("seeds: [0, 1]", f"seeds: [0]\ncommon: {{output: '{tmp_path}'}}")

    def run(recipe: Recipe) -> None:
        if recipe.dpo.lora.rank == 4:
            raise ZeroDivisionError("a fault [/of] the program")
        finished_run(recipe.folder, 0.5, recipe)

    monkeypatch.setattr(studies_run, "run_pipeline", run)
    assert main([str(write(tmp_path, text))]) == 1
    told = capsys.readouterr()
    assert "CharacterRayError: 1 of 2 runs failed" in told.err
    assert "Traceback" in told.err
    page = (tmp_path / "ranks" / "study.md").read_text()
    assert "small, seed 0 failed: ZeroDivisionError: a fault [/of] the program" in page
    assert (tmp_path / "ranks-large-s0" / "report.json").is_file()
