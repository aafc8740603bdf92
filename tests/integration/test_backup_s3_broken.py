"""The backup commands where S3 is busy, slow, cut off, gone, or lets nobody in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.backup.catalogue import read_catalogue
from penstock.backup.lock import store_lock
from penstock.backup.stores import open_store
from tests.integration.conftest import Database, Here, the_line
from tests.integration.dump_parts import fake_pg_dump, make_days
from tests.s3_faults import Fault, S3Faults
from tests.s3_server import S3, S3Server, used_here

# A day of more than one part of an upload.
LARGE_DAY = """
    INSERT INTO logs (id, ts, tag, message, attributes)
    SELECT n, now(), 'large', (SELECT string_agg(md5((n * 1000 + m)::text), '')
        FROM generate_series(1, 300) AS m), '{}'
    FROM generate_series(1, 1000) AS n
"""


@pytest.fixture
def bucket(s3_server: S3Server) -> S3:
    """The bucket as it is behind the proxy."""
    return s3_server.new_bucket()


@pytest.fixture
def proxy(s3_server: S3Server, bucket: S3) -> Iterator[S3Faults]:
    """What stands before S3 for every command."""
    with S3Faults(s3_server.address) as proxy, used_here(bucket.at(proxy.address)):
        yield proxy


def create(database: Database, bucket: S3, *more: str) -> tuple[str, ...]:
    where = ("--store", bucket.url("ours"), "--database-url", database.url)
    return ("backup", "create", *where, "--backup-compress", "none", *more)


def only_the_lock(bucket: S3) -> bool:
    return bucket.keys() == ["ours/lock.json"]


def test_a_backup_by_way_of_a_bad_s3_is_whole(
    here: Here, database: Database, bucket: S3, proxy: S3Faults
):
    database.fetch(LARGE_DAY)
    made = [
        Fault("answer", "POST", "?uploads", times=1, code="ServiceUnavailable"),
        Fault("cut request", "PUT", "partNumber=1", times=1, at_bytes=100_000),
        Fault("lose answer", "PUT", "partNumber=2", times=1),
        Fault("lose answer", "POST", "uploadId=", times=1),
        Fault("lose answer", "PUT", "manifest.json", times=1),
        Fault("lose answer", "PUT", "lock.json", times=1),
    ]
    proxy.add(*made)
    ended = here(*create(database, bucket))
    assert ended.returncode == 0, ended.stderr
    assert all(fault.met > 1 for fault in made)
    proxy.heal()
    store = open_store(bucket.url("ours"))
    (manifest,) = read_catalogue(store).manifests
    assert manifest.id == ended.stdout.strip()
    assert max(part.size_bytes for part in manifest.parts) > 8 * 1024 * 1024
    for part in manifest.parts:
        proxy.add(Fault("cut answer", "GET", part.key, times=1, at_bytes=5))
        opened = store.open(part.key, size_bytes=part.size_bytes, sha256=part.sha256)
        assert sum(map(len, opened)) == part.size_bytes
    assert bucket.unfinished() == []
    with store_lock(store, "test"):
        pass  # it was given back


def test_a_backup_to_an_s3_that_is_busy_for_ever_is_one_line(
    here: Here, database: Database, bucket: S3, proxy: S3Faults
):
    database.fetch(LARGE_DAY)
    proxy.add(Fault("answer", "PUT", "partNumber=2", code="ServiceUnavailable"))
    line = the_line(here(*create(database, bucket)), 3)
    assert "parts/logs_" in line
    assert "too busy (ServiceUnavailable), for longer than was waited" in line
    assert only_the_lock(bucket)
    assert bucket.unfinished() == []


def test_a_backup_whose_credentials_expire_half_way_is_none(
    here: Here, database: Database, bucket: S3, proxy: S3Faults, tmp_path: Path
):
    make_days(database, 0)
    # The day is being sent when they end; without them nothing can be taken back.
    pg_bin = fake_pg_dump(
        tmp_path, '[ $is_day = no ] && exec "$real" "$@"\nhead -c 9000000 /dev/zero\n'
    )
    expired = Fault("answer", "", "ours", status=400, code="ExpiredToken")
    expired.after = 8
    proxy.add(expired)
    ended = here(*create(database, bucket, "--backup-pg-bin", pg_bin))
    assert ended.returncode == 3
    assert ended.stdout == ""
    assert "the credentials have expired; renew them and run" in ended.stderr
    assert "Traceback" not in ended.stderr
    proxy.heal()
    assert not [key for key in bucket.keys() if key.endswith("manifest.json")]
    listed = here("backup", "list", "--store", bucket.url("ours"), "-o", "json")
    assert (listed.returncode, listed.stdout) == (0, "")


ID = "20261128T021500Z-1a2b"


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("show", "latest"),
        ("prune",),
        ("prune", "--dry-run"),
        ("verify", "--last"),
        ("restore", ID, "--to-database-url", "postgresql:///nobody?host=/nowhere"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_every_command_says_in_one_line_that_s3_does_not_let_it(
    here: Here, bucket: S3, proxy: S3Faults, arguments: tuple[str, ...]
):
    proxy.add(Fault("answer", status=403, code="AccessDenied"))
    ended = here("backup", *arguments, "--store", bucket.url("ours"))
    assert "access is denied: allow these credentials s3:" in the_line(ended, 3)
