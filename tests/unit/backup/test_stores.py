"""Which URLs name a store, and what a directory says when it cannot be one."""

import errno
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penstock.backup.files import FileStore
from penstock.backup.stores import open_store
from penstock.errors import PenstockError, SettingsError, StoreError


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("/backups", "give file:///backups"),
        ("backups", "give s3://bucket/prefix or file:///directory"),
        ("", "give s3://bucket/prefix or file:///directory"),
        ("gs://bucket/x", "give s3://bucket/prefix or file:///directory"),
        ("file://backups/x", "no absolute path of this machine"),
        ("file:///", "all of the machine"),
        ("file:///a/../b", "no absolute path"),
        ("file:///a?b", "is odd"),
        ("s3://", "none can have: 3 to 63 small letters"),
        ("s3://ab/x", "none can have: 3 to 63 small letters"),
        ("s3://Backups/x", "none can have: 3 to 63 small letters"),
        ("s3://a..b/x", "none can have: 3 to 63 small letters"),
        ("s3://bucket//x", "odd prefix"),
        ("s3://bucket/../x", "odd prefix"),
        ("s3://bucket/x?region=y", "odd prefix"),
    ],
)
def test_a_url_that_names_no_store_is_one_line(url: str, told: str):
    with pytest.raises(SettingsError) as caught:
        open_store(url)
    assert told in str(caught.value)
    assert len(caught.value.problems) == 1
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("url", ["s3://key:hush@bucket/x", "http://key:hush@host/x"])
def test_a_secret_in_a_url_is_not_shown(url: str):
    with pytest.raises(SettingsError) as caught:
        open_store(url)
    assert "hush" not in str(caught.value)


def test_a_kms_key_without_kms_is_refused():
    with pytest.raises(SettingsError, match="backup_sse is not aws:kms"):
        open_store("s3://bucket/x", sse="AES256", kms_key_id="alias/k")


def test_a_directory_needs_no_boto3_and_a_bucket_says_how_to_get_it(tmp_path: Path):
    script = (
        "import sys\n"
        "sys.modules['botocore'] = sys.modules['boto3'] = None\n"
        "from penstock.backup.stores import open_store\n"
        f"open_store('{(tmp_path / 'store').as_uri()}').create('lock.json', b'x')\n"
        "try:\n"
        "    open_store('s3://bucket/x')\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ended.stderr == ""
    assert ended.stdout == (
        f"{PenstockError.__name__} backups on S3 need boto3: pip install"
        " 'penstock[backup]'\n"
    )


def test_what_is_stored_is_closed_to_others(tmp_path: Path):
    store = open_store((tmp_path / "a" / "store").as_uri())
    store.put("parts/a.dump", io.BytesIO(b"x"))
    made = tmp_path / "a" / "store" / "parts" / "a.dump"
    assert made.stat().st_mode & 0o777 == 0o600
    for each in (made.parent, made.parent.parent, tmp_path / "a"):
        assert each.stat().st_mode & 0o777 == 0o700


def test_what_a_killed_process_left_is_no_object_and_is_removed(tmp_path: Path):
    store = open_store(tmp_path.as_uri())
    store.create("parts/b.dump", b"x")
    left = tmp_path / "parts" / ".a.dump.0123abcd.partial"
    left.write_bytes(b"half")
    two_hours_ago = time.time() - 7200
    os.utime(left, (two_hours_ago, two_hours_ago))
    assert [each.key for each in store.entries("")] == ["parts/b.dump"]
    assert list(store.unfinished(older_than_seconds=10_000)) == []
    assert store.abandon(older_than_seconds=10_000) == 0
    assert list(store.unfinished(older_than_seconds=3600)) == ["parts/a.dump"]
    assert store.abandon(older_than_seconds=3600) == 1
    assert not left.exists()
    assert [each.key for each in store.entries("")] == ["parts/b.dump"]


def test_a_directory_on_another_disk_may_be_linked_to(tmp_path: Path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "parts").symlink_to(tmp_path / "disk")
    store = open_store((tmp_path / "store").as_uri())
    store.put("parts/a.dump", io.BytesIO(b"x"))
    assert [each.key for each in store.entries("")] == ["parts/a.dump"]


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # What the kernel says, where a disk of some megabytes would need root.
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = open_store(tmp_path.as_uri())
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"No space left .*; make room") as caught:
        store.put("parts/a.dump", io.BytesIO(b"x"))
    assert "parts/a.dump cannot be written" in str(caught.value)
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []


def test_a_file_where_a_directory_should_be_is_one_line(tmp_path: Path):
    (tmp_path / "store").write_text("not a directory")
    store = FileStore(tmp_path / "store")
    for use in (
        lambda: store.put("parts/a.dump", io.BytesIO(b"x")),
        lambda: store.create("lock.json", b"x"),
        lambda: store.read("lock.json"),
        lambda: list(store.entries("")),
        lambda: store.delete(["lock.json"]),
    ):
        with pytest.raises(StoreError, match=r"Not a directory|File exists"):
            use()
