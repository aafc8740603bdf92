"""The bucket policies of docs/backups.md: enough for what they are for, and no more.

On moto's S3 that enforces IAM, by the keys of users with just these policies.
"""

import io
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from penstock.backup.catalogue import (
    Verified,
    find_backup,
    note_verified,
    objects_of,
    read_catalogue,
)
from penstock.backup.lock import store_lock
from penstock.backup.manifest import part_key
from penstock.backup.prune import carry_out, plan_prune
from penstock.backup.retention import Rules
from penstock.backup.store import Store
from penstock.backup.stores import open_store
from penstock.errors import StoreError
from tests.backup_history import keys_of, nights, put_all
from tests.docs.doc_blocks import parse_blocks
from tests.s3_server import S3, S3Server, client_of, used_here

PAGE = Path(__file__).resolve().parents[2] / "docs" / "backups.md"
BUCKET = "log-backups"
LARGE_BYTES = 9 * 1024 * 1024  # more than a part of a multipart upload

# Of DeleteObjects S3 asks for the right on each object ("Actions, resources, and
# condition keys for Amazon S3"), moto on the bucket.
OF_MOTO = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "s3:DeleteObject",
            "Resource": f"arn:aws:s3:::{BUCKET}",
        }
    ],
}

Keys = tuple[str, str]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    server = S3Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def keys(server: S3Server) -> dict[str, Keys]:
    """The keys of who makes backups and who removes them, by the page's policies."""
    client_of(server.address).create_bucket(Bucket=BUCKET)
    writing, removing = (
        json.loads(block.text)
        for block in parse_blocks(PAGE.read_text())
        if block.tag == "json"
    )
    iam = client_of(server.address, "iam")
    made = {
        "create": _user(iam, "create", writing),
        "prune": _user(iam, "prune", writing, removing, OF_MOTO),
    }
    # From here on moto asks who may.
    request = urllib.request.Request(
        f"{server.address}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(request, timeout=30).close()
    return made


def _user(iam: Any, name: str, *policies: dict[str, Any]) -> Keys:
    iam.create_user(UserName=name)
    for number, policy in enumerate(policies):
        iam.put_user_policy(
            UserName=name,
            PolicyName=f"{name}{number}",
            PolicyDocument=json.dumps(policy),
        )
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


class As:
    """The store as one of the users reaches it."""

    def __init__(
        self, server: S3Server, keys: dict[str, Keys], patch: pytest.MonkeyPatch
    ) -> None:
        self._keys, self._patch = keys, patch

    def store(self, user: str, prefix: str = "penstock") -> Store:
        access, secret = self._keys[user]
        self._patch.setenv("AWS_ACCESS_KEY_ID", access)
        self._patch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        store = open_store(f"s3://{BUCKET}/{prefix}")
        list(store.entries("lock"))  # it has found its credentials by now
        return store


@pytest.fixture
def as_user(
    server: S3Server, keys: dict[str, Keys], monkeypatch: pytest.MonkeyPatch
) -> Iterator[As]:
    with used_here(S3(server.address, BUCKET)):
        yield As(server, keys, monkeypatch)


def test_who_makes_backups_can_do_all_but_remove_them(as_user: As) -> None:
    store = as_user.store("create")
    history = nights(3)
    with store_lock(store, "create") as lock:
        put_all(store, history)
        lock.check()
    large = part_key("logs_20260101", history[0].id)
    stored = store.put(large, io.BytesIO(bytes(LARGE_BYTES)))
    read = store.open(large, size_bytes=stored.size_bytes, sha256=stored.sha256)
    assert sum(map(len, read)) == LARGE_BYTES
    note_verified(store, history[0].id, Verified(at=datetime.now(UTC), ok=True))
    assert len(read_catalogue(store).manifests) == 3
    newest = find_backup(store, "latest")
    assert not any(each.problem for each in objects_of(store, newest))
    # Of an upload that fails it takes back what is there.
    with pytest.raises(OSError, match="pg_dump died"):
        store.put(large, Dying())
    assert list(store.unfinished(older_than_seconds=0)) == []
    before = keys_of(store)
    with (
        pytest.raises(StoreError),
        store_lock(store, "prune") as lock,
    ):
        plan = plan_prune(store, Rules(1, 0, 0), datetime.now(UTC))
        carry_out(store, plan, lock.check)
    assert keys_of(store) == before


class Dying(io.RawIOBase):
    """More than fits into one request, and then no end."""

    left = 2

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if not self.left:
            raise OSError("pg_dump died")
        self.left -= 1
        return bytes(LARGE_BYTES)


def test_who_prunes_can_remove_them(as_user: As) -> None:
    history = nights(3)
    put_all(as_user.store("create"), history)
    store = as_user.store("prune")
    with store_lock(store, "prune") as lock:
        plan = plan_prune(store, Rules(1, 0, 0), datetime.now(UTC))
        carry_out(store, plan, lock.check)
    assert [each.id for each in read_catalogue(store).manifests] == [history[-1].id]


def test_neither_reaches_another_prefix(as_user: As) -> None:
    for user in ("create", "prune"):
        with pytest.raises(StoreError):
            as_user.store(user, "other").create("x", b"")
        with pytest.raises(StoreError):
            as_user.store(user, "other").read("x")


def test_postgresql_archives_wal_by_the_rights_of_who_makes_backups(
    as_user: As, tmp_path: Path
) -> None:
    as_user.store("create")
    segment = tmp_path / f"{1:08X}{0:08X}{1:08X}"
    segment.write_bytes(bytes(16 * 1024 * 1024))
    program = Path(sys.executable).with_name("barman-cloud-wal-archive")
    place = f"s3://{BUCKET}/penstock/barman"
    endpoint = ("--endpoint-url", os.environ["AWS_ENDPOINT_URL_S3"])
    done = subprocess.run(
        [program, *endpoint, "--gzip", place, "penstock", segment],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
