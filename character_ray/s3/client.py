"""The client of one process, set up by AWS's environment variables and files, and its failures in words.

``AWS_ENDPOINT_URL`` (or ``AWS_ENDPOINT_URL_S3``) names a server other than AWS, ``AWS_REGION`` the region; credentials are looked
for where every AWS tool does: ``AWS_ACCESS_KEY_ID`` with ``AWS_SECRET_ACCESS_KEY``, ``AWS_PROFILE``, the role of the machine.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from character_ray.errors import StorageError
from character_ray.s3.address import S3Address

__all__ = ["error_code", "failures_told", "s3_client"]

_REFUSED = {
    "AccessDenied",
    "403",
    "Forbidden",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
}


def s3_client(address: S3Address) -> Any:
    """A boto3 client; its requests are repeated when the network or the server fails for a moment.

    Raises:
        StorageError: boto3 is not installed, or the environment names no credentials.
    """
    with failures_told(address):
        return _client(tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))))


@lru_cache(maxsize=8)
def _client(environment: tuple[tuple[str, str], ...]) -> Any:
    """Threads may share it; another environment takes another one."""
    import boto3
    from botocore.config import Config

    variables = dict(environment)
    own_server = "AWS_ENDPOINT_URL" in variables or "AWS_ENDPOINT_URL_S3" in variables
    config = Config(
        retries={"mode": "standard", "max_attempts": 5},
        connect_timeout=10,
        max_pool_connections=32,
        # Servers other than AWS seldom have a host name for every bucket.
        s3={"addressing_style": "path"} if own_server else None,
    )
    # boto3 alone among AWS's tools does not read AWS_REGION.
    region = variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION")
    return boto3.session.Session().client("s3", region_name=region, config=config)


def error_code(error: Exception) -> str:
    """S3's word for what went wrong, such as ``NoSuchKey``; empty where the request did not get that far."""
    response: dict[str, Any] = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))


@contextmanager
def failures_told(address: S3Address) -> Iterator[None]:
    """Turns what boto3 raises in the block into an error that says what to do.

    Raises:
        StorageError: What was asked of the bucket did not happen.
    """
    try:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
    except ImportError:
        raise StorageError(f"{address} needs boto3, which is not installed. Run: pip install boto3") from None
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StorageError(
            f"{address}: no credentials were found ({error}). Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE on every "
            "node, or give the machine a role."
        ) from None
    except ClientError as error:
        raise StorageError(_told(address, error_code(error), str(error))) from None
    except (BotoCoreError, Boto3Error) as error:
        server = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "AWS"
        raise StorageError(
            f"{address} cannot be reached at {server} ({error}). Check the network, AWS_ENDPOINT_URL and AWS_REGION."
        ) from None


def _told(address: S3Address, code: str, text: str) -> str:
    if code == "NoSuchBucket":
        return f"{address}: there is no bucket {address.bucket}. Create it, or correct the name or AWS_ENDPOINT_URL."
    if code in _REFUSED:
        return (
            f"{address}: access was refused ({text}). The credentials must allow s3:GetObject, s3:PutObject and s3:ListBucket on "
            f"{address.bucket}."
        )
    return f"{address}: {text}."
