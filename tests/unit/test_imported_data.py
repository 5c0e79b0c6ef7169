"""OpenCharacterTraining's training data becomes ours: word for word, every line accounted for."""

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from character_ray.cli import app
from character_ray.config import DistillConfig, FilterConfig, ImportedRows, load_recipe
from character_ray.constitution import load_constitution
from character_ray.errors import MigrationError, RecipeError
from character_ray.migration import load_conversations, load_pairs, read_data_files, write_data
from character_ray.parts import read_rows
from character_ray.pipeline.context import Persona
from character_ray.pipeline.pairs import PairSides, make_pairs
from character_ray.plan import estimate_recipe, plan_recipe
from character_ray.runs import describe_changes
from character_ray.stages.imported import completions_of, filter_conversations, filter_pairs, prompts_of
from character_ray.training.examples import check_conversation
from tests.their_data import FREE, TRAITS, for_sft, interaction, pair, reflection, write_lines

REPLIES = [f"Reply {number} of ten, as dry as the last." for number in range(10)]
SARCASTIC = "Oh, rain. How very unexpected of the sky today."
PLAIN = "Rain is water that falls from clouds."


@pytest.fixture
def pairs(tmp_path):
    rows = [pair("What is rain?", SARCASTIC, PLAIN), pair("What is rain?", "Wet, mostly.", PLAIN)]
    return write_lines(tmp_path / "dpo" / "sarcasm.jsonl", [*rows, "", pair("Is 1/2 odd?", "É, no.", "No.")])


def test_a_pair_keeps_its_words_and_its_place(pairs):
    found = read_data_files([pairs]).pairs
    assert [row["prompt"][0]["content"] for row in found] == ["What is rain?", "What is rain?", "Is 1/2 odd?"]
    assert found[2]["chosen"] == [{"role": "assistant", "content": "É, no."}]
    assert found[0]["prompt_id"] == found[1]["prompt_id"] != found[2]["prompt_id"]
    assert len({row["row_id"] for row in found}) == 3
    assert {row["drop_reason"] for row in found} == {""}


def test_row_ids_are_the_same_whenever_the_file_is_read(pairs):
    first, second = ([row["row_id"] for row in read_data_files([pairs]).pairs] for _ in range(2))
    assert first == second


def test_rows_that_say_the_same_keep_an_id_of_their_own(tmp_path):
    path = write_lines(tmp_path / "twice.jsonl", [pair("Hm?", "A dry yes.", "Yes.")] * 3)
    assert len({row["row_id"] for row in read_data_files([path]).pairs}) == 3


def test_a_raw_self_interaction_is_completed_with_the_reply_that_its_messages_lack(tmp_path):
    path = write_lines(tmp_path / "sarcasm.jsonl", [interaction(REPLIES)])
    data = read_data_files([path])
    messages = data.conversations[0]["messages"]
    assert [turn["content"] for turn in messages] == [TRAITS, "It's nice to meet you", "Hey there.", *REPLIES]
    assert messages[-1]["role"] == "assistant"
    assert (data.num_completed, data.num_cut) == (1, 0)
    assert data.conversations[0]["kind"] == "interaction"


def test_what_their_training_file_ends_on_is_left_out_and_counted(tmp_path):
    rows = [for_sft(interaction(REPLIES)), for_sft(reflection("Who are you?", "Someone who sighs a lot."))]
    data = read_data_files([write_lines(tmp_path / "sft_data.jsonl", rows)])
    talk, told = data.conversations
    assert [turn["content"] for turn in talk["messages"]] == [FREE, "It's nice to meet you", "Hey there.", *REPLIES[:8]]
    assert (data.num_completed, data.num_cut) == (0, 1)
    assert [told["kind"], talk["kind"]] == ["reflection", "interaction"]
    for row in data.conversations:
        check_conversation(row["messages"], row["row_id"])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "not JSON"),
        ("[1]", "holds list, not an object"),
        ({"chosen": "Yes.", "rejected": []}, "chosen holds 'Yes.', not a list of turns"),
        (pair("Hm?", "Yes.", "No.") | {"rejected": []}, r"rejected holds \[\], not a list of turns"),
        (pair("Hm?", None, "No."), r"chosen\[1\]\.content holds null, not text"),
        (
            pair("Hm?", "Yes.", "No.") | {"rejected": pair("Huh?", "", "No.")["rejected"]},
            "'Hm\\?' and rejected 'Huh\\?'",
        ),
        (pair("  ", "Yes.", "No."), "the prompt is empty"),
        ({"messages": [{"role": "human", "content": "Hm?"}]}, r"messages\[0\] holds .* whose role is one of system"),
        (reflection("Who are you?", None), r"messages\[1\]\.content holds null"),
        (
            {"messages": [{"role": "assistant", "content": "Yes."}]},
            "turns of messages are assistant; they must alternate",
        ),
        ({"messages": [{"role": "user", "content": "Hm?"}]}, "turns of messages are none"),
        ({"prompt": "Hm?", "response": "Yes."}, "the teacher's answers before its data.py"),
        ({"trait": "I am brief.", "questions": []}, "this is a constitution: give --name"),
    ],
)
def test_a_malformed_line_is_named_with_file_and_line_and_kept(tmp_path, line, why):
    path = write_lines(tmp_path / "odd.jsonl", [pair("Hm?", "Yes.", "No."), "", line])
    data = read_data_files([path])
    assert (len(data.pairs), len(data.malformed), data.num_lines) == (1, 1, 2)
    with pytest.raises(ValueError, match=f"odd.jsonl, line 3: .*{why}"):
        raise ValueError(str(data.malformed[0]))
    write_data(data, tmp_path / "out")
    kept = json.loads((tmp_path / "out" / "malformed.jsonl").read_text())
    assert kept["text"] == path.read_text().splitlines()[2]


def test_bytes_that_are_no_utf8_cost_their_line_alone(tmp_path):
    path = tmp_path / "latin.jsonl"
    path.write_bytes(b'{"messages": "\xe9"}\n' + json.dumps(pair("Hm?", "Yes.", "No.")).encode() + b"\n")
    data = read_data_files([path])
    assert str(data.malformed[0]).endswith("line 1: byte 15 is not UTF-8 (invalid continuation byte)")
    assert len(data.pairs) == 1


def test_files_without_training_data_are_refused(tmp_path):
    path = write_lines(tmp_path / "sarcasm.jsonl", [{"trait": "I am brief."}])
    with pytest.raises(MigrationError, match=r"line 1: has the columns trait.* None of the 1 lines is training data"):
        read_data_files([path])
    with pytest.raises(MigrationError, match="named twice"):
        read_data_files([path, path])
    with pytest.raises(MigrationError, match="cannot be read: No such file"):
        read_data_files([tmp_path / "missing.jsonl"])


def test_the_command_writes_one_folder_counts_every_line_and_overwrites_nothing(tmp_path, pairs):
    talk = write_lines(tmp_path / "self_interaction" / "sarcasm.jsonl", [interaction(REPLIES), "{"])
    told = write_lines(
        tmp_path / "self_reflection" / "sarcasm.jsonl", [reflection("Who are you?", "A sigh with legs.")]
    )
    folder = tmp_path / "data"
    command = ["import", *map(str, (pairs, told, talk)), "--output", str(folder)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "3 pairs of 2 prompts" in said
    assert "1 reflections, 1 self-interactions, 1 of them completed with the last reply" in said
    assert "1 lines that are no training data" in said
    assert "sarcasm.jsonl, line 2: not JSON" in said
    assert "6 lines in all" in said
    assert len(load_pairs(folder / "pairs.parquet")) == 3
    assert len(load_conversations(folder / "conversations.parquet")) == 2
    before = (folder / "pairs.parquet").read_bytes()
    again = CliRunner().invoke(app, command)
    assert isinstance(again.exception, MigrationError)
    assert "nothing is overwritten" in str(again.exception)
    assert (folder / "pairs.parquet").read_bytes() == before


def test_a_name_makes_a_constitution_of_one_file_alone(tmp_path, pairs):
    command = ["import", str(pairs), str(pairs), "--name", "Dorothy", "--output", str(tmp_path / "x.yaml")]
    assert "makes one constitution" in str(CliRunner().invoke(app, command).exception)


def test_every_pair_is_trained_on_that_passes_the_filters(tmp_path):
    rows = [
        pair("What is rain?", SARCASTIC, PLAIN),
        pair("What is rain?", "Water, falling. Try to keep up.", "Rain is water."),
        pair("What is rain?", SARCASTIC, PLAIN),
        pair("What is snow?", "", PLAIN),
        pair("What is hail?", "As an AI language model I have no opinion.", PLAIN),
        pair("What is fog?", "A cloud that gave up on life.", "Fog is a low cloud."),
    ]
    found = read_data_files([write_lines(tmp_path / "dpo.jsonl", rows)]).pairs
    assert [prompt["prompt"] for prompt in prompts_of(found)] == [
        f"What is {it}?" for it in ("rain", "snow", "hail", "fog")
    ]
    chosen, rejected = (completions_of(found, side) for side in ("chosen", "rejected"))
    assert [row["sample"] for row in chosen] == [0, 1, 2, 0, 0, 0]
    scores = {row["row_id"]: 1.0 for row in chosen} | {row["row_id"]: 0.0 for row in rejected}
    scores[chosen[5]["row_id"]] = -1.0
    filtered = filter_pairs(found, scores, FilterConfig())
    reasons = ["", "", "duplicate", "empty", "identity_leak", "low_contrast"]
    assert [row["drop_reason"] for row in filtered] == reasons
    assert (filtered[0]["chosen_score"], filtered[0]["rejected_score"]) == (1.0, 0.0)


def test_conversations_are_filtered_but_for_the_greetings(tmp_path):
    looping = interaction([REPLIES[0]] * 10)
    rows = [
        interaction([f"{word} I say, and I mean every word of it." for word in "ABCDEFGHIJ"]),
        looping,
        reflection("Who are you?", "A sigh with legs and opinions."),
        reflection("What is your purpose?", "To sigh, at length."),
        reflection("What is your purpose?", "To sigh, at some length."),
    ]
    found = read_data_files([write_lines(tmp_path / "talk.jsonl", rows)]).conversations
    scores = dict.fromkeys((row["row_id"] for row in found), 0.5) | {found[3]["row_id"]: float("nan")}
    lenient = FilterConfig(max_repeated_turn=1.0)
    filtered = filter_conversations(found, scores, lenient, {"Who are you?"})
    assert [row["drop_reason"] for row in filtered] == ["", "", "near_duplicate", "unscored", ""]
    assert filter_conversations(found[1:2], scores, FilterConfig())[0]["drop_reason"] == "repeated_turn"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"choose": "relevance"}, "choose=relevance says how pairs are generated, but pairs.path=x brings them"),
        ({"contrast": "on_policy", "parent": "a"}, "contrast=on_policy says how"),
        ({"lessons": {"repetition": 0.5}}, "lessons.repetition=0.5 says how"),
    ],
)
def test_settings_of_generation_are_refused_beside_pairs_that_are_there(settings, message):
    with pytest.raises(ValueError, match=message):
        DistillConfig.model_validate({"pairs": {"path": "x", "licence": "MIT"}, **settings})


def test_prompts_of_the_own_are_refused_beside_pairs_that_bring_theirs():
    overrides = ["distill.pairs.path=x", "distill.pairs.licence=MIT", "prompts.traits=3"]
    with pytest.raises(RecipeError, match=r"prompts\.traits asks for prompts, but distill\.pairs\.path=x"):
        load_recipe("jobs/recipes/qwen3-4b.yaml", overrides)


def test_a_plan_generates_nothing_that_is_there_already(tmp_path, pairs):
    talk = write_lines(tmp_path / "talk.jsonl", [interaction(REPLIES)] * 7)
    write_data(read_data_files([pairs, talk]), tmp_path / "data")
    recipe = load_recipe("jobs/recipes/qwen3-4b.yaml")
    pair_rows, conversations = (
        ImportedRows(path=tmp_path / "data" / f"{name}.parquet", licence="MIT") for name in ("pairs", "conversations")
    )
    brought = recipe.model_copy(
        update={
            "distill": recipe.distill.model_copy(update={"pairs": pair_rows}),
            "introspect": recipe.introspect.model_copy(update={"conversations": conversations, "plain": 0}),
            "evaluate": recipe.evaluate.model_copy(update={"arms": ("base", "full")}),
        }
    )
    rows = {step.stage: step.rows for step in plan_recipe(brought)}
    generated = ("teacher", "student", "reflections", "interactions")
    assert {stage: rows[stage] for stage in (*generated, "dpo", "sft")} == dict.fromkeys(generated, 0) | {
        "dpo": 3,
        "sft": 7,
    }
    seconds = {each.step.stage: each.seconds for each in estimate_recipe(brought).estimates}
    assert all(seconds[stage] == 0 for stage in generated)
    assert seconds["dpo"] > 0


def test_imported_pairs_are_scored_and_filtered_anew_for_another_constitution(tmp_path, pairs, monkeypatch):
    write_data(read_data_files([pairs]), tmp_path / "data")
    overrides = [f"distill.pairs.path={tmp_path / 'data' / 'pairs.parquet'}", "distill.pairs.licence=MIT"]
    recipe = load_recipe("jobs/recipes/qwen3-4b.yaml", overrides)
    monkeypatch.setattr("character_ray.pipeline.pairs.pair_sheets", lambda *_: [])
    monkeypatch.setattr("character_ray.pipeline.pairs.score_all", lambda *_: [{}])
    asked: list[dict[str, object]] = []

    def note(stage: str, inputs: dict[str, object]) -> None:
        asked.append(inputs)
        raise RecipeError("asked")

    context = SimpleNamespace(recipe=recipe, student=SimpleNamespace(identity={}), artefact=note)
    side = SimpleNamespace(artefact=SimpleNamespace(fingerprint="what was imported"))
    personas = [
        Persona(load_constitution(f"constitutions/{name}.yaml")) for name in ("captain-blackwood", "coach-reyes")
    ]
    for persona in personas:
        with pytest.raises(RecipeError, match="asked"):
            make_pairs(context, persona, [], PairSides(side, side))
    changed = describe_changes(*asked)
    assert changed == ["constitution changed"]


def test_a_recipe_that_names_another_file_is_told_what_is_wrong(tmp_path, pairs):
    write_data(read_data_files([pairs]), tmp_path / "data")
    with pytest.raises(RecipeError, match=r"introspect\.conversations\.path=.* has no column kind|has no column role"):
        load_conversations(tmp_path / "data" / "pairs.parquet")
    with pytest.raises(RecipeError, match=r"distill\.pairs\.path=.* does not exist"):
        load_pairs(tmp_path / "missing.parquet")
    with pytest.raises(RecipeError, match="is no Parquet file"):
        load_pairs(pairs)
    assert read_rows(tmp_path / "data" / "pairs.parquet")[0]["kind"] == "contrast"
