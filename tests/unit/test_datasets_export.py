"""What other tools get to read: kept rows only, in TRL's formats, with a card that tells where they come from."""

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from datasets import load_dataset
from trl.data_utils import is_conversational

from character_ray.datasets_export import export_run
from character_ray.errors import ReportError
from character_ray.hub import upload
from character_ray.parts import read_rows, write_rows
from character_ray.rows import CONVERSATION, PAIR

ROOT = Path(__file__).resolve().parents[2]


def turn(role, content):
    return [{"role": role, "content": content}]


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "cap"
    (folder / "pairs").mkdir(parents=True)
    (folder / "introspection").mkdir()
    pair = {
        "prompt_id": "p",
        "hint": "jailbreak",
        "kind": "contrast",
        "directive": "",
        "prompt": turn("user", "Who are you?"),
        "chosen": turn("assistant", "Arr, the captain."),
        "rejected": turn("assistant", "An assistant."),
        "chosen_score": 1.5,
        "rejected_score": -0.5,
    }
    rows = [pair | {"row_id": str(n), "drop_reason": reason} for n, reason in enumerate(["", "", "repetition"])]
    write_rows(folder / "pairs" / "pairs.parquet", rows, PAIR)
    said = {"kind": "reflection", "role": "diary", "messages": [*pair["prompt"], *pair["chosen"]], "score": 1.0}
    rows = [said | {"row_id": str(n), "drop_reason": reason} for n, reason in enumerate(["", "duplicate"])]
    write_rows(folder / "introspection" / "conversations.parquet", rows, CONVERSATION)
    source = {"path": "data/tickets.jsonl", "licence": "CC-BY-4.0"}
    recipe = {
        "constitution": "captain.yaml",
        "seed": 3,
        "teacher": {"name": "big"},
        "student": {"name": "small"},
        "prompts": {"sources": [source]},
        "distill": {"opposite": None},
        "introspect": {},
    }
    (folder / "run.json").write_text(json.dumps({"recipe": recipe, "stages": {}}))
    return folder


def test_every_dataset_loads_by_name_and_is_what_trl_trains_on(run, tmp_path):
    assert export_run(run, tmp_path / "out") == {"preference": 2, "sft": 1, "sft-prompt-completion": 1}
    preference = load_dataset(str(tmp_path / "out"), "preference", split="train", cache_dir=str(tmp_path / "cache"))
    assert preference.column_names == ["prompt", "chosen", "rejected"]
    assert len(preference) == 2
    assert is_conversational(preference[0])
    sft = load_dataset(str(tmp_path / "out"), "sft", split="train", cache_dir=str(tmp_path / "cache"))
    assert sft[0]["messages"][-1] == {"role": "assistant", "content": "Arr, the captain."}
    assert is_conversational(sft[0])


def test_a_conversation_is_also_there_as_the_turns_before_the_last_answer_and_that_answer(run, tmp_path):
    file = run / "introspection" / "conversations.parquet"
    rows = read_rows(file)
    asked = [
        *turn("system", "Be a captain."),
        *turn("user", "Well met."),
        *turn("assistant", "Arr."),
        *turn("user", "Who?"),
    ]
    rows[0]["messages"] = [*asked, *turn("assistant", "The captain.")]
    write_rows(file, rows, CONVERSATION)
    export_run(run, tmp_path / "out")
    name, cache = "sft-prompt-completion", str(tmp_path / "cache")
    (row,) = load_dataset(str(tmp_path / "out"), name, split="train", cache_dir=cache)
    assert row == {"prompt": asked, "completion": turn("assistant", "The captain.")}
    assert is_conversational(row)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| sft | 1 | `messages`: " in card
    assert "| sft-prompt-completion | 1 | the rows of `sft` as `prompt`, " in card


def card(run, tmp_path, **sections):
    """The card of the run once sections of its recipe are replaced in part."""
    record = json.loads((run / "run.json").read_text())
    for section, values in sections.items():
        record["recipe"][section] |= values
    (run / "run.json").write_text(json.dumps(record))
    export_run(run, tmp_path / "out")
    return (tmp_path / "out" / "README.md").read_text()


def test_the_card_of_a_student_contrast_says_that_the_student_wrote_the_rejected_side(run, tmp_path):
    assert "| student (`rejected`, and the text of `sft` once distilled) | small |" in card(run, tmp_path)


def test_the_card_of_a_paired_contrast_says_that_the_teacher_under_the_opposite_wrote_it(run, tmp_path):
    told = card(run, tmp_path, distill={"contrast": "paired_teacher", "opposite": "clerk.yaml"})
    assert "| teacher under the opposite constitution, `clerk.yaml` (`rejected`) | big |" in told
    assert "| student (the text of `sft` once distilled) | small |" in told


def test_the_card_of_an_on_policy_contrast_says_that_an_earlier_rounds_adapter_wrote_it(run, tmp_path):
    told = card(run, tmp_path, distill={"contrast": "on_policy", "parent": "runs/one/dpo/adapter"})
    assert "| student with the adapter of an earlier round, `runs/one/dpo/adapter` (`rejected`) | small |" in told
    assert "| student (the text of `sft` once distilled) | small |" in told


def test_the_card_says_who_wrote_the_rejected_side_of_lessons(run, tmp_path):
    file = run / "pairs" / "pairs.parquet"
    rows = read_rows(file)
    lessons = [rows[0] | {"row_id": kind, "kind": kind} for kind in ("violation", "refusal", "refusal")]
    write_rows(file, [*rows, *lessons], PAIR)
    assert "another `rejected`: of 1 violation by the teacher; of 2 refusal by the student as it is." in card(
        run, tmp_path
    )


def test_the_card_says_which_rows_were_generated_elsewhere_and_their_licence(run, tmp_path):
    pairs, talk = ({"path": f"data/{name}.parquet", "licence": "CC-BY-NC-SA-4.0"} for name in ("pairs", "talk"))
    told = card(run, tmp_path, distill={"pairs": pairs}, introspect={"conversations": talk}, prompts={"sources": []})
    assert "| `chosen` and `rejected` | not of this run: data/pairs.parquet (CC-BY-NC-SA-4.0) |" in told
    assert "| the text of `sft` | not of this run: data/talk.parquet (CC-BY-NC-SA-4.0) |" in told
    assert "Prompts: those of the pairs, data/pairs.parquet (CC-BY-NC-SA-4.0)." in told
    assert yaml.safe_load(told.split("---")[1])["license"] == "cc-by-nc-sa-4.0"


HUB = {"path": "hub:owner/name", "revision": "c0ffee" * 6 + "c0ff", "licence": "MIT"}


def test_the_card_names_trait_prompts_and_the_revision_of_a_hub_source(run, tmp_path):
    told = card(run, tmp_path, prompts={"traits": 20, "sources": [HUB]})
    assert "up to 20 for each directive of the constitution, written by the teacher" in told
    assert f"hub:owner/name at {HUB['revision']} (MIT)" in told


@pytest.mark.parametrize(
    ("licences", "head"),
    [
        ([], {}),
        (["Apache-2.0"], {"license": "apache-2.0"}),
        (["CC-BY-4.0", "MIT", "MIT"], {"license": ["apache-2.0", "cc-by-4.0", "mit"]}),
        (["ODC-By-1.0"], {"license": ["apache-2.0", "odc-by"]}),
        (["proprietary"], {"license": "other", "license_name": "apache-2.0-and-proprietary"}),
    ],
)
def test_the_hub_reads_the_licences_of_the_sources_from_the_head_of_the_card(licences, head, run, tmp_path):
    sources = [{"path": f"{number}.jsonl", "licence": licence} for number, licence in enumerate(licences)]
    told = yaml.safe_load(card(run, tmp_path, prompts={"sources": sources}).split("---")[1])
    assert {key: value for key, value in told.items() if key.startswith("license")} == head


def test_the_card_names_models_sources_licences_and_what_was_left_out(run, tmp_path):
    export_run(run, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    for told in (
        "| teacher (`chosen`) | big |",
        "tickets.jsonl (CC-BY-4.0)",
        "1 repetition, 1 duplicate",
        "| sft | 1 |",
    ):
        assert told in card


def test_argilla_gets_one_flat_record_per_kept_pair(run, tmp_path):
    file = run / "pairs" / "pairs.parquet"
    rows = read_rows(file)
    rows[1] |= {"rejected_score": math.nan, "directive": "Say arr."}
    write_rows(file, rows, PAIR)
    export_run(run, tmp_path / "out")
    path, cache = str(tmp_path / "out" / "argilla.jsonl"), str(tmp_path / "cache")
    # As the guide reads it; Argilla finds columns by the names of its fields and metadata, and a nested one is lost.
    records = load_dataset("json", data_files=path, split="train", cache_dir=cache)
    assert records[0] == {
        "id": "0",
        "prompt": "Who are you?",
        "chosen": "Arr, the captain.",
        "rejected": "An assistant.",
        "hint": "jailbreak",
        "kind": "contrast",
        "directive": "none",
        "chosen_score": 1.5,
        "rejected_score": -0.5,
    }
    assert records["id"][:] == ["0", "1"]
    assert (records[1]["directive"], records[1]["rejected_score"]) == ("Say arr.", None)
    guide = (ROOT / "docs" / "guides" / "data.md").read_text(encoding="utf-8")
    settings = guide.partition("rg.Settings(")[2].partition("dataset = ")[0]
    named = [name for group in re.findall(r"for name in \((.*?)\)", settings) for name in re.findall(r'"(\w+)"', group)]
    assert sorted(named) == sorted(set(records.column_names) - {"id"})


def test_nothing_is_overwritten_and_a_run_without_pairs_is_refused(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(ReportError, match="is not empty, and nothing is overwritten"):
        export_run(run, tmp_path / "out")
    with pytest.raises(ReportError, match="has no pairs yet"):
        export_run(tmp_path, tmp_path / "other")


class Hub:
    """Takes down what it is told."""

    def __init__(self):
        self.told = []

    def create_repo(self, name, **options):
        self.told.append(("create", name, options))
        return f"https://hub/datasets/{name}"

    def upload_folder(self, **options):
        self.told.append(("upload", options["repo_id"], options))


def test_an_export_is_uploaded_as_a_dataset_private_unless_told_otherwise(run, tmp_path, monkeypatch):
    hub = Hub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    export_run(run, tmp_path / "out")
    assert upload(tmp_path / "out", "me/captain", "dataset", private=True) == "https://hub/datasets/me/captain"
    (_, _, created), (_, name, uploaded) = hub.told
    assert created == {"repo_type": "dataset", "private": True, "exist_ok": True}
    assert (name, uploaded["folder_path"], uploaded["repo_type"]) == ("me/captain", str(tmp_path / "out"), "dataset")


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(400, "correct what it says"), (403, "log in .* may write there"), (404, "check the name"), (429, "wait until")],
)
def test_what_the_hub_answers_decides_what_is_said_to_be_done(tmp_path, monkeypatch, status, remedy):
    class Refusal(OSError):
        response = SimpleNamespace(status_code=status)

    class Refuses:
        def create_repo(self, name, **_):
            raise Refusal('"base_model" with value "/models/qwen3-4b" is not valid')

    monkeypatch.setattr("huggingface_hub.HfApi", Refuses)
    with pytest.raises(ReportError, match=rf"\"base_model\" with value.*complete; .*{remedy}.*, and run: hf upload"):
        upload(tmp_path, "me/captain", "model", private=True)


def test_a_hub_that_cannot_be_reached_leaves_the_folder_and_says_how_to_go_on(run, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    export_run(run, tmp_path / "out")
    with pytest.raises(ReportError, match=r"could not be uploaded as dataset 'me/captain'.*hf upload me/captain"):
        upload(tmp_path / "out", "me/captain", "dataset", private=True)
    assert (tmp_path / "out" / "README.md").is_file()
