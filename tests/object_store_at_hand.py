"""An S3 of this machine for tests, on loopback; what is asked of it, is asked over HTTP as of Amazon's."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

SECRET = "secret-of-the-tests"  # noqa: S105


@contextmanager
def object_store() -> Iterator[Any]:
    """The environment that names it, and a client of boto3 beside the code under test. It has a bucket, `pictures`."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        with environment(f"http://{host}:{port}"):
            client = boto3.client("s3")
            client.create_bucket(Bucket="pictures")
            yield client
    finally:
        server.stop()


@contextmanager
def environment(endpoint: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ALLOW_HTTP", "true")  # LanceDB's, and only for tests and the like
        patch.setenv("AWS_ACCESS_KEY_ID", "key-of-the-tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield
