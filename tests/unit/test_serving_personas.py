"""Which adapters may be served, and under which names."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from character_ray.adapters import BaseModelId, Manifest, weights_hash, write_manifest
from character_ray.canary import Canary
from character_ray.config import ModelConfig, ServeConfig
from character_ray.errors import AdapterError, ServingError
from character_ray.models import model_hash, template_hash
from character_ray.serving.catalogue import Catalogue, SecondModel, base_id
from character_ray.serving.personas import load_personas, pinned_copy

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder that looks like a model to the hashes."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(8) + b"weights")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


@pytest.fixture
def make(tmp_path: Path, base: Path) -> Callable[..., Path]:
    """Writes an adapter folder; what differs from a good one is named."""

    def write(name: str, *, content: bytes | None = None, rank: int = 8, **manifest: object) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / WEIGHTS).write_bytes(content or name.encode())
        (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "lora_alpha": rank}))
        good = {
            "persona": name.title(),
            "slug": name,
            "stage": "full",
            "base_model": BaseModelId(name="tiny", hash=model_hash(base)),
            "template_hash": template_hash(base),
            "constitution_hash": "c",
            "rank": rank,
            "weights_hash": weights_hash(folder),
        }
        write_manifest(folder, Manifest(**(good | manifest)))
        return folder

    return write


def test_good_adapters_become_personas_in_order(make: Callable[..., Path], base: Path):
    personas = load_personas("tiny", base, [make("pirate"), make("poet")], ServeConfig())
    assert [persona.slug for persona in personas] == ["pirate", "poet"]


def test_other_weights_have_another_name_inside_the_engine(make: Callable[..., Path], base: Path):
    one, two = make("pirate"), make("elsewhere", content=b"retrained", slug="pirate")
    first, second = (load_personas("tiny", base, [folder], ServeConfig())[0] for folder in (one, two))
    assert first.slug == second.slug
    assert first.pinned != second.pinned


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"base_model": BaseModelId(name="other", hash="0" * 16)}, "was trained on other"),
        ({"template_hash": "0" * 16}, "chat template"),
        ({"rank": 64}, "serve.max_lora_rank=32"),
        ({"weights_hash": "0" * 16}, "changed or damaged"),
    ],
    ids=["other base", "other template", "rank", "weights"],
)
def test_an_unfit_adapter_is_refused_with_the_reason(
    changes: dict[str, object], complaint: str, make: Callable[..., Path], base: Path
):
    with pytest.raises(AdapterError, match=complaint) as caught:
        load_personas("tiny", base, [make("pirate", **changes)], ServeConfig(max_lora_rank=32))
    assert "pirate" in str(caught.value)


def test_two_adapters_of_one_name_are_refused(make: Callable[..., Path], base: Path):
    with pytest.raises(AdapterError, match="both named pirate"):
        load_personas("tiny", base, [make("pirate"), make("second", slug="pirate")], ServeConfig())


def test_nothing_to_serve_is_refused(base: Path):
    with pytest.raises(AdapterError, match="no adapter"):
        load_personas("tiny", base, [], ServeConfig())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHARACTER_RAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_pinned_copy_outlives_retraining_in_place(make: Callable[..., Path], base: Path, cache: Path):
    (persona,) = load_personas("tiny", base, [make("pirate")], ServeConfig())
    copy = pinned_copy(persona)
    (persona.folder / WEIGHTS).write_bytes(b"retrained")
    assert pinned_copy(persona) == copy
    assert weights_hash(copy) == persona.manifest.weights_hash


def test_a_folder_retrained_before_the_first_copy_is_refused(make: Callable[..., Path], base: Path, cache: Path):
    (persona,) = load_personas("tiny", base, [make("pirate")], ServeConfig())
    make("second/pirate", content=b"retrained", slug="pirate", persona="Pirate")
    for path in (persona.folder.parent / "second" / "pirate").iterdir():
        path.replace(persona.folder / path.name)
    with pytest.raises(AdapterError, match="Restart the server"):
        pinned_copy(persona)
    assert not list((cache / "adapters").glob("pirate-*[0-9a-f]"))


def test_a_removed_folder_is_refused(make: Callable[..., Path], base: Path, cache: Path):
    (persona,) = load_personas("tiny", base, [make("pirate")], ServeConfig())
    (persona.folder / WEIGHTS).unlink()
    with pytest.raises(AdapterError, match="cannot be read"):
        pinned_copy(persona)


@pytest.fixture
def catalogue(make: Callable[..., Path], base: Path) -> Catalogue:
    return Catalogue("org/tiny", "h", load_personas("tiny", base, [make("pirate"), make("poet")], ServeConfig()))


def test_every_name_of_a_persona_leads_to_its_pinned_weights(catalogue: Catalogue):
    pirate = catalogue.personas[0]
    pinned = f"org/tiny:{pirate.pinned}"
    assert {catalogue.resolve(name) for name in ("pirate", "org/tiny:pirate", pirate.pinned, pinned)} == {pinned}


@pytest.mark.parametrize("name", [None, "org/tiny"])
def test_the_base_answers_to_its_own_name_and_to_none(name: str | None, catalogue: Catalogue):
    assert catalogue.resolve(name) == "org/tiny"


@pytest.mark.parametrize(
    "name", ["", "tiny", "nobody", "other:pirate", "org/tiny:", "org/tiny:pirate:x", "pirate-0000"]
)
def test_any_other_name_leads_nowhere(name: str, catalogue: Catalogue):
    assert catalogue.resolve(name) is None
    assert catalogue.card(name) is None


def test_cards_are_json_and_found_by_every_name(catalogue: Catalogue):
    cards = json.loads(json.dumps(catalogue.cards()))
    assert [card["id"] for card in cards] == ["org/tiny", "org/tiny:pirate", "org/tiny:poet"]
    assert catalogue.card("poet") == catalogue.card("org/tiny:poet") == cards[2]


def test_a_persona_named_as_the_base_is_refused(make: Callable[..., Path], base: Path):
    personas = load_personas("tiny", base, [make("tiny")], ServeConfig())
    with pytest.raises(AdapterError, match="as the base model is"):
        Catalogue("tiny", "h", personas)


def test_no_persona_and_no_base_has_the_judges_name(make: Callable[..., Path], base: Path):
    personas = load_personas("tiny", base, [make("judge")], ServeConfig())
    with pytest.raises(AdapterError, match="the persona is named judge, which is the name of a deployment's judge"):
        Catalogue("tiny", "h", personas)
    with pytest.raises(ServingError, match="the base model is named judge"):
        Catalogue("judge", "h", ())


def test_the_judge_answers_to_its_name_alone_and_where_there_is_one(catalogue: Catalogue):
    assert catalogue.resolve("judge") is catalogue.card("judge") is None
    judged = replace(catalogue, judge=SecondModel("org/wise", "w"))
    assert judged.resolve("judge") == "judge"
    assert [judged.resolve(name) for name in ("org/wise", "org/tiny:judge", "judge:pirate")] == [None] * 3
    assert judged.cards()[:-1] == catalogue.cards()
    card = judged.cards()[-1]
    assert card == judged.card("judge")
    assert card["id"] == "judge" and card["metadata"]["model"] == "org/wise" and card["metadata"]["weights_hash"] == "w"
    assert judged.names() == [*catalogue.names(), "judge"]


@pytest.mark.parametrize(
    ("name", "served_as"),
    [
        ("smollm2-135m-instruct", "smollm2-135m-instruct"),
        ("Qwen/Qwen3-4B", "Qwen/Qwen3-4B"),
        ("/data/my:model", "my-model"),
    ],
)
def test_the_base_is_served_under_its_hub_id_or_folder_name(name: str, served_as: str):
    assert base_id(ModelConfig(name=name)) == served_as


@pytest.mark.parametrize(("weights", "told"), [("own", {"persona_rate": 0.75}), ("0" * 16, {})])
def test_cards_tell_the_ratings_of_a_report_of_these_weights(
    weights: str, told: dict[str, float], make: Callable[..., Path], base: Path
):
    folder = make("run/adapter", slug="pirate")
    report = {
        "arms": {"full": {"persona_rate": {"value": 0.75}, "rating": {"value": None}, "p90_words": {"value": 12}}},
        "adapter": {"hash": weights_hash(folder) if weights == "own" else weights},
    }
    (folder.parent / "report.json").write_text(json.dumps(report))
    catalogue = Catalogue("org/tiny", "h", load_personas("tiny", base, [folder], ServeConfig()))
    assert catalogue.card("pirate")["metadata"]["ratings"] == told


def test_a_version_that_is_not_live_answers_to_its_pinned_name_alone(
    catalogue: Catalogue, make: Callable[..., Path], base: Path
):
    adapters = [make("second", slug="pirate"), make("third", slug="sailor")]
    replaced, candidate = load_personas("tiny", base, adapters, ServeConfig())
    replaced, candidate = replace(replaced, status="retired"), replace(candidate, status="candidate")
    all_known = replace(catalogue, versions=(replaced, candidate))
    known = all_known.known(candidates=False)
    assert known.resolve("pirate") == catalogue.resolve("pirate")
    assert known.resolve(replaced.pinned) == known.resolve(f"org/tiny:{replaced.pinned}") == known.engine_id(replaced)
    assert [each.resolve(candidate.pinned) is not None for each in (all_known, known)] == [True, False]
    assert all_known.resolve("sailor") is None
    assert known.cards() == catalogue.cards()
    told = [(card["id"], card["metadata"].get("status")) for card in all_known.cards(versions=True)]
    assert told[2:] == [
        ("org/tiny:poet", "live"),
        (f"org/tiny:{replaced.pinned}", "retired"),
        (f"org/tiny:{candidate.pinned}", "candidate"),
    ]
    assert known.card(replaced.pinned)["metadata"]["pinned"] == known.engine_id(replaced)
    assert known.names() == catalogue.names()


def test_cards_do_not_show_folders(catalogue: Catalogue):
    assert str(catalogue.personas[0].folder) not in json.dumps(catalogue.cards())


def test_a_persona_of_a_run_is_checked_by_what_the_run_stored_of_its_weights(make: Callable[..., Path], base: Path):
    folder = make("pirate")
    (persona,) = load_personas("tiny", base, [folder], ServeConfig())
    assert persona.canary is None
    answer = {"prompt_ids": [1], "answer_ids": [2], "logprobs": [-0.1], "base_logprobs": [-3.0]}
    stored = folder / "canary.json"
    stored.write_text(json.dumps({"weights_hash": persona.manifest.weights_hash, "canary": answer}))
    (persona,) = load_personas("tiny", base, [folder], ServeConfig())
    assert persona.canary == Canary.model_validate(answer)
    stored.write_text(json.dumps({"weights_hash": "of others", "canary": answer}))
    assert load_personas("tiny", base, [folder], ServeConfig())[0].canary is None
    stored.write_text("{")
    with pytest.raises(AdapterError, match=r"canary\.json cannot be read"):
        load_personas("tiny", base, [folder], ServeConfig())
