"""A disk that is full stops the spool, and costs nothing that was in it."""

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.errors import SpoolError, SpoolFullError
from penstock.sink.spool import Spool
from tests.spool_parts import number_of, part_of

DISK_BYTES = 512 * 1024
PART_BYTES = 20_000
MAX_BYTES = 1 << 30  # of the spool: more than the disk has
ALL = 1 << 30


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(tmp_path)]
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("only root can mount a tmpfs; RLIMIT_FSIZE is tested instead")
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs here ({mounted.stderr.strip()}); see RLIMIT_FSIZE")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def numbers_in(spool: Spool) -> list[int]:
    return [number_of(part) for _, part in spool.read(None, ALL)]


def append_until_it_fails(spool: Spool, number: int) -> tuple[int, SpoolError]:
    """Append parts, three at a time; return the first number that was refused."""
    while True:
        parts = [part_of(number + n, PART_BYTES) for n in range(3)]
        try:
            spool.append(parts)
        except SpoolError as error:
            return number, error
        number += 3


def test_a_full_disk_is_told_and_room_comes_back_by_replay(small_disk: Path) -> None:
    spool = Spool(small_disk / "spool", max_bytes=MAX_BYTES, segment_bytes=100_000)
    spool.open()
    kept, error = append_until_it_fails(spool, 0)
    assert not isinstance(error, SpoolFullError)
    assert os.strerror(errno.ENOSPC) in str(error)
    assert kept * PART_BYTES > DISK_BYTES / 2
    for _ in range(50):  # a try leaves nothing behind that would fill the disk more
        assert append_until_it_fails(spool, kept)[0] == kept
    assert numbers_in(spool) == list(range(kept))
    spool.done([position for position, _ in spool.read(None, ALL)][:10])
    last, _ = append_until_it_fails(spool, kept)
    assert last > kept
    spool._files.close()  # as a kill does
    spool._close_current()
    again = Spool(small_disk / "spool", max_bytes=MAX_BYTES)
    again.open()  # on a disk that is full
    assert set(range(10, last)) <= set(numbers_in(again))
    assert again.damaged_bytes == again.cut_bytes == 0
    again.done([position for position, _ in again.read(None, ALL)])
    again.close()
    assert sorted(path.name for path in (small_disk / "spool").iterdir()) == [
        "cursor",
        "spool.lock",
    ]


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """Let no write pass this size: it fails half way, as on a disk that fills up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_append_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=MAX_BYTES)
    spool.open()
    limit_bytes = 15 * PART_BYTES
    with largest_file(limit_bytes):
        kept, error = append_until_it_fails(spool, 0)
    assert os.strerror(errno.EFBIG) in str(error)
    assert kept == 12  # three more would have begun below the limit, and ended past it
    (file,) = (tmp_path / "spool").glob("*.spool")
    assert file.stat().st_size == spool.size_bytes < limit_bytes
    spool.append([part_of(kept, PART_BYTES)])
    assert numbers_in(spool) == list(range(kept + 1))
    spool.close()
