"""What the port to a store promises, kept by a directory and by S3 alike."""

import fcntl
import hashlib
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from penstock.backup.lock import StoreLock, store_lock
from penstock.backup.store import Store
from penstock.backup.stores import open_store
from penstock.errors import (
    AbsentError,
    BackupError,
    CorruptError,
    LockedError,
    StoreError,
    TakenError,
)
from tests.integration.conftest import wait_until
from tests.s3_faults import S3Faults
from tests.s3_server import S3, S3Server, used_here

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def in_s3(s3_server: S3Server) -> Iterator[tuple[Store, S3]]:
    """A store in S3, which takes one request at a time: moto looks, and then writes."""
    bucket = s3_server.new_bucket()
    with S3Faults(s3_server.address, is_serial=True) as proxy:
        with used_here(bucket.at(proxy.address)):
            yield open_store(bucket.url("of/ours")), bucket


@pytest.fixture(params=["file", "s3"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, in_s3: tuple[Store, S3]
) -> Store:
    """An empty store of each kind."""
    if request.param == "file":
        return open_store((tmp_path / "a store").as_uri())
    in_s3[1].clear()
    return in_s3[0]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def keys(store: Store, prefix: str = "") -> list[str]:
    return [each.key for each in store.entries(prefix)]


@pytest.mark.parametrize("size", [0, 1, 9 * MIB + 3], ids=["empty", "one", "parts"])
def test_what_is_put_is_what_is_opened(store: Store, size: int):
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    told: list[int] = []
    stored = store.put("parts/a.dump", io.BytesIO(data), on_bytes=told.append)
    assert stored == (size, sha256(data))
    assert sum(told) == size
    opened = store.open("parts/a.dump", size_bytes=size, sha256=sha256(data))
    assert b"".join(opened) == data
    (entry,) = store.entries("")
    assert entry[:2] == ("parts/a.dump", size)
    assert 0 <= store.age_seconds("parts/a.dump") < 60


class Failing:
    """A source that fails half way, as pg_dump does."""

    def __init__(self, size: int, error: BaseException) -> None:
        self._left, self._error = size, error

    def read(self, size: int = -1) -> bytes:
        if not self._left:
            raise self._error
        piece = bytes(min(size, self._left))
        self._left -= len(piece)
        return piece


@pytest.mark.parametrize("size", [0, 5, 12 * MIB], ids=["none", "little", "parts"])
@pytest.mark.parametrize("error", [BackupError("pg_dump: no"), KeyboardInterrupt()])
def test_a_source_that_fails_leaves_nothing(
    store: Store, size: int, error: BaseException
):
    with pytest.raises(type(error)) as caught:
        store.put("parts/a.dump", Failing(size, error))
    assert caught.value is error
    assert keys(store) == []
    assert list(store.unfinished(older_than_seconds=-60)) == []


def test_a_source_may_give_less_than_it_is_asked_for(store: Store):
    class Slow:
        left = 10_000

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            return b"abc" if self.left > 0 else b""

    stored = store.put("parts/a.dump", Slow(), expected_bytes=5)
    assert stored == (29_997, sha256(b"abc" * 9_999))


def test_what_is_not_there_is_absent(store: Store):
    for look in (
        lambda: store.read("lock.json"),
        lambda: list(store.open("lock.json", size_bytes=1, sha256="")),
        lambda: store.age_seconds("lock.json"),
    ):
        with pytest.raises(AbsentError, match=r"lock\.json cannot be read"):
            look()
    store.delete(["parts/a.dump"])
    store.create("lock.json", b"")
    store.delete(["lock.json"])
    assert keys(store) == []


def test_of_several_who_create_one_succeeds(store: Store):
    def create(data: bytes) -> bytes | None:
        try:
            store.create("lock.json", data)
        except TakenError:
            return None
        return data

    with ThreadPoolExecutor(8) as threads:
        made = [*threads.map(create, (bytes([number]) for number in range(8)))]
    (winner,) = [each for each in made if each is not None]
    assert store.read("lock.json") == winner


def test_of_several_who_replace_one_succeeds(store: Store):
    store.create("lock.json", b"before")

    def replace(data: bytes) -> bool:
        try:
            store.replace("lock.json", data, expected=b"before")
        except TakenError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        done = [*threads.map(replace, (bytes([number]) for number in range(8)))]
    assert sum(done) == 1
    assert store.read("lock.json") == bytes([done.index(True)])


def test_a_directorys_turns_are_for_all_processes(tmp_path: Path):
    store = open_store(tmp_path.as_uri())
    with ThreadPoolExecutor(1) as thread, (tmp_path / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        creating = thread.submit(store.create, "lock.json", b"mine")
        wait_until(lambda: list(tmp_path.glob(".lock.json.*")), "it is about to")
        wait([creating], timeout=0.2)
        (tmp_path / "lock.json").write_bytes(b"another's")
        fcntl.flock(other, fcntl.LOCK_UN)
        with pytest.raises(TakenError):
            creating.result()
    assert store.read("lock.json") == b"another's"


def test_what_is_gone_or_another_is_not_replaced(store: Store):
    with pytest.raises(TakenError, match="is there no more"):
        store.replace("lock.json", b"mine", expected=b"before")
    assert keys(store) == []
    store.create("lock.json", b"another's")
    with pytest.raises(TakenError, match="written by somebody else"):
        store.replace("lock.json", b"mine", expected=b"before")
    assert store.read("lock.json") == b"another's"


def test_entries_come_by_name_and_prefix(store: Store):
    names = [
        "parts/a-b.dump",
        "parts/a.dump",
        "parts/B.dump",
        "backups/x/manifest.json",
    ]
    for name in names:
        store.create(name, name.encode())
    assert keys(store) == sorted(names)
    assert keys(store, "parts/") == sorted(names[:3])
    assert keys(store, "parts/a") == sorted(names[:2])
    assert keys(store, "nothing/") == []
    assert [each.size_bytes for each in store.entries("parts/B")] == [12]


def test_what_is_deleted_is_gone_and_the_rest_is_there(store: Store):
    for name in ("parts/a.dump", "parts/b.dump", "backups/x/manifest.json"):
        store.create(name, b"x")
    store.delete(["parts/a.dump", "backups/x/manifest.json", "parts/never.dump"])
    assert keys(store) == ["parts/b.dump"]


def test_what_was_stored_otherwise_is_corrupted_and_named(store: Store):
    store.create("parts/a.dump", b"abc")
    for size, digest in ((4, sha256(b"abc")), (3, sha256(b"abd"))):
        with pytest.raises(CorruptError, match=r"parts/a\.dump is corrupted"):
            list(store.open("parts/a.dump", size_bytes=size, sha256=digest))


@pytest.mark.parametrize("key", ["../out", "/etc/x", "a//b", "a/./b", "", "a\nb", "a/"])
def test_a_name_that_leads_elsewhere_is_refused(store: Store, key: str):
    for use in (store.read, lambda key: store.delete([key])):
        with pytest.raises(StoreError, match="is no name"):
            use(key)


def test_the_url_is_shown_as_it_was_given(store: Store):
    assert open_store(store.url).url == store.url


# --- the lock


def test_one_holds_the_lock_and_the_others_are_told_who(store: Store):
    with store_lock(store, "create") as lock:
        with pytest.raises(LockedError) as caught, store_lock(store, "prune"):
            pass
        (line,) = str(caught.value).splitlines()
        assert f"penstock backup create (pid {os.getpid()} on" in line
        assert store.url in line
        lock.check()


def test_a_lock_that_was_given_back_is_taken_by_the_next(store: Store):
    said: list[str] = []
    for command in ("create", "prune", "create"):
        with store_lock(store, command, say=said.append) as lock:
            assert lock.still_mine()
        assert not lock.still_mine()
    assert said == []


def test_a_lock_is_given_back_when_its_holder_fails(store: Store):
    with pytest.raises(KeyboardInterrupt), store_lock(store, "create"):
        raise KeyboardInterrupt
    with store_lock(store, "prune"):
        pass


def test_a_dead_ones_lock_is_taken_over_with_a_word(store: Store):
    dead, said = StoreLock(store, "create"), list[str]()
    dead.take(said.append, 300)
    with store_lock(store, "prune", say=said.append, stale_after_seconds=0) as lock:
        lock.check()
        # It was but suspended, and comes back.
        dead.renew()
        assert not dead.still_mine()
        with pytest.raises(LockedError, match="was lost to another"):
            dead.check()
        dead.give_back()
        lock.check()
    (line,) = said
    assert "penstock backup create" in line
    assert "is taken over" in line


def test_a_lock_that_is_renewed_is_young(store: Store):
    with store_lock(store, "create", renewed_after_seconds=0.01) as lock:
        first = store.read("lock.json")
        wait_until(lambda: store.read("lock.json") != first, "a renewal")
        lock.check()


def test_a_directory_whose_disk_is_away_is_said(tmp_path: Path):
    (tmp_path / "backups").symlink_to(tmp_path / "disk")
    store = open_store((tmp_path / "backups").as_uri())
    with pytest.raises(StoreError, match="is its disk mounted"), store_lock(store, "x"):
        pass
