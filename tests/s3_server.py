"""A real S3 over HTTP for tests: moto's server, one process for all of a session.

Each bucket is its user's own, so nothing is reset between tests. boto3 finds the server
and its keys in the variables of `environment`, as it finds AWS's.
"""

import functools
import itertools
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.config import Config

from tests.ports import free_port

# moto takes a second and a half to start, on a busy machine some more.
PATIENCE_SECONDS = 30.0
REGION = "us-east-1"
# S3 answers 1,000 names at a time: nobody wants to make so many to get a second page.
NAMES_AT_ONCE = 20


class S3(NamedTuple):
    """A bucket of a test's own, and how to reach it."""

    address: str
    bucket: str

    def url(self, prefix: str = "") -> str:
        """Return what --store takes."""
        return f"s3://{self.bucket}/{prefix}" if prefix else f"s3://{self.bucket}"

    @property
    def environment(self) -> dict[str, str]:
        """Return boto3's variables: this server, and nothing of this machine's."""
        return environment_of(self.address)

    def at(self, address: str) -> "S3":
        """Return the same bucket by way of another address, a proxy's."""
        return self._replace(address=address)

    def client(self) -> Any:
        """Return a client of boto3's own, for what a test has to see or spoil."""
        return client_of(self.address)

    def keys(self, prefix: str = "") -> list[str]:
        """Return the names of all objects."""
        pages = self.client().get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.bucket, Prefix=prefix)
        return [each["Key"] for page in found for each in page.get("Contents", ())]

    def unfinished(self) -> list[str]:
        """Return the names of the multipart uploads that are open."""
        found = self.client().list_multipart_uploads(Bucket=self.bucket)
        return [each["Key"] for each in found.get("Uploads", ())]

    def clear(self) -> None:
        """Remove all objects and all uploads."""
        client = self.client()
        for key in self.keys():
            client.delete_object(Bucket=self.bucket, Key=key)
        found = client.list_multipart_uploads(Bucket=self.bucket)
        for each in found.get("Uploads", ()):
            named = {"Key": each["Key"], "UploadId": each["UploadId"]}
            client.abort_multipart_upload(Bucket=self.bucket, **named)

    def body(self, key: str) -> bytes:
        """Return an object's bytes."""
        found: bytes = (
            self.client().get_object(Bucket=self.bucket, Key=key)["Body"].read()
        )
        return found


def environment_of(address: str) -> dict[str, str]:
    """Return the variables by which boto3, and barman, use the S3 at an address.

    Those that a machine may have besides are to be taken away: see `without_aws`.
    """
    return {
        "AWS_ENDPOINT_URL_S3": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        # Where a test lets S3 fail for ever it ends after these.
        "AWS_MAX_ATTEMPTS": "3",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def without_aws(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what it says of some other AWS."""
    return {k: v for k, v in environment.items() if not k.startswith("AWS_")}


@functools.cache
def client_of(address: str, service: str = "s3", **keys: str) -> Any:
    """Return a client that takes nothing from the environment.

    Reading what AWS's services are takes more than most tests: there is one for each
    address.
    """
    session = boto3.session.Session(
        aws_access_key_id=keys.get("key", "test"),
        aws_secret_access_key=keys.get("secret", "test"),
        region_name=REGION,
    )
    config = Config(proxies={}, retries={"total_max_attempts": 1, "mode": "standard"})
    return session.client(service, endpoint_url=address, config=config)


class S3Server:
    """moto's server, started as a process on a port of its own."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        for _ in range(3):  # somebody may take the port in between
            port = free_port()
            self.address = f"http://127.0.0.1:{port}"
            self._log = tempfile.TemporaryFile()
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "moto.server",
                    "-H",
                    "127.0.0.1",
                    "-p",
                    f"{port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                env=without_aws(os.environ)
                | {"MOTO_PORT": f"{port}"}
                | {"MOTO_S3_DEFAULT_MAX_KEYS": f"{NAMES_AT_ONCE}"},
                start_new_session=True,  # Ctrl-C is pytest's
            )
            if self._answers():
                return
            said = self.log()
            self.close()
        raise AssertionError(f"moto does not start: {said}")

    def log(self) -> str:
        """Return what moto has printed: each request is a line."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def new_bucket(self) -> S3:
        """Make a bucket that nobody else has."""
        bucket = f"backups-{next(self._numbers)}"
        client_of(self.address).create_bucket(Bucket=bucket)
        return S3(self.address, bucket)

    def post(self, path: str, body: bytes = b"") -> None:
        """Ask moto's own interface, such as /moto-api/reset-auth."""
        kind = {"Content-Type": "text/plain"}  # as a form it would not be seen
        request = urllib.request.Request(self.address + path, body, kind, method="POST")
        _open(request).close()

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _answers(self) -> bool:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up and self._process.poll() is None:
            try:
                _open(
                    urllib.request.Request(f"{self.address}/moto-api/data.json")
                ).close()
                return True
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.02)
        return False


def _open(request: urllib.request.Request) -> Any:
    """Ask without a proxy that the machine may be set to use."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(request, timeout=PATIENCE_SECONDS)


@contextmanager
def used_here(s3: S3) -> Iterator[S3]:
    """Let boto3 in this process, and in those started from it, use this S3."""
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(without_aws(os.environ)):
            patch.delenv(name)
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        yield s3


# --- fixtures: a conftest or a test module imports those it uses


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """The S3 that all tests of a session share."""
    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def s3(s3_server: S3Server) -> Iterator[S3]:
    """A bucket for one test, which boto3 uses by itself, here and in processes."""
    with used_here(s3_server.new_bucket()) as bucket:
        yield bucket


@pytest.fixture(scope="module")
def module_s3(s3_server: S3Server) -> Iterator[S3]:
    """A bucket for all tests of a module, which boto3 uses by itself."""
    with used_here(s3_server.new_bucket()) as bucket:
        yield bucket
