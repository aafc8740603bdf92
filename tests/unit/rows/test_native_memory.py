"""The compiled encoder when there is no memory: an error, and it goes on afterwards.

Also when it is called by two threads at once, which it is not for.
"""

import subprocess
import sys
from threading import Thread

import pytest

from penstock.rows import IS_BUILT
from tests import msgpack_bytes as m
from tests.fuzz.sanitized import is_watched
from tests.pure_core import NOW
from tests.twin_strategies import in_a_record

if IS_BUILT:
    from penstock.rows._native import Encoder

pytestmark = pytest.mark.skipif(not IS_BUILT, reason="there is no compiled encoder")

_COLUMNS = (("level",), ("service",), ("host",), ("message",))
_TAG = b"\0\0\0\1t"
# More digits than are tried first: Python writes those.
_DIGITS = in_a_record(m.fixarray(*map(m.float64, (0.1 + 0.2, 1e300, 1 / 3))))


def encode(encoder: "Encoder", entries: bytes) -> bytes:
    # Not taken apart: CPython itself crashes if it has no memory for that.
    return encoder.encode(
        entries=entries,
        offset=0,
        window_end=len(entries),
        step_bytes=0,
        most=10**6,
        tag=_TAG,
        next_id=1,
        now_microseconds=NOW,
        metadata=None,
        group=None,
        beside_left_bytes=10**9,
        part_beside_left_bytes=10**9,
        max_map_keys=10**4,
    )[0]


def test_without_memory_for_a_number_it_raises_and_goes_on() -> None:
    testing = pytest.importorskip("_testcapi")
    encoder = Encoder(_COLUMNS, 2**31 - 1)
    usual = encode(encoder, _DIGITS)
    failures = 0
    for allocation in range(40):
        testing.set_nomemory(allocation, allocation + 1)
        try:
            encode(encoder, _DIGITS)
        except MemoryError:
            failures += 1
        finally:
            testing.remove_mem_hooks()
        assert encode(encoder, _DIGITS) == usual
    assert failures


_WITHOUT_MEMORY = """
import resource
from tests.unit.rows.test_native_memory import _COLUMNS, Encoder, encode, in_a_record, m

def size_bytes():
    return int(open("/proc/self/statm").read().split()[0]) * 4096

large = in_a_record(m.str32(b"\\x01" * 30_000_000))  # six times as much as JSON
keys = m.map16(*[(m.uint16(number), b"\\x01") for number in range(60_000)])
encoder = Encoder(_COLUMNS, 2**31 - 1)
tiny = in_a_record(b"\\x01")
usual = encode(encoder, tiny)
before = resource.getrlimit(resource.RLIMIT_AS)
for entry, room_bytes in ((large, 100_000_000), (keys, 0)):
    resource.setrlimit(resource.RLIMIT_AS, (size_bytes() + room_bytes, before[1]))
    try:
        encode(encoder, tiny + entry)
    except MemoryError:
        print("MemoryError")
    resource.setrlimit(resource.RLIMIT_AS, before)
    assert encode(encoder, tiny) == usual
assert len(encode(encoder, tiny + large)) > 180_000_000
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc, and a limit that is kept")
@pytest.mark.skipif(is_watched(), reason="AddressSanitizer's memory is past any limit")
def test_without_memory_for_rows_it_raises_and_goes_on() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_MEMORY],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("MemoryError")


def test_two_threads_get_their_rows_or_an_error() -> None:
    encoder = Encoder(_COLUMNS, 2**31 - 1)
    entries = {name: in_a_record(m.str8(name * 200)) * 500 for name in (b"a", b"b")}
    usual = {name: encode(encoder, each) for name, each in entries.items()}
    wrong: list[object] = []

    def run(name: bytes) -> None:
        for _ in range(200):
            try:
                if encode(encoder, entries[name]) != usual[name]:
                    wrong.append(name)
            except ValueError:
                continue  # one at a time

    threads = [Thread(target=run, args=(name,)) for name in entries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
