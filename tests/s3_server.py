"""A server that speaks S3, in a thread of the test process (moto's)."""

import threading
from types import TracebackType
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from tests.places import BucketPlace

__all__ = ["S3Server"]


class S3Server:
    """Answers one request after the other, so that conditional writes are atomic, as they are in S3."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self.requests: list[str] = []
        told = self.requests

        class Handler(WSGIRequestHandler):
            def log_request(self, code: object = "-", size: object = "-") -> None:
                told.append(f"{self.command} {self.path}")

        self._server = make_server(
            "127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=False, request_handler=Handler
        )
        self._client: Any = None
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def environment(self) -> dict[str, str]:
        """What leads AWS's tools here."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._server.server_port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def new_bucket(self, name: str) -> BucketPlace:
        """An empty bucket."""
        import boto3

        variables = self.environment
        self._client = self._client or boto3.session.Session().client(
            "s3",
            endpoint_url=variables["AWS_ENDPOINT_URL"],
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            region_name=variables["AWS_REGION"],
        )
        self._client.create_bucket(Bucket=name)
        return BucketPlace(name, self._client)

    def __enter__(self) -> "S3Server":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
