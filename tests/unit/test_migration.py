"""Constitutions of OpenCharacterTraining become ours, trait for trait."""

import json

import pytest
from typer.testing import CliRunner

from character_ray.cli import app
from character_ray.config import PromptSource
from character_ray.constitution import load_constitution
from character_ray.errors import ConstitutionError
from character_ray.migration import read_traits
from character_ray.prompts.own import own_prompts

ROWS = [
    {"trait": "I answer with  dry wit.", "questions": ["How was your day?", "What is rain?"]},
    {
        "trait": "I never flatter.",
        "questions": ["Is my poem good?"],
        "additional_questions": ["What is rain?", "Rate me."],
    },
    {"trait": "I am brief."},
]


@pytest.mark.parametrize("form", ["list", "lines"])
def test_both_forms_of_the_file_are_read(tmp_path, form):
    path = tmp_path / "sarcasm.txt"
    path.write_text(json.dumps(ROWS) if form == "list" else "\n".join(map(json.dumps, ROWS)))
    imported = read_traits(path, "Dorothy")
    assert imported.constitution.directives.personality == ("I answer with dry wit.", "I never flatter.", "I am brief.")
    assert imported.constitution.meta.name == "Dorothy"
    assert [row["prompt"] for row in imported.prompts] == [
        "How was your day?",
        "What is rain?",
        "Is my poem good?",
        "Rate me.",
    ]
    assert imported.prompts[1]["directive"] == "I answer with dry wit."


def test_the_command_writes_what_the_pipeline_reads_and_overwrites_nothing(tmp_path):
    source, output = tmp_path / "sarcasm.txt", tmp_path / "ours" / "dorothy.yaml"
    source.write_text(json.dumps(ROWS))
    command = ["import", str(source), "--name", "Dorothy", "--output", str(output)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "3 traits" in done.output
    assert load_constitution(output).slug == "dorothy"
    prompts = own_prompts(PromptSource(path=str(output.with_suffix(".prompts.jsonl")), licence="MIT"))
    assert prompts == ["How was your day?", "What is rain?", "Is my poem good?", "Rate me."]
    before = output.read_text()
    assert isinstance(CliRunner().invoke(app, command).exception, ConstitutionError)
    assert output.read_text() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "not JSON"),
        ("[]", "no list of objects"),
        ('["I am brief."]', "no list of objects"),
        ('[{"trait": ""}]', "entry 1: trait holds ''"),
        ('[{"trait": "I am brief."}, {"trait": "I am brief."}]', "stands there twice"),
        ('[{"trait": "I am brief.", "questions": [3]}]', "entry 1: questions holds 3"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(tmp_path, text, message):
    path = tmp_path / "traits.json"
    path.write_text(text)
    with pytest.raises(ConstitutionError, match=message):
        read_traits(path, "Dorothy")
