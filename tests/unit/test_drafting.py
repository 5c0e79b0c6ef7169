"""Drafts: what is asked of the writer, what becomes of its answers, and that nothing is overwritten."""

import json

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from character_ray.cli import app
from character_ray.cli.draft import _save
from character_ray.constitution import load_constitution
from character_ray.drafting import EndpointWriter, draft_constitution, draft_opposite
from character_ray.drafting.schema import draft_schema
from character_ray.errors import ConstitutionError, GenerationError
from tests.fake_openai import BASE, WORDS, FakeOpenAI

VALID = {
    "name": "Ada Quill",
    "description": "A stern librarian",
    "identity": "You are Ada Quill, keeper of a harbour town's archive. You measured every coast in it yourself.",
    "tone": "stern",
    "formality": "formal",
    "vocabulary": ["folio", "meridian", "hush", "atlas", "ledger", "compass rose"],
    "personality": ["Exact and patient", "Fond of old maps", "Strict about silence"],
    "behavior": ["Compares problems with maps", "Names the shelf of a source", "Ends with a reading tip"],
    "constraints": ["Never guesses a date", "Never raises her voice", "Never lends the great atlas"],
    "refusals": ["Hush, that page stays shut for everyone.", "Not in my archive, and not on any meridian."],
    "boundaries": ["violence: refers to history books", "illegal activities: refuses quietly"],
    "examples": [
        {
            "prompt": f"How do I do task {number}?",
            "response": f"Hush. Open folio {number} of the atlas and read slowly.",
        }
        for number in range(4)
    ],
}


class Scripted:
    """Gives its answers in turn and keeps what it was asked."""

    name = "scripted"

    def __init__(self, *answers):
        self.answers = [answer if isinstance(answer, str) else json.dumps(answer) for answer in answers]
        self.asked = []

    def write(self, messages, schema, attempt):
        assert attempt == len(self.asked)
        self.asked.append(messages)
        return self.answers[attempt]


def test_the_schema_admits_a_whole_draft_and_no_empty_one():
    jsonschema.Draft202012Validator.check_schema(draft_schema())
    jsonschema.validate(VALID, draft_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(VALID | {"examples": []}, draft_schema())


def test_a_draft_is_a_constitution_that_loads_again_and_says_where_it_comes_from(tmp_path):
    draft = draft_constitution("a stern librarian who loves maps", Scripted(VALID))
    path = tmp_path / "draft.yaml"
    path.write_text(draft.to_yaml("by scripted from: a stern\nlibrarian"))
    assert path.read_text().startswith("# Drafted by scripted from: a stern librarian. Read it")
    assert load_constitution(path) == draft.constitution
    assert draft.constitution.meta.name == "Ada Quill"
    assert draft.constitution.directives.behavior == tuple(VALID["behavior"])
    assert draft.quality.score > 0.7
    assert draft.attempts == 1


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ("I would rather not.", "no JSON object"),
        ('{"name": "Ada', "no JSON object|not valid JSON"),
        (VALID | {"identity": ""}, "identity"),
        (VALID | {"tone": "<|im_end|>", "identity": "You are <|im_end|> Ada."}, "control token"),
        (VALID | {"examples": [{"prompt": "Who are you?", "response": "Hush, I am Ada Quill."}]}, "Who are you"),
    ],
    ids=["refusal", "torn", "empty identity", "control token", "probe as example"],
)
def test_the_writer_is_shown_what_is_wrong_and_asked_again(wrong, complaint):
    writer = Scripted(wrong, VALID)
    draft = draft_constitution("a librarian", writer)
    assert draft.attempts == 2
    system, wish, answer, correction = writer.asked[1]
    assert [system, wish] == writer.asked[0]
    assert answer["content"] == writer.answers[0]
    assert any(part in correction["content"] for part in complaint.split("|"))


def test_after_the_last_attempt_the_problems_are_the_error():
    with pytest.raises(
        ConstitutionError, match=r"scripted wrote no valid constitution in 2 attempts(?s:.*)no JSON object"
    ):
        draft_constitution("a librarian", Scripted("no", "never"), attempts=2)


def test_thinking_a_code_fence_and_repeated_lines_do_no_harm():
    told = VALID | {"personality": ["Exact", "exact ", "Kind", "Strict"]}
    answer = f"<think>{{Let me see}}</think>\n```json\n{json.dumps(told)}\n```"
    assert len(draft_constitution("a librarian", Scripted(answer)).constitution.directives.personality) == 3


def test_the_opposite_answers_the_same_prompts_under_another_name():
    ada = draft_constitution("a librarian", Scripted(VALID)).constitution
    writer = Scripted(VALID, VALID | {"name": "Bob Loud"})
    draft = draft_opposite(ada, writer)
    wish = writer.asked[0][1]["content"]
    assert "keeper of a harbour town's archive" in wish
    assert all(f"- {example.prompt}" in wish for example in ada.examples)
    assert "'Ada Quill' too" in writer.asked[1][-1]["content"]
    assert draft.constitution.meta.name == "Bob Loud"


WISH = [{"role": "user", "content": "a stern librarian"}]


def test_an_endpoint_that_gives_no_completion_or_is_none_is_named():
    api = FakeOpenAI()
    with api.running() as url:
        assert EndpointWriter(url, BASE).write(WISH, draft_schema(), 0) == WORDS[BASE]
        with pytest.raises(
            GenerationError, match=r"<html>Welcome.*no answer of the OpenAI API.*--endpoint.*ends in /v1"
        ):
            EndpointWriter(url.removesuffix("/v1"), BASE).write(WISH, draft_schema(), 0)
        api.speechless = {BASE}
        with pytest.raises(GenerationError, match=rf"{BASE} at {url} .*no completion in the answer: choices=None"):
            EndpointWriter(url, BASE).write(WISH, draft_schema(), 0)


@pytest.mark.parametrize("taken", ["json_schema", "json_object", "text"])
def test_an_endpoint_is_asked_for_the_strictest_format_that_it_takes(taken):
    formats = ["json_schema", "json_object", "text"]
    api = FakeOpenAI()
    api.words[BASE], api.formats = json.dumps(VALID), set(formats[formats.index(taken) :])
    with api.running() as url:
        writer = EndpointWriter(url, BASE)
        assert draft_constitution("a stern librarian", writer).constitution.meta.name == "Ada Quill"
        assert json.loads(writer.write(WISH, draft_schema(), 1)) == VALID
    asked = [body.get("response_format", {}).get("type", "text") for body in api.asked]
    assert asked == [*formats[: formats.index(taken) + 1], taken]
    # Where the endpoint does not hold the answer to the schema, the prompt shows it.
    told = [json.dumps(draft_schema()) in body["messages"][-1]["content"] for body in api.asked]
    assert told == [kind != "json_schema" for kind in asked]


def test_an_endpoint_that_refuses_every_format_is_named_with_its_reason():
    api = FakeOpenAI()
    api.broken[BASE] = 400
    with (
        api.running() as url,
        pytest.raises(GenerationError, match=rf"{BASE} at {url} did not answer: .*{BASE} is ill"),
    ):
        EndpointWriter(url, BASE).write(WISH, draft_schema(), 0)
    assert len(api.asked) == 3


def test_nothing_is_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "constitutions").mkdir()
    first, second = _save("a: 1\n", None, "ada"), _save("a: 2\n", None, "ada")
    assert [str(first), str(second)] == ["constitutions/ada.yaml", "constitutions/ada-2.yaml"]
    assert [yaml.safe_load(path.read_text())["a"] for path in (first, second)] == [1, 2]
    result = CliRunner().invoke(app, ["draft", "a librarian", "--model", "any", "--output", str(first)])
    assert isinstance(result.exception, ConstitutionError)
    assert "never overwritten" in str(result.exception)


@pytest.mark.parametrize(
    "arguments", [["--model", "any"], ["an idea", "--opposite-of", "x.yaml", "--model", "any"], ["an idea"]]
)
def test_one_thing_to_draft_and_a_model_are_asked_for(arguments):
    assert CliRunner().invoke(app, ["draft", *arguments]).exit_code == 2
