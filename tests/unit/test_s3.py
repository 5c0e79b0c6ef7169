"""Buckets: addresses that cannot lead elsewhere, failures in words, and conditional writes."""

import os
import pickle
import socket
import subprocess
import sys

import pytest
from botocore.exceptions import ClientError

from character_ray.errors import StorageError
from character_ray.s3 import Bucket, S3Address
from character_ray.s3.client import failures_told


@pytest.mark.parametrize(
    "text",
    [
        "registry",
        "s3://",
        "s3:/bucket",
        "s3://B_UCKET/x",
        "s3://bucket/../other",
        "s3://bucket/a//b",
        "s3://bucket/a?b",
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(StorageError, match="is not the address of a bucket"):
        S3Address.parse(text)


def test_an_address_is_written_as_it_is_read():
    assert str(S3Address.parse("s3://bucket/some/where/")) == "s3://bucket/some/where"
    assert S3Address.parse("s3://bucket").key("a", "b") == "a/b"
    assert S3Address.parse("s3://bucket/some").key("a") == "some/a"


@pytest.mark.parametrize("part", ["..", ".", "", "a/b", "../x", "a\\b", "a\n"])
def test_keys_cannot_leave_the_prefix(part):
    with pytest.raises(StorageError, match="may lead out of it"):
        S3Address.parse("s3://bucket/prefix").key(part)


def test_an_object_is_replaced_only_by_who_saw_what_it_is(bucket):
    objects = Bucket(S3Address.parse(bucket.address))
    assert objects.read("record") is None
    assert objects.replace(b"one", "record", tag=None)
    assert not objects.replace(b"two", "record", tag=None)
    seen = objects.read("record")
    assert objects.replace(b"three", "record", tag=seen.tag)
    assert not objects.replace(b"four", "record", tag=seen.tag)
    assert objects.read("record").data == b"three"
    bucket.remove("record")
    assert not objects.replace(b"five", "record", tag=seen.tag)


def test_a_file_is_sent_once_and_comes_back_whole_or_not_at_all(bucket, tmp_path):
    objects = pickle.loads(pickle.dumps(Bucket(S3Address.parse(bucket.address))))
    (tmp_path / "sent").write_bytes(b"weights" * 3_000_000)  # 20 MiB: more than one part
    assert objects.send(tmp_path / "sent", "blob")
    assert not objects.send(tmp_path / "sent", "blob")
    objects.fetch(tmp_path / "back", "blob")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "sent").read_bytes()
    found = bucket.client.head_object(Bucket=bucket.bucket, Key="some/where/blob")["Metadata"]
    bucket.client.put_object(Bucket=bucket.bucket, Key="some/where/blob", Body=b"evil", Metadata=found)
    with pytest.raises(StorageError, match="some/where/blob is damaged"):
        objects.fetch(tmp_path / "again", "blob")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "sent"]


def test_a_bucket_that_is_not_there_is_named(bucket):
    for ask in (
        lambda objects: objects.read("x"),
        lambda objects: objects.write(b"", "x"),
        lambda objects: objects.replace(b"", "x", tag=None),
        lambda objects: objects.tags("x"),
    ):
        with pytest.raises(StorageError, match="there is no bucket nowhere-at-all"):
            ask(Bucket(S3Address.parse("s3://nowhere-at-all/x")))


def test_a_missing_credential_is_named(bucket, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(StorageError, match="no credentials were found"):
        Bucket(S3Address.parse(bucket.address)).read("x")


@pytest.mark.parametrize("code", ["AccessDenied", "403", "ExpiredToken", "InvalidAccessKeyId"])
def test_a_refusal_says_what_must_be_allowed(code):
    told = pytest.raises(StorageError, match=r"access was refused .*must allow s3:GetObject, s3:PutObject")
    with told, failures_told(S3Address.parse("s3://bucket/x")):
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "PutObject")


def test_a_server_that_does_not_answer_is_named(bucket, monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StorageError, match=f"cannot be reached at {server}"):
        Bucket(S3Address.parse(bucket.address)).read("x")


def test_without_its_library_the_remedy_is_named():
    code = """
import sys
sys.modules["boto3"] = sys.modules["boto3.exceptions"] = None
from character_ray.registry import Registry
try:
    Registry("s3://bucket/registry").records()
except OSError as error:
    print(error)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert "pip install boto3" in ended.stdout
