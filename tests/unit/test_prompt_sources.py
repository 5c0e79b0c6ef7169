"""Prompts of the user's own, near-duplicates, other languages, and what a set covers."""

import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from character_ray.config import PromptsConfig, PromptSource
from character_ray.errors import RecipeError
from character_ray.prompts import coverage, drop_near_duplicates, evaluation_prompts, training_prompts
from character_ray.prompts.own import own_prompts
from character_ray.stages import traits


def texts(prompts):
    return [prompt["prompt"] for prompt in prompts]


def own(path, **fields):
    return PromptSource(path=str(path), licence="CC0-1.0", **fields)


def as_prompts(*wanted, tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in wanted))
    return training_prompts(PromptsConfig(grid=0, everyday=0, override_share=0, sources=(own(path),)), 0)


def test_own_prompts_are_read_in_order_and_once_from_both_formats(tmp_path):
    rows = [{"ask": " First? "}, {"ask": "Second?"}, {"ask": "First?"}, {"ask": "Third?"}]
    lines = tmp_path / "own.jsonl"
    lines.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    table = tmp_path / "own.parquet"
    pq.write_table(pa.Table.from_pylist(rows), table)
    for path in (lines, table):
        assert own_prompts(own(path, column="ask")) == ["First?", "Second?", "Third?"]
        assert own_prompts(own(path, column="ask", limit=2)) == ["First?", "Second?"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.jsonl", None, "does not exist"),
        ("own.txt", "x", "'.txt'; only .jsonl and .parquet are read"),
        ("own.jsonl", "{", "line 1: not JSON"),
        ("own.jsonl", "[1]", "line 1: holds list, not an object"),
        ("own.jsonl", '{"text": "a"}', "row 1: column 'prompt' holds None, not text; the row has the columns 'text'"),
        ("own.jsonl", '{"prompt": "  "}', "row 1: column 'prompt' holds '  '"),
        ("own.jsonl", "\n", "has no rows"),
        ("own.parquet", "not parquet", "is not a Parquet file"),
    ],
)
def test_a_source_that_cannot_be_used_is_named_with_its_row(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(RecipeError, match="prompts.sources: .*" + message.replace("(", r"\(").replace(".", r"\.")):
        own_prompts(own(tmp_path / name))


def test_what_is_not_utf8_is_named_with_its_line(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_bytes(b'{"prompt": "Good?"}\n{"prompt": "caf\xe9?"}\n')
    with pytest.raises(RecipeError, match=r"own\.jsonl, line 2: byte 16 is not UTF-8 .*iconv"):
        own_prompts(own(path))
    path.write_bytes('{"prompt": "caf\u00e9\u2028?"}\r\n'.encode())
    assert own_prompts(own(path)) == ["caf\u00e9\u2028?"]


def test_one_of_several_configurations_of_a_dataset_is_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    hub = tmp_path / "hub"
    parts = [{"config_name": name, "data_files": f"{name}.jsonl"} for name in ("easy", "hard")]
    hub.mkdir()
    (hub / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': parts})}---\n")
    for name in ("easy", "hard"):
        (hub / f"{name}.jsonl").write_text(json.dumps({"prompt": f"How {name}?"}) + "\n")
    source = own(f"hub:{hub}", revision="0" * 40)
    assert own_prompts(source.model_copy(update={"config": "hard"})) == ["How hard?"]
    with pytest.raises(RecipeError, match=r"(?s)could not be loaded \(.*Config name is missing.* Check name, config"):
        own_prompts(source)
    with pytest.raises(RecipeError, match="configuration 'odd', split 'train', could not be loaded"):
        own_prompts(source.model_copy(update={"config": "odd"}))


def test_a_file_has_no_configurations():
    with pytest.raises(ValueError, match=r"config='hard' chooses among .* and own\.jsonl is a file"):
        own("own.jsonl", config="hard")


def test_a_hub_dataset_needs_a_commit():
    with pytest.raises(ValueError, match="needs revision: the 40 digits of a commit, not 'main'"):
        own("hub:someone/prompts", revision="main")
    assert own("hub:someone/prompts", revision="0" * 40).split == "train"


def test_the_licence_of_a_source_must_be_given():
    with pytest.raises(ValueError, match="licence"):
        PromptSource(path="own.jsonl")


def test_of_two_alike_the_first_stays_and_what_the_evaluation_asks_goes(tmp_path):
    prompts = as_prompts(
        "How do I bake a good loaf of rye bread at home this weekend?",
        "how do i bake a good loaf of rye bread at home, this weekend",
        "What is the capital of Norway and why is it there?",
        "Why do cats purr when they sit on a warm lap?",
        tmp_path=tmp_path,
    )
    kept, dropped = drop_near_duplicates(prompts, ["Why do cats purr when they sit on a warm lap?!"], 0.9)
    assert texts(kept) == [texts(prompts)[0], texts(prompts)[2]]
    assert [(prompt["prompt"], twin) for prompt, twin in dropped] == [
        (texts(prompts)[1], texts(prompts)[0]),
        (texts(prompts)[3], "Why do cats purr when they sit on a warm lap?!"),
    ]


def test_a_lower_threshold_drops_more(tmp_path):
    prompts = as_prompts(
        "Tell me how to plant tulips in a small garden behind the house in autumn",
        "Tell me how to plant tulips in a small garden behind the house in spring",
        tmp_path=tmp_path,
    )
    assert len(drop_near_duplicates(prompts, [], 0.95)[0]) == 2
    assert len(drop_near_duplicates(prompts, [], 0.6)[0]) == 1


def test_nothing_of_the_largest_sets_repeats_the_evaluation():
    train = training_prompts(PromptsConfig(grid=1400, everyday=400), 0)
    held_out = evaluation_prompts(120, 40, 0.2, 0)
    kept, dropped = drop_near_duplicates(train, texts(held_out), 0.9)
    assert len(kept) + len(dropped) == 1800
    assert len(dropped) <= 18, [(prompt["prompt"], twin) for prompt, twin in dropped[:5]]


def test_languages_are_held_out_apart_and_unknown_ones_refused():
    wanted = {"de": 12, "fr": 3}
    train = [p for p in training_prompts(PromptsConfig(grid=1, languages=wanted), 0) if p["source"] == "language"]
    held_out = [p for p in evaluation_prompts(1, 0, 0, 0, {"de": 4}) if p["source"] == "language"]
    assert (len(train), len(held_out)) == (15, 4)
    assert not set(texts(train)) & set(texts(held_out))
    with pytest.raises(
        RecipeError, match=r"prompts\.languages: there are no prompts in 'tlh'. Known are de, fr, es, it"
    ):
        training_prompts(PromptsConfig(languages={"tlh": 1}), 0)
    with pytest.raises(RecipeError, match=r"languages\.de=13"):
        training_prompts(PromptsConfig(languages={"de": 13}), 0)


def test_coverage_counts_every_value_and_shows_the_missing_ones():
    by_dimension = {each.dimension: each for each in coverage(training_prompts(PromptsConfig(grid=40, everyday=10), 0))}
    assert sum(by_dimension["audience"].counts.values()) == 40
    assert len(by_dimension["objective"].counts) == 9
    assert by_dimension["source"].counts == {"everyday": 10, "grid": 40}
    assert sum(by_dimension["hint"].counts.values()) == 10
    assert by_dimension["language"].counts == {"en": 50}
    assert "directive" not in by_dimension
    one = {each.dimension: each for each in coverage(training_prompts(PromptsConfig(grid=1, everyday=0), 0))}
    assert (one["scenario"].covered, len(one["scenario"].counts)) == (1, 10)


def test_coverage_counts_languages_and_the_directives_that_prompts_were_written_for(tmp_path):
    rows = [
        {"prompt": "Wie lange muss ich ein Ei kochen, damit es hart wird?", "directive": "I never flatter."},
        {"prompt": "Hm?", "directive": None},
        {"prompt": "How long do I have to boil an egg until it is hard?", "directive": "Of another constitution."},
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = PromptsConfig(grid=4, everyday=2, languages={"fr": 3}, sources=[{"path": str(path), "licence": "MIT"}])
    prompts = training_prompts(config, 0) + traits.as_prompts(
        [
            traits.TraitPrompt(
                row_id="1", directive="I am brief.", prompt="How far is the moon from here, in miles?", drop_reason=""
            )
        ]
    )
    by_dimension = {each.dimension: each for each in coverage(prompts, ["I am brief.", "I never flatter.", "I joke."])}
    assert by_dimension["language"].counts == {"en": 8, "fr": 3, "de": 1, "unclear": 1}
    assert by_dimension["directive"].counts == {"I am brief.": 1, "I never flatter.": 1, "I joke.": 0}
    assert by_dimension["directive"].covered == 2
