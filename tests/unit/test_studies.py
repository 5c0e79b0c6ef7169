"""Studies: their files are checked before anything runs, and a claim is decided by the interval of a paired difference."""

from pathlib import Path

import pytest

from character_ray.errors import CharacterRayError, RecipeError
from character_ray.studies import Claim, load_study
from character_ray.studies.run import run_study
from character_ray.studies.verdict import judge_claim

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted((ROOT / "jobs" / "studies").glob("*.yaml"))
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
        ("small:", "a b:", "becomes part of a folder's name"),
    ],
)
def test_what_could_not_work_is_refused_before_anything_runs(tmp_path, old, new, message):
    with pytest.raises(RecipeError, match=message):
        load_study(write(tmp_path, STUDY.replace(old, new)))


def decided(cells: dict[str, list[float]], metric: str = "persona_rate"):
    return {
        (cell, "full", seed): {metric: ([f"p{n}" for n in range(len(values))], values)}
        for cell, values in cells.items()
        for seed in (0, 1)
    }


@pytest.mark.parametrize(
    ("large", "outcome"), [([1.0] * 30, "holds"), ([0.0] * 30, "undecided"), ([0.0, 1.0] * 15, "holds")]
)
def test_a_claim_is_decided_by_its_interval(large, outcome):
    claim = Claim(text="t", metric="persona_rate", better="large", worse="small")
    verdict = judge_claim(claim, decided({"large": large, "small": [0.0] * 30}))
    assert verdict.outcome == outcome
    assert verdict.difference is not None
    assert verdict.difference.n == 30


def test_of_looping_less_is_better_and_a_claim_can_fail():
    values = decided({"large": [1.0] * 30, "small": [0.0] * 30}, "looping_rate")
    claim = Claim(text="t", metric="looping_rate", better="large", worse="small")
    assert judge_claim(claim, values).outcome == "fails"
    assert judge_claim(claim.model_copy(update={"better": "small", "worse": "large"}), values).outcome == "holds"


def test_a_claim_about_what_was_not_run_says_so():
    claim = Claim(text="t", metric="persona_rate", better="large/sft", worse="small")
    assert judge_claim(claim, decided({"large": [1.0], "small": [1.0]})).outcome == "not run"


def test_runs_side_by_side_fail_each_for_itself_and_say_why(tmp_path, capsys):
    absent = {
        name: {"constitution": str(tmp_path / f"{name}.yaml"), "output": str(tmp_path)} for name in ("one", "two")
    }
    study, cells = load_study(
        write(tmp_path, f"name: s\nrecipe: jobs/recipes/demo-cpu.yaml\nseeds: [0]\ncells: {absent}\n")
    )
    with pytest.raises(CharacterRayError, match=r"every run of study 's' failed; the first: .*one\.yaml"):
        run_study(study, cells, side_by_side=2)
    told = capsys.readouterr().out.replace("\n", "")
    assert "one.yaml" in told
    assert "two.yaml" in told
    assert (cells[0].recipe.folder / "log.txt").is_file()
