"""Base, personas and a judge of other weights in one application: the judge scores, says letters, and decides a tournament.

One application for the whole module, as ``serve --judge`` starts it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openai
import pytest

from benchmarks.random_adapters import write_adapters
from character_ray.config import EngineConfig, JudgeConfig, JudgeSpec, Recipe, ServeConfig, Tournament
from character_ray.inference.ab_judge import ABJudge
from character_ray.judging.audit import SeatedPair
from character_ray.models import model_hash
from character_ray.parts import read_rows
from character_ray.pipeline.judges import Panelist, ask_judge
from character_ray.pipeline.tournament import hold_tournament
from character_ray.report.tournament_schema import TournamentReport
from character_ray.runs import Store
from character_ray.serving.keys import add_key
from tests.other_weights import without_a_layer
from tests.serve.offline_run import write_offline_run
from tests.serve.started import started

BASE = "smollm2-135m-instruct"
ROOT = Path(__file__).parents[2]
PAIR = {"prompt": "Who are you?", "first": "Arr, matey.", "second": "I am an assistant."}


@dataclass(frozen=True)
class Application:
    """The process under test."""

    url: str
    judge: Path
    """Folder of the judge's weights."""
    adapter: Path
    keys: dict[str, str]
    log: Path

    def client(self, key: str) -> openai.OpenAI:
        """One that does not hide a failure by asking again."""
        return openai.OpenAI(base_url=self.url, api_key=self.keys[key], max_retries=0, timeout=180)


@pytest.fixture(scope="module")
def application(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    folder = tmp_path_factory.mktemp("judged")
    without_a_layer(base_model, folder / "wise")
    recipe = Recipe(
        name="judged",
        constitution=Path("constitutions/captain-blackwood.yaml"),
        # One core each, so that both engines have room on two.
        student_engine=EngineConfig(
            device="cpu",
            dtype="float32",
            cpus=1,
            max_model_len=2048,
            max_num_seqs=8,
            kv_cache_gib=0.25,
            enforce_eager=True,
        ),
        serve=ServeConfig(max_loras=1, max_cpu_loras=1),
    )
    (adapter,) = write_adapters(base_model, folder / "adapters", 1, 4, recipe)
    key_file = folder / "keys.yaml"
    keys = {"cup": add_key(key_file, "cup", scores=True), "guest": add_key(key_file, "guest")}
    arguments = [str(adapter), "--judge", str(folder / "wise"), "--keys", str(key_file)]
    with started(folder, *arguments) as server:
        yield Application(f"http://127.0.0.1:{server.port}/v1", folder / "wise", adapter, keys, server.log)


def test_the_judge_is_listed_as_another_model_for_the_key_that_scores(application: Application, base_model: Path):
    card = application.client("cup").models.retrieve("judge")
    assert (card.metadata["model"], card.metadata["weights_hash"]) == ("wise", model_hash(application.judge))
    assert card.metadata["weights_hash"] != model_hash(base_model)
    guest = application.client("guest")
    assert [model.id for model in guest.models.list()] == [BASE, f"{BASE}:{application.adapter.name}"]
    with pytest.raises(openai.PermissionDeniedError, match="takes a key that may score"):
        guest.chat.completions.create(model="judge", messages=[{"role": "user", "content": "hi"}])
    assert "judge" in application.log.read_text()


def test_it_says_letters_as_its_own_weights_do_and_not_as_the_bases(
    application: Application, base_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", application.keys["cup"])
    spec = {"name": "letters", "kind": "letters", "model": {"name": "judge"}, "endpoint": {"url": application.url}}
    judge = Panelist(JudgeSpec.model_validate(spec), "You are a pirate.", None, (), tmp_path / "spending.jsonl")
    rows = [SeatedPair(row_id="1", **PAIR)]
    said = ask_judge("letters", Store(tmp_path).artefact("verdicts", {}), rows, judge)["1"].first_wins
    columns = {name: np.array([row[name] for row in rows], dtype=object) for name in rows[0]}
    own, bases = (
        float(ABJudge(str(folder), judge.character, JudgeConfig(device="cpu"))(columns)["first_wins"][0])
        for folder in (application.judge, base_model)
    )
    assert said == pytest.approx(own, abs=0.02)  # an endpoint counts " A" with "A"
    assert abs(own - bases) > 0.04, "else this would tell nothing"


def test_a_tournament_has_contestants_and_judge_in_one_application(
    application: Application, base_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CUP_KEY", application.keys["cup"])
    name = application.adapter.name
    run = write_offline_run(tmp_path / "demo", BASE, base_model, {name: application.adapter}, 4)
    there = {"url": application.url, "key_variable": "CUP_KEY"}
    plan = {
        "name": "cup",
        "output": tmp_path,
        "audit_run": run,
        "constitution": ROOT / "jobs" / "studies" / "constitutions" / "captain-bare.yaml",
        "contestants": [{"served": {**there, "model": model}} for model in (BASE, name)],
        "judges": [{"name": "wise", "kind": "likelihood", "model": {"name": "judge"}, "endpoint": there}],
        # Random weights meet, and a judge need not be worth anything.
        "audit": {"pairs": 8, "min_accuracy": 0, "min_consistency": 0, "max_seat_bias": 0.5},
        "rating": {"bootstrap": 100},
    }
    folder = hold_tournament(Tournament.model_validate(plan))
    verdicts = [row["verdict"] for row in read_rows(folder / "verdicts.parquet")]
    assert len(verdicts) == 2 * 8
    assert set(verdicts) & {"A", "B"}
    report = TournamentReport.model_validate_json((folder / "tournament.json").read_text())
    judge = report.judges["wise"]
    assert judge.model == f"wise, served as judge at {application.url}"
    assert judge.unreadable == 0
    assert judge.shares_weights_with == []
