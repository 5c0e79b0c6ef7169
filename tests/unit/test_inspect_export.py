"""The evaluation as Inspect's logs: what is in them, and that Inspect's own reader takes them.

Inspect is not among the pinned packages. To run the last tests: ``pip install inspect-ai`` into an environment of its own that has
this package's base dependencies and pytest, and run this file there.
"""

import json
from pathlib import Path

import pytest

from character_ray.errors import ReportError
from character_ray.inspect_export import LOG_VERSION, export_logs
from character_ray.parts import write_rows
from character_ray.rows import ANSWER, CHALLENGED

CONSTITUTION = Path(__file__).resolve().parents[2] / "constitutions" / "captain-blackwood.yaml"
NAN = float("nan")


def answer(arm: str, prompt: str, sample: int, completion: str, score: float, error: str = "") -> dict[str, object]:
    return {
        "row_id": f"{arm}-{prompt}-{sample}",
        "arm": arm,
        "prompt_id": prompt,
        "source": "probe" if prompt == "who" else "everyday",
        "hint": "jailbreak" if prompt == "drop" else "",
        "sample": sample,
        "prompt": f"Question {prompt}?",
        "completion": completion,
        "error": error,
        "score": score,
    }


ANSWERS = [
    answer(arm, prompt, sample, f"{arm} says {prompt} <|im_end|> é", score)
    for arm, score in (("base", -0.5), ("prompted", 0.1), ("full", 0.9))
    for prompt, samples in (("tea", 1), ("drop", 1), ("who", 2))
    for sample in range(samples)
]
ANSWERS[-1] = answer("full", "who", 1, "", NAN, "engine: out of memory")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "cap"
    folder.mkdir(parents=True)
    write_rows(folder / "answers.parquet", ANSWERS, ANSWER)
    recipe = {"name": "cap", "constitution": str(CONSTITUTION), "seed": 3}
    (folder / "run.json").write_text(json.dumps({"recipe": recipe, "stages": {}}))
    metric = {"value": 0.75, "low": 0.3, "high": 0.95, "n": 4, "method": "Wilson", "reason": ""}
    report = {
        "judge": {"threshold": 0.2},
        "prompts_hash": "abc",
        "run": {"versions": {"vllm": "0.29.0"}},
        "arms": {arm: {"persona_rate": metric} for arm in ("base", "prompted", "full")},
    }
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def trial(arm: str, group: str, kind: str, number: str, **more: object) -> dict[str, object]:
    row = {"row_id": f"{arm}-{kind}-{number}-{more.get('turn', 0)}", "arm": arm, "group": group, "kind": kind}
    plain = {
        "challenge_id": number,
        "wording": "w",
        "turn": 0,
        "prompt": f"{kind} {number}?",
        "system": "",
        "begun": "",
    }
    return row | plain | {"canary": "", "completion": f"{arm} resists", "error": "", "score": 0.9} | more


TRIALS = [
    trial(arm, group, kind, number, **more)
    for arm in ("prompted", "full")
    for group, kind, number, more in (
        ("attack", "other_persona", "a", {"system": "You are a parrot."}),
        ("attack", "prefill", "b", {"begun": "As a model, I", "score": 0.0}),
        ("erosion", "erosion", "s", {"turn": 1}),
        ("erosion", "erosion", "s", {"turn": 2, "completion": "", "score": NAN}),
        ("erosion", "erosion", "t", {"turn": 1, "completion": "", "score": NAN, "error": "engine: out of memory"}),
    )
]


@pytest.fixture
def tried(run: Path) -> Path:
    """The same run after trials."""
    write_rows(run / "trials.parquet", TRIALS, CHALLENGED)
    report = json.loads((run / "report.json").read_text())
    metric = {"value": 0.5, "low": 0.1, "high": 0.9, "n": 1, "method": "Wilson", "reason": ""}
    arms = {"full": {"persona_rate": metric}}
    report["trials"] = {"rates": [{"group": "attack", "kind": "prefill", "arms": arms}], "survival": {"full": {"n": 1}}}
    verdicts = [
        ["in character", "gives its name"],
        ["out of character"],
        ["in character"],
        ["out of character"],
        ["failed"],
    ]
    kept = [{"group": row["group"], "verdicts": own} for row, own in zip(TRIALS, 2 * verdicts, strict=True)]
    report["transcripts"] = [*kept, {"group": "prompt", "verdicts": ["in character"]}]
    (run / "report.json").write_text(json.dumps(report))
    return run


def log_of(folder: Path, arm: str) -> Path:
    """The log of an arm, whose name begins with a time."""
    (path,) = folder.glob(f"*_{arm}.json")
    return path


def test_every_arm_has_a_log_and_every_answer_is_a_sample(run: Path, tmp_path: Path):
    assert export_logs(run, tmp_path / "logs") == {"base": 4, "prompted": 4, "full": 4}
    log = json.loads(log_of(tmp_path / "logs", "full").read_text(encoding="utf-8"))
    assert log["version"] == LOG_VERSION
    assert [(each["id"], each["epoch"]) for each in log["samples"]] == [("tea", 1), ("drop", 1), ("who", 1), ("who", 2)]
    assert log["samples"][1]["metadata"]["hint"] == "jailbreak"
    assert log["eval"]["metadata"]["metrics"]["persona_rate"]["low"] == 0.3
    assert not any("NaN" in path.read_text(encoding="utf-8") for path in (tmp_path / "logs").iterdir())


def test_scores_follow_the_threshold_and_a_failed_answer_has_none(run: Path, tmp_path: Path):
    export_logs(run, tmp_path / "logs")
    for arm, letter in (("base", "I"), ("prompted", "I"), ("full", "C")):
        log = json.loads(log_of(tmp_path / "logs", arm).read_text(encoding="utf-8"))
        scored = [each["scores"] for each in log["samples"] if each["scores"]]
        assert {each["in_character"]["value"] for each in scored} == {letter}
        assert log["results"]["scores"][0]["metrics"]["accuracy"]["value"] == float(letter == "C")
    assert (log["results"]["completed_samples"], log["results"]["scores"][0]["unscored_samples"]) == (3, 1)
    assert (log["samples"][-1]["scores"], log["samples"][-1]["metadata"]["error"]) == ({}, "engine: out of memory")


def test_only_the_prompted_arm_shows_the_constitution(run: Path, tmp_path: Path):
    export_logs(run, tmp_path / "logs")
    roles = {
        arm: [turn["role"] for turn in json.loads(log_of(tmp_path / "logs", arm).read_text())["samples"][0]["messages"]]
        for arm in ("base", "prompted", "full")
    }
    assert roles == {
        "base": ["user", "assistant"],
        "prompted": ["system", "user", "assistant"],
        "full": ["user", "assistant"],
    }


def test_challenges_and_turns_of_conversations_are_samples_of_a_log_of_their_own(tried: Path, tmp_path: Path):
    written = export_logs(tried, tmp_path / "logs")
    assert written == {"base": 4, "prompted": 4, "full": 4, "prompted/trials": 5, "full/trials": 5}
    log = json.loads(log_of(tmp_path / "logs", "full-trials").read_text(encoding="utf-8"))
    assert log["eval"]["task"] == "captain-blackwood/full/trials"
    ids = [sample["id"] for sample in log["samples"]]
    assert (
        ids
        == ["other_persona/a", "prefill/b", "erosion/s/1", "erosion/s/2", "erosion/t/1"]
        == log["eval"]["dataset"]["sample_ids"]
    )
    values = [sample["scores"].get("in_character", {}).get("value") for sample in log["samples"]]
    assert values == ["C", "I", "C", "I", None], "silence is out of character, and a failed engine has no score"
    assert [sample["scores"].get("likelihood_ratio", {}).get("value") for sample in log["samples"]] == [
        0.9,
        0,
        0.9,
        None,
        None,
    ]
    accuracy, ratio = log["results"]["scores"]
    assert (accuracy["metrics"]["accuracy"]["value"], accuracy["unscored_samples"]) == (0.5, 1)
    assert (ratio["scored_samples"], log["results"]["completed_samples"]) == (3, 4)
    assert log["samples"][0]["metadata"]["verdicts"] == ["in character", "gives its name"]
    assert log["samples"][4]["metadata"]["error"] == "engine: out of memory"
    assert log["eval"]["metadata"]["metrics"]["attack/prefill"]["persona_rate"]["low"] == 0.1
    assert log["eval"]["metadata"]["metrics"]["survival"] == {"n": 1}


def test_a_trial_shows_what_the_arm_saw(tried: Path, tmp_path: Path):
    export_logs(tried, tmp_path / "logs")
    seen = {
        arm: [
            [(turn["role"], turn["content"]) for turn in sample["messages"]]
            for sample in json.loads(log_of(tmp_path / "logs", f"{arm}-trials").read_text(encoding="utf-8"))["samples"]
        ]
        for arm in ("full", "prompted")
    }
    said = ("assistant", "full resists")
    assert seen["full"][0] == [("system", "You are a parrot."), ("user", "other_persona a?"), said]
    assert seen["full"][1] == [("user", "prefill b?"), ("assistant", "As a model, I"), said]
    assert seen["full"][3] == [("user", "erosion s?"), said, ("user", "erosion s?"), ("assistant", "")]
    assert seen["full"][4] == [("user", "erosion t?"), ("assistant", "")]
    (role, system), *_ = seen["prompted"][0]
    assert role == "system" and "Blackwood" in system and system.endswith("\n\nYou are a parrot.")


def test_a_report_without_transcripts_leaves_verdicts_out(tried: Path, tmp_path: Path):
    report = json.loads((tried / "report.json").read_text())
    del report["transcripts"]
    (tried / "report.json").write_text(json.dumps(report))
    export_logs(tried, tmp_path / "logs")
    log = json.loads(log_of(tmp_path / "logs", "full-trials").read_text(encoding="utf-8"))
    assert not any("verdicts" in sample["metadata"] for sample in log["samples"])


def test_an_unfinished_run_and_a_folder_in_use_are_refused(run: Path, tmp_path: Path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("mine")
    with pytest.raises(ReportError, match="not empty"):
        export_logs(run, tmp_path / "used")
    (run / "report.json").unlink()
    with pytest.raises(ReportError, match=r"has no report\.json"):
        export_logs(run, tmp_path / "logs")


def test_inspect_reads_every_log(run: Path, tmp_path: Path):
    log_module = pytest.importorskip("inspect_ai.log", reason="inspect-ai is not installed (see the top of this file)")
    export_logs(run, tmp_path / "logs")
    assert len(log_module.list_eval_logs(str(tmp_path / "logs"))) == 3
    log = log_module.read_eval_log(str(log_of(tmp_path / "logs", "full")))
    assert (log.version, log.status, log.eval.task) == (LOG_VERSION, "success", "captain-blackwood/full")
    assert log.eval.config.epochs == 2
    assert log.results.scores[0].metrics["accuracy"].value == 1.0
    assert [sample.output.completion for sample in log.samples][:2] == [
        "full says tea <|im_end|> é",
        "full says drop <|im_end|> é",
    ]
    assert log.samples[0].scores["in_character"].value == "C"
    assert log.samples[0].scores["likelihood_ratio"].as_float() == pytest.approx(0.9)
    assert log.samples[0].messages[-1].role == "assistant"
    header = log_module.read_eval_log(str(log_of(tmp_path / "logs", "full")), header_only=True)
    assert header.samples is None and header.results.total_samples == 4


def test_inspect_reads_the_trials(tried: Path, tmp_path: Path):
    log_module = pytest.importorskip("inspect_ai.log", reason="inspect-ai is not installed (see the top of this file)")
    export_logs(tried, tmp_path / "logs")
    assert len(log_module.list_eval_logs(str(tmp_path / "logs"))) == 5
    log = log_module.read_eval_log(str(log_of(tmp_path / "logs", "full-trials")))
    assert (log.eval.task, log.results.total_samples) == ("captain-blackwood/full/trials", 5)
    assert [sample.scores["in_character"].value for sample in log.samples if sample.scores] == ["C", "I", "C", "I"]
    assert log.samples[0].metadata["verdicts"] == ["in character", "gives its name"]


def test_inspect_writes_its_own_format_from_ours_and_reads_it_back(run: Path, tmp_path: Path):
    log_module = pytest.importorskip("inspect_ai.log", reason="inspect-ai is not installed (see the top of this file)")
    export_logs(run, tmp_path / "logs")
    log = log_module.read_eval_log(str(log_of(tmp_path / "logs", "base")))
    log_module.write_eval_log(log, str(tmp_path / "base.eval"))
    again = log_module.read_eval_log(str(tmp_path / "base.eval"))
    kept, ours = (
        {(sample.id, sample.epoch): sample.scores["likelihood_ratio"].value for sample in each.samples}
        for each in (again, log)
    )
    assert kept == ours and len(kept) == 4
