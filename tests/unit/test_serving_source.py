"""A registry that is followed: what it says is served, and what cannot be read takes nobody out of service."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from character_ray.adapters import BaseModelId, Manifest, weights_hash, write_manifest
from character_ray.canary import Canary
from character_ray.config import EngineConfig, ModelConfig, ServeConfig
from character_ray.errors import AdapterError, RegistryError, ServingError
from character_ray.models import model_hash, template_hash
from character_ray.registry import Registry
from character_ray.serving.app import open_catalogue
from character_ray.serving.catalogue import Catalogue
from character_ray.serving.leading import leading
from character_ray.serving.personas import load_personas
from character_ray.serving.runs import open_run
from character_ray.serving.source import PersonaSource
from tests.places import Place

TARGETS = ("q_proj",)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(8) + b"weights")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def make(tmp_path: Path, base: Path):
    def write(slug: str, version: int, rank: int = 4, layer: str = "q_proj", **changes: object) -> Path:
        folder = tmp_path / "made" / f"{slug}-{version}"
        folder.mkdir(parents=True)
        names = [f"base_model.model.layers.0.{layer}.lora_{side}.weight" for side in "AB"]
        save_file(
            {name: np.full((rank, rank), version, np.float32) for name in names}, folder / "adapter_model.safetensors"
        )
        (folder / "adapter_config.json").write_text(json.dumps({"r": rank, "lora_alpha": rank}))
        good = {
            "persona": slug.title(),
            "slug": slug,
            "stage": "full",
            "base_model": BaseModelId(name="tiny", hash=model_hash(base)),
            "template_hash": template_hash(base),
            "constitution_hash": "c",
            "rank": rank,
            "weights_hash": weights_hash(folder),
        }
        write_manifest(folder, Manifest(**(good | changes)))
        return folder

    return write


@pytest.fixture
def registry(place: Place) -> Registry:
    return Registry(place.address)


@pytest.fixture
def source(base: Path, registry: Registry) -> PersonaSource:
    return PersonaSource(
        ModelConfig(name="tiny"), base, ServeConfig(), registry=registry.place, targets=TARGETS, rank=8
    )


EMPTY = Catalogue("tiny", "h", ())


def served(catalogue: Catalogue) -> dict[str, str]:
    return {persona.slug: persona.manifest.weights_hash for persona in catalogue.personas}


def test_publishing_promoting_rolling_back_and_retiring_are_followed(registry, source, make):
    one, two = make("pirate", 1), make("pirate", 2)
    registry.publish(one, "live")
    first, problems = source.read(EMPTY)
    assert (served(first), problems) == ({"pirate": weights_hash(one)}, {})
    registry.publish(make("poet", 1), "candidate")
    registry.publish(two, "live")
    second, _ = source.read(first)
    assert served(second) == {"pirate": weights_hash(two)}
    registry.roll_back("pirate")
    third, _ = source.read(second)
    assert served(third) == served(first)
    registry.retire("pirate")
    assert served(source.read(third)[0]) == {}
    assert served(first) == {"pirate": weights_hash(one)}, "a catalogue in use is never changed"


def test_a_version_that_is_no_longer_live_is_found_by_requests_under_way(registry, source, make):
    canary = Canary(prompt_ids=(1,), answer_ids=(2,), logprobs=(-0.1,), base_logprobs=(-2.0,))
    registry.publish(make("pirate", 1), "live", canary=canary)
    (old,) = source.read(EMPTY)[0].personas
    registry.publish(make("pirate", 2), "live")
    assert source.find(old.pinned) == old
    assert source.find(old.pinned).canary == canary
    with pytest.raises(AdapterError, match="there is no adapter pirate-0000"):
        source.find("pirate-0000")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rank": 16}, "started for ranks up to 8"),
        ({"layer": "lm_head"}, "changes lm_head"),
        ({"template_hash": "other"}, "chat template"),
    ],
)
def test_a_new_version_that_may_not_be_served_leaves_the_old_one(registry, source, make, changes, reason):
    registry.publish(make("pirate", 1), "live")
    before, _ = source.read(EMPTY)
    registry.publish(make("pirate", 2, **changes), "live")
    after, problems = source.read(before)
    assert served(after) == served(before)
    assert reason in problems["pirate"]


def test_a_damaged_record_or_adapter_leaves_everybody_in_service(registry, place, source, make):
    registry.publish(make("pirate", 1), "live")
    registry.publish(make("poet", 3), "live")
    before, _ = source.read(EMPTY)
    place.write("personas/pirate.json", b"{")
    registry.publish(make("poet", 4), "live")
    place.write(f"adapters/{registry.record('poet').live.weights_hash}/adapter_model.safetensors", b"evil")
    after, problems = source.read(before)
    assert served(after) == served(before)
    assert set(served(after)) == {"pirate", "poet"}
    assert set(problems) == {"pirate", "poet"}


@pytest.mark.parametrize("loss", ["place", "record"])
def test_storage_that_went_away_leaves_everybody_in_service(registry, place, source, make, loss):
    registry.publish(make("pirate", 1), "live")
    before, _ = source.read(EMPTY)
    if loss == "place":
        place.remove_all()
    else:
        place.remove("personas/pirate.json")
    after, problems = source.read(before)
    assert served(after) == served(before)
    assert problems


def test_a_run_folder_goes_before_the_registrys_persona_of_its_name(registry, make, base):
    fixed = load_personas("tiny", base, [make("pirate", 1)], ServeConfig())
    source = PersonaSource(ModelConfig(name="tiny"), base, ServeConfig(), fixed, registry.place, TARGETS, 8)
    registry.publish(make("pirate", 2), "live")
    catalogue, problems = source.read(Catalogue("tiny", "h", fixed))
    assert catalogue.personas == fixed
    assert "goes before" in problems["pirate"]
    assert source.find(fixed[0].pinned) == fixed[0]


def test_a_canary_is_kept_when_the_same_weights_are_published_again(registry, make):
    canary = Canary(prompt_ids=(1,), answer_ids=(2,), logprobs=(-0.1,), base_logprobs=(-2.0,))
    folder = make("pirate", 1)
    registry.publish(folder, "candidate", canary=canary)
    assert registry.publish(folder, "live").live.canary == canary


def asked_for(catalogue: Catalogue) -> dict[str, str]:
    """Versions that answer to their pinned names alone."""
    return {version.pinned: version.status for version in catalogue.versions}


def test_a_replaced_version_answers_to_its_pinned_name_for_a_time(registry, place, source, make):
    registry.publish(make("pirate", 1), "live")
    registry.publish(make("pirate", 3), "candidate")
    first, _ = source.read(EMPTY)
    (old,) = first.personas
    registry.publish(make("pirate", 2), "live")
    for before in (first, EMPTY):  # one that runs, and one that starts
        after, problems = source.read(before)
        assert (asked_for(after), problems) == ({old.pinned: "retired"}, {})
        assert after.resolve(old.pinned) == first.resolve("pirate") != after.resolve("pirate")
    assert source.read(replace(after, versions=()))[0].versions == after.versions
    assert asked_for(replace(source, serve=ServeConfig(keep_replaced_s=0)).read(after)[0]) == {}
    text = registry.record("pirate").model_dump(mode="json")
    text["history"][-1]["at"] = "2020-01-01T00:00:00Z"
    place.write("personas/pirate.json", json.dumps(text).encode())
    assert asked_for(source.read(after)[0]) == {}


def test_what_was_taken_out_of_service_answers_to_no_name(registry, source, make):
    registry.publish(make("pirate", 1), "live")
    good = registry.publish(make("pirate", 2), "candidate").versions[-1].weights_hash
    registry.retire("pirate")
    assert asked_for(source.read(EMPTY)[0]) == {}
    registry.promote("pirate", good)
    catalogue, _ = source.read(EMPTY)
    assert (list(served(catalogue).values()), asked_for(catalogue)) == ([good], {})


def test_candidates_are_there_where_somebody_may_ask_for_them(registry, place, source, make):
    candidate = registry.publish(make("pirate", 1), "candidate").versions[0].weights_hash
    registry.publish(make("poet", 2), "live")
    unfit = registry.publish(make("poet", 3, rank=16), "candidate").versions[-1].weights_hash
    assert source.read(EMPTY)[0].versions == ()
    catalogue, problems = replace(source, candidates=True).read(EMPTY)
    assert asked_for(catalogue) == {f"pirate-{candidate}": "candidate"}
    assert "ranks up to 8" in problems[f"poet-{unfit}"]
    place.write("personas/pirate.json", b"{")
    assert asked_for(replace(source, candidates=True).read(catalogue)[0]) == asked_for(catalogue)


def test_ratings_are_the_registrys_and_follow_it(registry, source, make):
    folder = make("pirate", 1)
    registry.publish(folder, "live", ratings={"persona_rate": 0.7})
    first, _ = source.read(EMPTY)
    assert first.card("pirate")["metadata"]["ratings"] == {"persona_rate": 0.7}
    registry.publish(folder, "candidate", ratings={"persona_rate": 0.8})
    assert source.read(first)[0].card("pirate")["metadata"]["ratings"] == {"persona_rate": 0.8}


def test_a_registry_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RegistryError, match="mount its storage"):
        Registry(tmp_path / "nowhere").slugs()


ELSEWHERE = {"base_model": BaseModelId(name="other", hash="0" * 16)}


def test_a_restart_leaves_out_what_may_not_be_served_and_says_why(registry, place, make, base):
    registry.publish(make("aaron", 1, **ELSEWHERE), "live")
    registry.publish(make("bert", 2, layer="lm_head"), "live")
    registry.publish(make("cleo", 3), "live")
    damaged = registry.publish(make("dora", 4), "live").live.weights_hash
    place.write(f"adapters/{damaged}/adapter_model.safetensors", b"evil")
    registry.publish(make("emil", 5), "live")
    place.write("personas/emil.json", b"{")
    registry.publish(make("poet", 6), "live")
    assert leading([], registry.place).manifest.base_model.name == "tiny"
    tiny, serve = ModelConfig(name=str(base)), ServeConfig()
    catalogue, problems = open_catalogue(tiny, [], serve, registry.place, EngineConfig())
    assert [persona.slug for persona in catalogue.personas] == ["cleo", "poet"]
    reasons = {"aaron": "was trained on other", "bert": "changes lm_head", "dora": "damaged", "emil": "cannot be read"}
    assert set(problems) == set(reasons)
    assert all(reasons[slug] in problem for slug, problem in problems.items())


def test_a_deployment_whose_registry_has_nothing_fit_is_refused_with_all_reasons(registry, place, make, base):
    registry.publish(make("aaron", 7, **ELSEWHERE), "live")
    with pytest.raises(AdapterError, match=r"(?s)can be served on .*aaron: .*was trained on other"):
        open_catalogue(ModelConfig(name=str(base)), [], ServeConfig(), registry.place)
    place.write("personas/aaron.json", b"{")
    with pytest.raises(ServingError, match=r"(?s)no live persona of .*aaron: .*cannot be read"):
        leading([], registry.place)


def test_the_base_is_that_of_the_runs_or_of_most_or_of_whoever_names_one(registry, make):
    with pytest.raises(ServingError, match="give runs"):
        leading([], None)
    with pytest.raises(ServingError, match="has no live persona"):
        leading([], registry.place)
    registry.publish(make("aaron", 8, **ELSEWHERE), "live")
    registry.publish(make("pirate", 9), "live")
    with pytest.raises(ServingError, match=r"aaron of other \(weights 0+\); pirate of tiny .* Name one"):
        leading([], registry.place)
    assert leading([], registry.place, "tiny").manifest.slug == "pirate"
    with pytest.raises(ServingError, match=r"no persona of the base 'third'"):
        leading([], registry.place, "third")
    run = open_run(make("poet", 10))
    assert leading([run], registry.place) == run
    registry.publish(make("quinn", 11), "live")
    assert leading([], registry.place).manifest.slug == "pirate"


def test_a_persona_named_as_the_base_keeps_nobody_else_from_being_followed(registry, source, make):
    registry.publish(make("pirate", 12), "live")
    registry.publish(make("tiny", 13), "live")
    catalogue, problems = source.read(EMPTY)
    assert list(served(catalogue)) == ["pirate"]
    assert "as the base model is" in problems["tiny"]
