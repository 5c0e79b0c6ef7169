"""A registry in a folder and in a bucket: versions come and go, one is live, and nothing damaged or out of place gets in or out."""

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from character_ray.adapters import BaseModelId, Manifest, weights_hash, write_manifest
from character_ray.errors import AdapterError, RegistryError
from character_ray.registry import PersonaRecord, Registry
from tests.places import Place


def adapter(folder: Path, weights: str, base: str = "b", slug: str = "captain-blackwood") -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": 8}))
    (folder / "adapter_model.safetensors").write_bytes(weights.encode())
    manifest = Manifest(
        persona="Captain Blackwood",
        slug=slug,
        stage="full",
        base_model=BaseModelId(name="base", hash=base),
        template_hash="t",
        constitution_hash="c",
        rank=4,
        weights_hash=weights_hash(folder),
    )
    write_manifest(folder, manifest)
    return folder


@pytest.fixture
def registry(place: Place) -> Registry:
    return Registry(place.address)


def statuses(registry: Registry) -> list[str]:
    return [entry.status for entry in registry.record("captain-blackwood").versions]


def test_a_live_version_takes_the_place_of_the_last_and_can_be_rolled_back(registry, tmp_path):
    first, second = (adapter(tmp_path / name, name) for name in ("one", "two"))
    registry.publish(first, "live", run="runs/one", ratings={"persona_rate": 0.9})
    registry.publish(second, "live")
    assert statuses(registry) == ["retired", "live"]
    assert [weights_hash(folder) for folder in registry.live()] == [weights_hash(second)]
    registry.roll_back("captain-blackwood")
    assert statuses(registry) == ["live", "retired"]
    assert [weights_hash(folder) for folder in registry.live()] == [weights_hash(first)]
    assert registry.record("captain-blackwood").versions[0].ratings == {"persona_rate": 0.9}
    with pytest.raises(RegistryError, match="nothing to roll back to"):
        registry.roll_back("captain-blackwood")


def three_live(registry: Registry, tmp_path: Path) -> list[str]:
    """Three versions that went live in turn."""
    return [registry.publish(adapter(tmp_path / name, name), "live").live.weights_hash for name in ("1", "2", "3")]


def live(record: PersonaRecord) -> str | None:
    return record.live.weights_hash if record.live else None


def test_a_roll_back_goes_to_what_was_live_before_whatever_was_published_when(registry, tmp_path):
    one, two, three = three_live(registry, tmp_path)
    registry.promote("captain-blackwood", two)
    assert live(registry.roll_back("captain-blackwood")) == three
    registry.promote("captain-blackwood", one)
    registry.publish(adapter(tmp_path / "4", "4"), "candidate")
    assert live(registry.roll_back("captain-blackwood")) == three
    assert [live(registry.roll_back("captain-blackwood")) for _ in range(2)] == [two, one]
    with pytest.raises(RegistryError, match="nothing to roll back to"):
        registry.roll_back("captain-blackwood")


def test_a_persona_that_was_retired_in_between_is_rolled_back_to_what_was_live_before(registry, tmp_path):
    one, two, _ = three_live(registry, tmp_path)
    registry.promote("captain-blackwood", two)
    registry.retire("captain-blackwood")
    registry.promote("captain-blackwood", one)
    assert live(registry.roll_back("captain-blackwood")) == two


def test_the_history_says_who_made_what_live_and_when(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("LOGNAME", "anne")
    one = registry.publish(adapter(tmp_path / "one", "one"), "live", gate=["bound, found"]).live.weights_hash
    two = registry.publish(adapter(tmp_path / "two", "two"), "candidate").versions[-1].weights_hash
    registry.promote("captain-blackwood", two, by="bert", gate=["another, found"])
    registry.promote("captain-blackwood", two, by="nobody, since it is live")
    registry.roll_back("captain-blackwood", by="cleo")
    record = registry.retire("captain-blackwood")
    assert [(each.action, each.weights_hash, each.by, each.gate) for each in record.history] == [
        ("published", one, "anne", ["bound, found"]),
        ("promoted", two, "bert", ["another, found"]),
        ("rolled_back", one, "cleo", []),
        ("retired", "", "anne", []),
    ]
    assert all(abs(each.at - datetime.now(UTC)) < timedelta(hours=1) for each in record.history)


def test_a_record_of_before_the_history_is_read_and_rolled_back_as_its_versions_stand(registry, place, tmp_path):
    one, two, three = three_live(registry, tmp_path)
    old = registry.record("captain-blackwood").model_dump(mode="json", exclude={"history"})
    place.write("personas/captain-blackwood.json", json.dumps(old).encode())
    assert registry.record("captain-blackwood").before == two
    registry.promote("captain-blackwood", one)
    record = registry.roll_back("captain-blackwood")
    assert live(record) == three
    assert [(each.weights_hash, bool(each.by)) for each in record.history] == [
        (one, False),
        (two, False),
        (three, False),
        (one, True),
        (three, True),
    ]
    place.write("personas/captain-blackwood.json", json.dumps(old | {"versions": old["versions"][-1:]}).encode())
    assert registry.record("captain-blackwood").before is None


def test_a_candidate_is_not_served_until_it_is_promoted(registry, tmp_path):
    registry.publish(adapter(tmp_path / "one", "one"), "live")
    candidate = registry.publish(adapter(tmp_path / "two", "two"), "candidate").versions[-1]
    assert statuses(registry) == ["live", "candidate"]
    registry.promote("captain-blackwood", candidate.weights_hash[:6])
    assert statuses(registry) == ["retired", "live"]
    with pytest.raises(RegistryError, match="0 versions whose hash begins with 'zz'"):
        registry.promote("captain-blackwood", "zz")


def test_retired_personas_are_not_served_and_their_versions_stay(registry, tmp_path):
    registry.publish(adapter(tmp_path / "one", "one"), "live")
    registry.retire("captain-blackwood")
    assert registry.live() == []
    assert statuses(registry) == ["retired"]
    with pytest.raises(RegistryError, match="no live version"):
        registry.roll_back("captain-blackwood")


def test_publishing_the_same_weights_again_is_one_version(registry, tmp_path):
    folder = adapter(tmp_path / "one", "one")
    for status in ("candidate", "live"):
        registry.publish(folder, status)
    assert statuses(registry) == ["live"]


def test_a_live_version_that_is_published_again_as_a_candidate_stays_live(registry, tmp_path):
    registry.publish(adapter(tmp_path / "one", "one"), "live", ratings={"persona_rate": 0.7})
    registry.publish(adapter(tmp_path / "two", "two"), "candidate")
    registry.publish(tmp_path / "one", "candidate", ratings={"persona_rate": 0.8})
    record = registry.record("captain-blackwood")
    assert [(entry.weights_hash, entry.status) for entry in record.versions] == [
        (weights_hash(tmp_path / "two"), "candidate"),
        (weights_hash(tmp_path / "one"), "live"),
    ]
    assert record.live.ratings == {"persona_rate": 0.8}


def test_what_the_run_does_later_does_not_change_what_was_published(registry, tmp_path):
    folder = adapter(tmp_path / "one", "one")
    entry = registry.publish(folder, "live").versions[0]
    (folder / "adapter_model.safetensors").write_bytes(b"retrained")
    assert registry.adapter(entry)
    with pytest.raises(AdapterError, match="changed or damaged"):
        registry.publish(folder, "live")
    assert statuses(registry) == ["live"]


@pytest.mark.parametrize(
    ("file", "data"), [("adapter_model.safetensors", b"evil"), ("adapter_config.json", b"{}"), ("manifest.json", b"{}")]
)
def test_a_copy_that_was_tampered_with_is_refused_until_it_is_published_again(registry, place, tmp_path, file, data):
    registry.publish(adapter(tmp_path / "one", "one"), "live")
    (copy,) = (name for name in place.names() if name.endswith(file))
    place.write(copy, data)
    with pytest.raises(RegistryError, match="damaged"):
        registry.live()
    registry.publish(tmp_path / "one", "live")
    assert [weights_hash(folder) for folder in registry.live()] == [weights_hash(tmp_path / "one")]


def test_a_version_on_another_base_is_refused_and_leaves_the_record_alone(registry, tmp_path):
    registry.publish(adapter(tmp_path / "one", "one"), "live")
    with pytest.raises(RegistryError, match="one deployment serves one base"):
        registry.publish(adapter(tmp_path / "two", "two", base="other"), "live")
    assert statuses(registry) == ["live"]


@pytest.mark.parametrize("slug", ["../../etc/passwd", "", ".hidden", "nobody"])
def test_names_cannot_leave_the_place(registry, place, tmp_path, slug):
    registry.publish(adapter(tmp_path / "one", "one"), "live")
    before = place.names()
    for ask in (registry.record, registry.roll_back, registry.retire):
        with pytest.raises(RegistryError):
            ask(slug)
    assert {name for name in place.names() if not name.endswith(".lock")} == {
        name for name in before if not name.endswith(".lock")
    }


@pytest.mark.parametrize("slug", ["auto", "judge"])
def test_a_name_that_stands_for_something_else_in_a_deployment_is_not_published(registry, tmp_path, slug):
    with pytest.raises(RegistryError, match=f"the persona is named {slug}, which .*Train it under another meta.name"):
        registry.publish(adapter(tmp_path / "one", "one", slug=slug), "live")
    assert registry.look() == {}


def test_many_who_publish_at_once_lose_nothing(place, tmp_path):
    registry = Registry(place.address)
    folders = [adapter(tmp_path / f"a{number}", str(number)) for number in range(8)]
    threads = [threading.Thread(target=Registry(place.address).publish, args=(folder, "live")) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses(registry)) == ["live"] + ["retired"] * 7


def test_of_two_who_make_different_versions_live_at_once_one_is_the_last(place, tmp_path):
    registry = Registry(place.address)
    versions = [
        registry.publish(adapter(tmp_path / name, name), "candidate").versions[-1].weights_hash
        for name in ("one", "two")
    ]
    for _ in range(5):
        threads = [
            threading.Thread(target=Registry(place.address).promote, args=("captain-blackwood", version))
            for version in versions
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses(registry)) == ["live", "retired"]


def test_a_version_that_went_live_in_the_meantime_is_not_rolled_back_unseen(place, tmp_path):
    first, second, third = (adapter(tmp_path / name, name) for name in ("one", "two", "three"))
    registry = Registry(place.address)
    registry.publish(first, "live")
    registry.publish(second, "live")

    class Overtaken(Registry):
        """Another publishes after this one has looked."""

        def record(self, slug: str) -> PersonaRecord:
            seen = super().record(slug)
            registry.publish(third, "live")
            return seen

    with pytest.raises(RegistryError, match=f"{weights_hash(third)} is live by now"):
        Overtaken(place.address).roll_back("captain-blackwood")
    assert statuses(registry) == ["retired", "retired", "live"]


def test_a_look_tells_every_record_and_names_the_damaged(registry, place, tmp_path):
    assert registry.look() == {}
    registry.publish(adapter(tmp_path / "one", "one"), "live")
    registry.publish(adapter(tmp_path / "two", "two", slug="garden-poet"), "live")
    place.write("personas/garden-poet.json", b"{")
    found = registry.look()
    assert found["captain-blackwood"] == registry.record("captain-blackwood")
    assert isinstance(found["garden-poet"], RegistryError)
    with pytest.raises(RegistryError, match=r"garden-poet\.json cannot be read"):
        registry.records()
