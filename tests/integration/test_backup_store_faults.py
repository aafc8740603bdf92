"""S3 slow, busy, gone, cut off, lying; credentials that end: one line, nothing half."""

import hashlib
import io
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from penstock.backup.lock import store_lock
from penstock.backup.store import Store
from penstock.backup.stores import open_store
from penstock.errors import (
    AbsentError,
    CorruptError,
    LockedError,
    StoreError,
    TakenError,
)
from tests.integration.conftest import wait_until
from tests.s3_faults import Fault, S3Faults
from tests.s3_server import S3, S3Server, used_here

MIB = 1024 * 1024
KEY = "parts/logs_20261128-20261130T000000Z-0a1b.dump"
# Two parts, of different bytes.
DATA = b"".join(bytes([number]) * MIB for number in range(9)) + b"end"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def all_of(s3_server: S3Server) -> Iterator[tuple[Store, S3Faults, S3]]:
    """One of each for the module: a client takes longer to make than most tests."""
    bucket = s3_server.new_bucket()
    with S3Faults(s3_server.address) as proxy, used_here(bucket.at(proxy.address)):
        yield open_store(bucket.url("of/ours")), proxy, bucket


@pytest.fixture
def store(all_of: tuple[Store, S3Faults, S3]) -> Store:
    """The store as it is by way of the proxy."""
    store, proxy, bucket = all_of
    proxy.heal()
    bucket.clear()
    return store


@pytest.fixture
def proxy(store: Store, all_of: tuple[Store, S3Faults, S3]) -> S3Faults:
    return all_of[1]


@pytest.fixture
def bucket(store: Store, all_of: tuple[Store, S3Faults, S3]) -> S3:
    """The bucket as it is behind the proxy."""
    return all_of[2]


def put(store: Store, data: bytes = DATA) -> None:
    assert store.put(KEY, io.BytesIO(data)) == (len(data), sha256(data))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def opened(store: Store) -> bytes:
    return b"".join(store.open(KEY, size_bytes=len(DATA), sha256=SHA256))


def line_of(caught: pytest.ExceptionInfo[Any]) -> str:
    """Return the one line that a command prints, which names the object."""
    (line,) = str(caught.value).splitlines()
    assert KEY in line
    return line


def has_nothing(bucket: S3) -> bool:
    return bucket.keys() == [] and bucket.unfinished() == []


# --- what passes by itself


def test_a_busy_s3_is_tried_again_until_it_takes_all(
    store: Store, proxy: S3Faults, bucket: S3
):
    proxy.add(
        Fault("answer", "POST", "uploads", times=1),
        Fault("answer", "PUT", "partNumber=2", times=2, code="ServiceUnavailable"),
        Fault("answer", "POST", "uploadId", times=1, status=500, code="InternalError"),
    )
    put(store)
    assert sha256(bucket.body(f"of/ours/{KEY}")) == SHA256
    assert bucket.unfinished() == []


def test_a_slow_s3_gets_and_gives_all(store: Store, proxy: S3Faults):
    proxy.add(Fault("delay", seconds=0.05))
    put(store)
    assert opened(store) == DATA


@pytest.mark.parametrize("at_bytes", [0, MIB // 2])
def test_an_upload_that_is_cut_is_sent_again(
    store: Store, proxy: S3Faults, bucket: S3, at_bytes: int
):
    proxy.add(Fault("cut request", "PUT", "partNumber=2", times=1, at_bytes=at_bytes))
    put(store)
    assert len(proxy.asked("PUT", "partNumber=2")) == 2
    assert sha256(bucket.body(f"of/ours/{KEY}")) == SHA256


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_lost_answer_leaves_one_object_and_no_upload(
    store: Store, proxy: S3Faults, bucket: S3, method: str
):
    # Of beginning, of each part and of the end; each was done when it was lost.
    proxy.add(
        Fault("lose answer", method, "uploads", times=1),
        Fault("lose answer", method, "uploadId", times=1),
    )
    put(store)
    assert bucket.keys() == [f"of/ours/{KEY}"]
    assert bucket.unfinished() == []


def test_an_end_that_was_not_answered_and_is_not_taken_twice_is_an_end(
    store: Store, proxy: S3Faults, bucket: S3
):
    proxy.add(
        Fault("lose answer", "POST", "uploadId", times=1),
        Fault("answer", "POST", "uploadId", after=1, status=404, code="NoSuchUpload"),
    )
    put(store)
    assert sha256(bucket.body(f"of/ours/{KEY}")) == SHA256


def test_an_upload_that_somebody_has_ended_is_one_line(
    store: Store, proxy: S3Faults, bucket: S3
):
    proxy.add(
        Fault("answer", "POST", "uploadId", status=404, code="NoSuchUpload"),
    )
    with pytest.raises(StoreError, match="somebody ended the upload") as caught:
        put(store)
    assert line_of(caught)
    assert has_nothing(bucket)


def test_a_download_that_is_cut_goes_on_where_it_was(store: Store, proxy: S3Faults):
    put(store)
    proxy.add(
        Fault("cut answer", "GET", KEY, times=1, at_bytes=5 * MIB + 7),
        Fault("cut answer", "GET", KEY, after=1, times=1, at_bytes=0),
        Fault("answer", "GET", KEY, after=2, times=1, code="ServiceUnavailable"),
    )
    assert opened(store) == DATA
    ranges = [each.headers.get("Range") for each in proxy.asked("GET", KEY)]
    assert ranges[0] is None
    assert ranges[1:] == [f"bytes={5 * MIB + 7}-"] * 3


def test_a_small_object_that_is_cut_is_read_whole(store: Store, proxy: S3Faults):
    store.create("backups/ID/manifest.json", b"all of it")
    proxy.add(Fault("cut answer", "GET", times=1, at_bytes=3))
    assert store.read("backups/ID/manifest.json") == b"all of it"


# --- what does not


@pytest.mark.parametrize("code", ["ServiceUnavailable", "InternalError"])
def test_a_busy_s3_for_ever_is_one_line_and_leaves_nothing(
    store: Store, proxy: S3Faults, bucket: S3, code: str
):
    proxy.add(Fault("answer", "PUT", "partNumber=2", code=code))
    with pytest.raises(StoreError) as caught:
        put(store)
    assert "S3 at http://127.0.0.1:" in line_of(caught)
    assert code in line_of(caught)
    assert caught.value.exit_code == 3
    assert has_nothing(bucket)


def test_an_upload_that_fails_leaves_none_that_was_begun_without_an_answer(
    store: Store, proxy: S3Faults, bucket: S3
):
    proxy.add(
        Fault("lose answer", "POST", "uploads", times=1),
        Fault("answer", "PUT", "partNumber", code="ServiceUnavailable"),
    )
    with pytest.raises(StoreError):
        put(store)
    assert len(proxy.asked("DELETE", "uploadId")) == 2
    assert has_nothing(bucket)


def test_what_is_given_up_is_not_sent_again(
    proxy: S3Faults, bucket: S3, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "100")
    store = open_store(bucket.url())
    proxy.add(Fault("answer", "PUT", "partNumber", code="ServiceUnavailable"))

    class Source:
        left = 9

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            if self.left:
                return bytes(size)
            wait_until(lambda: proxy.asked("PUT"), "a try")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.put(KEY, Source())
    assert len(proxy.asked("PUT")) < 10
    assert has_nothing(bucket)


def test_an_s3_that_is_gone_is_one_line(store: Store, bucket: S3):
    with used_here(bucket.at("http://127.0.0.1:9")):
        elsewhere = open_store(bucket.url())
    with pytest.raises(StoreError, match="is out of reach; look at the network"):
        elsewhere.read("lock.json")


def test_credentials_that_end_half_way_are_one_line_and_what_is_left_can_be_removed(
    store: Store, proxy: S3Faults, bucket: S3, caplog: pytest.LogCaptureFixture
):
    proxy.add(Fault("answer", after=2, status=400, code="ExpiredToken"))
    with caplog.at_level(logging.WARNING), pytest.raises(StoreError) as caught:
        put(store)
    assert "the credentials have expired; renew them" in line_of(caught)
    # Without credentials nothing can be ended; it is said, and nothing is listed.
    assert "stays unfinished" in caplog.text
    assert bucket.keys() == []
    proxy.heal()
    assert list(store.unfinished(older_than_seconds=0)) == [KEY]
    assert store.abandon(older_than_seconds=0) == 1
    assert has_nothing(bucket)


def test_a_connection_that_breaks_again_and_again_is_one_line(
    store: Store, proxy: S3Faults, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("penstock.backup.s3._AFTER_A_CUT_SECONDS", 0.001)
    put(store)
    proxy.add(Fault("cut answer", "GET", KEY, at_bytes=0))
    with pytest.raises(StoreError, match="breaks again and again") as caught:
        opened(store)
    assert line_of(caught)


def test_a_flipped_bit_is_found_and_the_object_named(store: Store, proxy: S3Faults):
    put(store)
    proxy.add(Fault("flip", "GET", KEY, at_bytes=5 * MIB))
    with pytest.raises(CorruptError, match="is corrupted: its bytes are not") as caught:
        opened(store)
    assert line_of(caught)


def test_an_object_that_is_cut_short_is_found_before_a_byte(store: Store, bucket: S3):
    put(store, DATA[:-1])
    with pytest.raises(CorruptError, match="is corrupted: it has") as caught:
        next(store.open(KEY, size_bytes=len(DATA), sha256=SHA256))
    assert line_of(caught)


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed(
    store: Store, proxy: S3Faults, bucket: S3
):
    put(store)
    proxy.add(Fault("cut answer", "GET", KEY, times=1, at_bytes=2 * MIB))
    pieces = store.open(KEY, size_bytes=len(DATA), sha256=SHA256)
    next(pieces)
    put(store, DATA[::-1])
    with pytest.raises(CorruptError, match="was replaced while it was read"):
        list(pieces)


def test_an_object_that_is_deleted_while_it_is_read_is_named(
    store: Store, proxy: S3Faults
):
    put(store)
    proxy.add(Fault("cut answer", "GET", KEY, times=1, at_bytes=2 * MIB))
    pieces = store.open(KEY, size_bytes=len(DATA), sha256=SHA256)
    next(pieces)
    store.delete([KEY])
    with pytest.raises(AbsentError) as caught:
        list(pieces)
    assert line_of(caught)


# --- turns


def test_what_was_created_and_not_answered_is_ours(store: Store, proxy: S3Faults):
    proxy.add(Fault("lose answer", "PUT", times=1))
    store.create("lock.json", b"mine")
    assert len(proxy.asked("PUT")) == 2
    with pytest.raises(TakenError):
        store.create("lock.json", b"another's")


def test_what_was_replaced_and_not_answered_is_ours(store: Store, proxy: S3Faults):
    store.create("lock.json", b"before")
    proxy.add(Fault("lose answer", "PUT", times=1))
    store.replace("lock.json", b"mine", expected=b"before")
    with pytest.raises(TakenError):
        store.replace("lock.json", b"another's", expected=b"before")


def test_a_lock_is_held_through_renewals_without_an_answer(
    store: Store, proxy: S3Faults
):
    with store_lock(store, "create") as lock:
        proxy.add(Fault("lose answer", "PUT"))
        with pytest.raises(StoreError):
            lock.renew()
        proxy.heal()
        lock.check()
        lock.renew()
        lock.check()


def test_a_lock_is_held_while_s3_is_away(store: Store, proxy: S3Faults):
    with store_lock(store, "create", renewed_after_seconds=0.01) as lock:
        proxy.add(Fault("answer", "PUT", code="ServiceUnavailable"))
        wait_until(lambda: len(proxy.asked("PUT")) > 5, "renewals that fail")
        proxy.heal()
        lock.check()
        with pytest.raises(LockedError), store_lock(store, "prune"):
            pass


# --- an end from outside

ENDLESS = """
import sys
from penstock.backup.stores import open_store
from penstock.cli.signals import stop_signals_interrupting

class Source:
    def read(self, size=-1):
        return bytes(size)

with stop_signals_interrupting():
    try:
        open_store(sys.argv[1]).put(sys.argv[2], Source())
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_upload_that_is_interrupted_leaves_nothing(
    store: Store, proxy: S3Faults, bucket: S3, number: int
):
    proxy.add(Fault("hold", "PUT", "partNumber=3"))
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, bucket.url("of/ours"), KEY],
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with process:
        wait_until(lambda: proxy.asked("PUT", "partNumber=3"), "a third part")
        process.send_signal(number)
        proxy.release()
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert has_nothing(bucket)
