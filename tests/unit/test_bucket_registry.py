"""What is particular to a registry in a bucket: one download for each machine, one listing for each look, the command line."""

import json

import pytest
from typer.testing import CliRunner

from character_ray.adapters import weights_hash
from character_ray.cli import app
from character_ray.errors import RegistryError, StorageError
from character_ray.registry import Registry, absolute_place
from character_ray.registry.bucket_shelf import BucketShelf
from character_ray.s3 import S3Address
from tests.unit.test_registry import adapter

CAPTAIN = "captain-blackwood"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CHARACTER_RAY_CACHE", str(tmp_path / "cache"))


def test_an_adapter_is_fetched_once_and_again_when_its_copy_was_damaged(bucket, s3_server, tmp_path):
    registry = Registry(bucket.address)
    entry = registry.publish(adapter(tmp_path / "one", "one"), "live").live
    copy = registry.adapter(entry) / "adapter_model.safetensors"
    assert copy.is_relative_to(tmp_path / "cache")
    before = len(s3_server.requests)
    assert registry.adapter(entry) == copy.parent
    assert len(s3_server.requests) == before
    copy.write_bytes(b"evil")
    assert weights_hash(registry.adapter(entry)) == entry.weights_hash


def test_an_adapter_that_was_sent_in_part_is_completed(bucket, tmp_path):
    registry = Registry(bucket.address)
    folder = adapter(tmp_path / "one", "one")
    entry = registry.publish(folder, "live").live
    bucket.remove(f"adapters/{entry.weights_hash}/manifest.json")
    bucket.remove(f"adapters/{entry.weights_hash}/adapter_model.safetensors")
    with pytest.raises(StorageError, match="is missing"):
        registry.adapter(entry)
    # The record names weights whose manifest is gone, so the base cannot be compared until it is there again.
    registry.publish(folder, "live")
    assert registry.adapter(entry)


def test_a_look_asks_only_for_records_that_changed(bucket, s3_server, tmp_path):
    writer, reader = Registry(bucket.address), Registry(bucket.address)
    for number in range(3):
        writer.publish(adapter(tmp_path / str(number), str(number), slug=f"persona-{number}"), "live")
    first = reader.look()
    before = len(s3_server.requests)
    assert reader.look() == first
    assert len(s3_server.requests) - before == 1
    writer.retire("persona-1")
    before = len(s3_server.requests)
    assert reader.look()["persona-1"].live is None
    assert len(s3_server.requests) - before == 2


def test_a_registry_is_copied_between_folder_and_bucket_as_it_is(bucket, tmp_path):
    local = Registry(tmp_path / "registry")
    local.publish(adapter(tmp_path / "one", "one"), "live")
    for path in (tmp_path / "registry").rglob("*"):
        if path.is_file() and path.suffix != ".lock":
            bucket.write(str(path.relative_to(tmp_path / "registry")), path.read_bytes())
    assert Registry(bucket.address).records() == local.records()
    assert Registry(bucket.address).live()


def test_a_record_that_others_change_all_the_time_is_given_up_in_words(bucket):
    seen = []

    def overtaken(text: str | None) -> str:
        seen.append(text)
        bucket.write(f"personas/{CAPTAIN}.json", f"{len(seen)}".encode())
        return "mine"

    with pytest.raises(RegistryError, match=f"others changed the record of {CAPTAIN} 3 times"):
        BucketShelf(S3Address.parse(bucket.address), attempts=3).change(CAPTAIN, overtaken)
    assert seen == [None, "1", "2"]
    assert bucket.read(f"personas/{CAPTAIN}.json") == b"3"


def test_the_place_of_a_bucket_is_the_same_in_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_place("s3://bucket/registry") == "s3://bucket/registry"
    assert absolute_place("registry") == str(tmp_path / "registry")


def test_versions_are_promoted_rolled_back_and_retired_on_the_command_line(bucket, tmp_path):
    registry = Registry(bucket.address)
    one, two = (
        registry.publish(adapter(tmp_path / name, name), "candidate").versions[-1].weights_hash
        for name in ("one", "two")
    )

    def call(*words: str) -> str:
        ended = CliRunner().invoke(app, ["registry", *words, "--registry", bucket.address], env={"COLUMNS": "250"})
        assert ended.exit_code == 0, ended.output
        return ended.output

    def live() -> str:
        return json.loads(bucket.read(f"personas/{CAPTAIN}.json"))["versions"][live_at()]["weights_hash"]

    def live_at() -> int:
        versions = json.loads(bucket.read(f"personas/{CAPTAIN}.json"))["versions"]
        return [entry["status"] for entry in versions].index("live")

    call("promote", CAPTAIN, one)
    call("promote", CAPTAIN, two)
    assert live() == two
    call("rollback", CAPTAIN)
    assert live() == one
    call("retire", CAPTAIN)
    assert "live" not in call("list")
    told = call("history", CAPTAIN)
    assert [told.count(what) for what in ("promoted", "rolled back", "retired")] == [2, 1, 1]
