"""Finished stages travel through a bucket: whole, once, and only what is what it should be."""

import json
import logging
from pathlib import Path

import pytest

from character_ray.config import load_recipe
from character_ray.errors import RecipeError, ResumeError, StorageError
from character_ray.mirror import Mirror
from character_ray.runs import Artefact, Store
from character_ray.s3 import S3Address
from tests.places import BucketPlace

INPUTS = {"rank": 8}
FILES = {"rows.parquet": b"rows", "adapter/weights.safetensors": b"weights", "adapter/same": b"rows", "empty": b""}


def make(store: Store, files: dict[str, bytes] = FILES) -> Artefact:
    """A finished stage."""
    artefact = store.artefact("dpo", INPUTS)
    with artefact.making() as to_make:
        assert to_make
        for name, data in files.items():
            (artefact.folder / name).parent.mkdir(exist_ok=True)
            (artefact.folder / name).write_bytes(data)
        artefact.finish({"rows_out": 4})
    return artefact


def files_of(artefact: Artefact) -> dict[str, bytes]:
    return {
        str(path.relative_to(artefact.folder)): path.read_bytes()
        for path in artefact.folder.rglob("*")
        if path.is_file() and path.name not in ("inputs.json", "done.json", ".lock")
    }


@pytest.fixture
def mirror(bucket: BucketPlace) -> Mirror:
    found = Mirror.at(bucket.address)
    assert found is not None
    return found


@pytest.fixture
def here(tmp_path: Path, mirror: Mirror) -> Store:
    return Store(tmp_path / "here" / "store", mirror)


@pytest.fixture
def there(tmp_path: Path, mirror: Mirror) -> Store:
    return Store(tmp_path / "there" / "store", mirror)


def test_what_one_machine_finished_another_has(here, there):
    made = make(here)
    found = there.artefact("dpo", INPUTS)
    assert found.is_done
    assert files_of(found) == files_of(made) == FILES
    assert found.summary == {"rows_out": 4}
    assert json.loads((found.folder / "done.json").read_text()) == json.loads((made.folder / "done.json").read_text())
    assert [path.name for path in there.folder.iterdir() if path.name != ".fetched"] == [found.folder.name]
    with found.making() as to_make:
        assert not to_make
    assert not there.artefact("dpo", {"rank": 16}).is_done


def test_equal_files_lie_in_the_bucket_once_and_the_stage_is_named_last(here, bucket, s3_server):
    before = len(s3_server.requests)
    made = make(here)
    assert len([name for name in bucket.names() if name.startswith("blobs/")]) == 3
    last = [request for request in s3_server.requests[before:] if request.startswith("PUT")][-1]
    assert last.split("?")[0].endswith(f"stages/{made.folder.name}/done.json")


def test_what_was_finished_before_there_was_a_mirror_is_sent(tmp_path, here, there):
    make(Store(here.folder))
    assert not there.artefact("dpo", INPUTS).is_done
    here.artefact("dpo", INPUTS)
    assert there.artefact("dpo", INPUTS).is_done


def test_a_sending_that_was_cut_off_goes_on_with_the_files_that_are_missing(here, there, bucket, s3_server):
    made = make(here)
    bucket.remove(f"stages/{made.folder.name}/done.json")
    (lost,) = (name for name in bucket.names() if bucket.read(name) == b"weights")
    bucket.remove(lost)
    assert not there.artefact("dpo", INPUTS).is_done
    before = len(s3_server.requests)
    here.artefact("dpo", INPUTS)
    sent = [request for request in s3_server.requests[before:] if request.startswith("PUT")]
    assert len(sent) == 2
    assert there.artefact("dpo", INPUTS).is_done


def test_a_fetching_that_was_cut_off_goes_on_with_the_files_that_are_missing(here, there, bucket, s3_server):
    make(here)
    (lost,) = (name for name in bucket.names() if bucket.read(name) == b"weights")
    bucket.remove(lost)
    with pytest.raises(ResumeError, match="is missing"):
        there.artefact("dpo", INPUTS)
    bucket.write(lost, b"weights")
    before = len(s3_server.requests)
    found = there.artefact("dpo", INPUTS)
    assert files_of(found) == FILES
    fetched = [request for request in s3_server.requests[before:] if request.startswith("GET") and "/blobs/" in request]
    assert len(fetched) < len(FILES)


def test_what_an_unfinished_attempt_left_does_not_mix_with_what_is_fetched(here, there):
    begun = Store(there.folder).artefact("dpo", INPUTS)
    (begun.folder / "parts").mkdir()
    (begun.folder / "parts" / "0.parquet").write_bytes(b"half")
    (begun.folder / "rows.parquet").write_bytes(b"half of the rows")
    make(here)
    assert files_of(there.artefact("dpo", INPUTS)) == FILES


def test_a_stage_that_is_being_made_here_is_not_fetched_over(here, there):
    begun = there.artefact("dpo", INPUTS)
    with begun.making() as to_make:
        assert to_make
        make(here)
        (begun.folder / "rows.parquet").write_bytes(b"rows")
        assert not there.artefact("dpo", INPUTS).is_done
        begun.finish({"rows_out": 5})
    assert there.artefact("dpo", INPUTS).summary == {"rows_out": 5}


def test_a_stage_that_another_machine_finished_meanwhile_is_not_made_again(here, there):
    wanted = there.artefact("dpo", INPUTS)
    make(here)
    with wanted.making() as to_make:
        assert not to_make
    assert files_of(wanted) == FILES


def test_of_two_machines_that_finish_the_same_stage_the_first_is_believed(here, there, tmp_path, mirror):
    late = there.artefact("dpo", INPUTS)
    with late.making():
        (late.folder / "rows.parquet").write_bytes(b"rows of another card")
        make(here)
        late.finish({"rows_out": 9})
    third = Store(tmp_path / "third", mirror).artefact("dpo", INPUTS)
    assert (third.summary, files_of(third)) == ({"rows_out": 4}, FILES)


@pytest.mark.parametrize("data", [b"evil!!!", b"", b"weights and more"])
def test_a_damaged_object_is_refused_and_named(here, there, bucket, data):
    make(here)
    (blob,) = (name for name in bucket.names() if bucket.read(name) == b"weights")
    bucket.write(blob, data)
    with pytest.raises(ResumeError, match="is damaged") as refused:
        there.artefact("dpo", INPUTS)
    assert blob in str(refused.value)
    assert not Store(there.folder).artefact("dpo", INPUTS).is_done


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a/../../evil", "done.json", ".lock", "..\\evil"])
def test_a_stage_cannot_write_outside_of_its_folder(here, there, bucket, name, tmp_path):
    made = make(here)
    key = f"stages/{made.folder.name}/done.json"
    done = json.loads(bucket.read(key))
    done["files"][name] = done["files"]["rows.parquet"]
    bucket.write(key, json.dumps(done).encode())
    with pytest.raises(ResumeError, match="outside of the stage's folder"):
        there.artefact("dpo", INPUTS)
    assert not list(tmp_path.rglob("*evil*"))


def test_a_record_of_a_stage_that_cannot_be_read_is_named(here, there, bucket):
    made = make(here)
    bucket.write(f"stages/{made.folder.name}/done.json", b"{}")
    with pytest.raises(ResumeError, match="is not what a stage leaves"):
        there.artefact("dpo", INPUTS)


def test_a_mirror_that_fails_later_costs_no_finished_work(here, there, bucket, caplog):
    artefact = here.artefact("dpo", INPUTS)
    bucket.remove_all()
    with caplog.at_level(logging.WARNING):
        (artefact.folder / "rows.parquet").write_bytes(b"rows")
        artefact.finish({"rows_out": 4})
    assert "other machines do not see it yet" in caplog.text
    bucket.client.create_bucket(Bucket=bucket.bucket)
    here.artefact("dpo", INPUTS)
    assert there.artefact("dpo", INPUTS).is_done


def test_what_is_soon_made_anew_stays_here(here, bucket):
    artefact = here.artefact("dpo-folded", INPUTS, mirrored=False)
    (artefact.folder / "model").write_bytes(b"large")
    artefact.finish({})
    assert bucket.names() == []


def test_a_bucket_that_is_not_there_is_named_by_a_check(bucket, mirror):
    mirror.check()
    assert bucket.names() == ["writable.txt"]
    with pytest.raises(StorageError, match="there is no bucket nowhere-at-all"):
        Mirror(S3Address.parse("s3://nowhere-at-all/x")).check()


def test_a_mirror_that_is_no_bucket_is_refused_with_the_recipe(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("name: demo\nconstitution: constitutions/captain-blackwood.yaml\nmirror: /shared\n")
    with pytest.raises(RecipeError, match=r"r\.yaml:3: mirror: .*'/shared' is not the address of a bucket"):
        load_recipe(path)
    with pytest.raises(RecipeError, match=r"output: .*s3://runs/x is a bucket.* set mirror to the bucket"):
        load_recipe(path, ["mirror=null", "output=s3://runs/x"])
