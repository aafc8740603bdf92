"""The spool keeps what it took, in order, and says what a crash or a disk cost."""

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.errors import (
    SpoolError,
    SpoolFullError,
    TransientSinkError,
    UnavailableError,
)
from penstock.sink.spool import Spool
from penstock.sink.spool_format import HEADER_BYTES, SpooledPart, encode_record
from penstock.sink.spool_segment import Position
from tests.spool_parts import MARK, number_of, part_of

KIB = 1024
MANY = 1 << 30  # bytes: all that there is


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "spool"


@pytest.fixture
def opened(directory: Path) -> Iterator[Callable[..., Spool]]:
    """Open spools on the directory, each instead of the one before it."""
    spools: list[Spool] = []

    def open_spool(*, max_bytes: int = MANY, segment_bytes: int = 64 * KIB) -> Spool:
        if spools:
            crash(spools[-1])
        spool = Spool(directory, max_bytes=max_bytes, segment_bytes=segment_bytes)
        spool.open()
        spools.append(spool)
        return spool

    yield open_spool
    for spool in spools:
        crash(spool)


def crash(spool: Spool) -> None:
    """End as SIGKILL does, as far as files show it: nothing more is written."""
    spool._files.close()
    spool._close_current()


def parts_of(*numbers: int, size_bytes: int = 100) -> list[SpooledPart]:
    return [part_of(number, size_bytes) for number in numbers]


def numbers_in(spool: Spool, after: Position | None = None) -> list[int]:
    return [number_of(part) for _, part in spool.read(after, MANY)]


def positions_in(spool: Spool) -> list[Position]:
    return [position for position, _ in spool.read(None, MANY)]


def segment_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.spool"))


def mark_of(file: Path) -> bytes:
    return bytes.fromhex(file.stem.partition("-")[2])


class FailingCalls:
    """Lets a function of `os` fail from a call on, with an errno."""

    def __init__(self, patch: pytest.MonkeyPatch, name: str) -> None:
        self.code = 0
        self.left = 0
        real = getattr(os, name)

        def call(*arguments: object) -> object:
            if self.code and not self.left:
                raise OSError(self.code, os.strerror(self.code))
            self.left -= 1
            return real(*arguments)

        patch.setattr(os, name, call)

    def fail(self, code: int, *, after_calls: int = 0) -> None:
        self.code, self.left = code, after_calls

    def mend(self) -> None:
        self.code = 0


# Appending and reading.


def test_parts_come_back_in_order_and_as_they_were(
    opened: Callable[..., Spool],
) -> None:
    spool = opened()
    spool.append(parts_of(1, 2))
    spool.append(parts_of(3))
    assert [part for _, part in spool.read(None, MANY)] == parts_of(1, 2, 3)
    assert spool.pending_parts == 3
    assert spool.pending_events == sum(part.events for part in parts_of(1, 2, 3))


def test_an_empty_append_makes_no_file(
    opened: Callable[..., Spool], directory: Path
) -> None:
    spool = opened()
    spool.append([])
    assert spool.is_empty
    assert segment_files(directory) == []


def test_reading_goes_on_behind_what_was_read(opened: Callable[..., Spool]) -> None:
    spool = opened(segment_bytes=500)
    for number in range(10):
        spool.append(parts_of(number))
    seen: list[int] = []
    after = None
    while found := spool.read(after, 500):
        assert len(found) < 10
        seen += [number_of(part) for _, part in found]
        after = found[-1][0]
    assert seen == list(range(10))
    spool.append(parts_of(10))
    assert numbers_in(spool, after) == [10]


def test_a_read_is_bounded_by_its_bytes_and_takes_one_part_at_least(
    opened: Callable[..., Spool],
) -> None:
    spool = opened()
    spool.append(parts_of(*range(8), size_bytes=10 * KIB))
    assert len(spool.read(None, 1)) == 1
    assert len(spool.read(None, 35 * KIB)) == 3


def test_what_is_done_is_not_read_again_and_its_files_go(
    opened: Callable[..., Spool], directory: Path
) -> None:
    spool = opened(segment_bytes=1)
    for number in range(3):
        spool.append(parts_of(number))
    first, second, third = positions_in(spool)
    spool.done([second])
    assert numbers_in(spool) == [0, 2]
    assert len(segment_files(directory)) == 2
    spool.done([first, third, first, second])  # twice is once
    assert spool.is_empty
    assert (spool.pending_parts, spool.pending_events, spool.size_bytes) == (0, 0, 0)
    assert segment_files(directory) == []


def test_a_small_drained_segment_is_written_on(
    opened: Callable[..., Spool], directory: Path
) -> None:
    """Else every message that passes through would make and delete a file."""
    spool = opened()
    for number in range(20):
        spool.append(parts_of(number))
        spool.done(positions_in(spool))
    assert spool.is_empty
    assert len(segment_files(directory)) == 1
    spool.close()
    assert segment_files(directory) == []


def test_files_are_for_nobody_else(
    opened: Callable[..., Spool], directory: Path
) -> None:
    spool = opened()
    spool.append(parts_of(1))
    spool.done([])
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in [directory, *directory.iterdir()]
    }
    assert modes.pop("spool") == 0o700
    assert len(modes) == 3
    assert set(modes.values()) == {0o600}


# Full.


def test_a_full_spool_refuses_all_of_an_append_and_has_room_after_replay(
    opened: Callable[..., Spool],
) -> None:
    spool = opened(max_bytes=4 * KIB, segment_bytes=KIB)
    spool.append(parts_of(1, size_bytes=2 * KIB))
    size_bytes = spool.size_bytes
    with pytest.raises(SpoolFullError, match="4096") as caught:
        spool.append(parts_of(2, 3, size_bytes=KIB))
    assert isinstance(caught.value, TransientSinkError)
    assert spool.size_bytes == size_bytes
    assert numbers_in(spool) == [1]
    spool.done(positions_in(spool))
    spool.append(parts_of(2, 3, size_bytes=KIB))
    assert numbers_in(spool) == [2, 3]


def test_what_is_drained_takes_no_room(opened: Callable[..., Spool]) -> None:
    spool = opened(max_bytes=3 * KIB)
    spool.append(parts_of(1, size_bytes=2 * KIB))
    spool.done(positions_in(spool))
    spool.append(parts_of(2, size_bytes=2 * KIB))
    assert numbers_in(spool) == [2]


def test_a_part_larger_than_the_spool_is_refused(opened: Callable[..., Spool]) -> None:
    spool = opened(max_bytes=KIB)
    with pytest.raises(SpoolFullError):
        spool.append(parts_of(1, size_bytes=2 * KIB))
    assert spool.is_empty


# Reopened.


def test_what_was_appended_is_there_for_the_next_process(
    opened: Callable[..., Spool],
) -> None:
    before = opened(segment_bytes=500)
    for number in range(9):
        before.append(parts_of(number))
    after = opened()
    assert numbers_in(after) == list(range(9))
    assert after.pending_events == before.pending_events
    assert after.size_bytes == before.size_bytes
    after.append(parts_of(9))
    assert numbers_in(opened()) == list(range(10))


def test_what_was_done_in_order_is_not_replayed(opened: Callable[..., Spool]) -> None:
    before = opened()
    before.append(parts_of(0, 1, 2, 3, 4))
    positions = positions_in(before)
    before.done([*positions[:2], positions[3]])
    # Done ahead of others is noted in memory only: its claim recognises it.
    assert numbers_in(opened()) == [2, 3, 4]


def test_what_was_done_ahead_counts_when_the_gap_is_closed(
    opened: Callable[..., Spool],
) -> None:
    before = opened()
    before.append(parts_of(0, 1, 2, 3, 4))
    positions = positions_in(before)
    before.done(positions[1:4])
    before.done(positions[:1])
    assert numbers_in(opened()) == [4]


def test_numbers_go_on_where_all_was_drained(opened: Callable[..., Spool]) -> None:
    """Else the cursor of the drained ones would hide new parts."""
    before = opened()
    before.append(parts_of(1, 2, 3))
    before.done(positions_in(before))
    before.close()
    again = opened()
    again.append(parts_of(4))
    assert numbers_in(opened()) == [4]


@pytest.mark.parametrize("content", [b"", b"9 9 00000000", b"99", b"\xff\xff \0", b" "])
def test_a_damaged_cursor_hides_nothing(
    opened: Callable[..., Spool], directory: Path, content: bytes
) -> None:
    before = opened()
    before.append(parts_of(1, 2))
    before.done(positions_in(before)[:1])
    (directory / "cursor").write_bytes(content)
    assert numbers_in(opened()) == [1, 2]


# A crash in the middle of an append.


def test_a_torn_tail_is_cut_with_one_line(
    opened: Callable[..., Spool], directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened().append(parts_of(1, 2))
    (file,) = segment_files(directory)
    whole_bytes = file.stat().st_size
    with file.open("ab") as tail:
        tail.write(encode_record(part_of(3), mark_of(file))[:-7])
    cut_bytes = file.stat().st_size - whole_bytes
    with caplog.at_level(logging.INFO, "penstock"):
        spool = opened()
    (line,) = [vars(each) for each in caplog.records]
    assert "torn tail" in line["msg"]
    assert (line["file"], line["offset"], line["cut_bytes"]) == (
        str(file),
        whole_bytes,
        cut_bytes,
    )
    assert file.stat().st_size == whole_bytes
    assert spool.cut_bytes == cut_bytes
    assert spool.damaged_bytes == 0
    assert numbers_in(spool) == [1, 2]


def test_only_the_last_segment_may_be_torn(
    opened: Callable[..., Spool], directory: Path
) -> None:
    """A segment that another one follows was whole: what is short there is a loss."""
    before = opened(segment_bytes=1)
    before.append(parts_of(1, 2))
    before.append(parts_of(3))
    first = segment_files(directory)[0]
    os.truncate(first, first.stat().st_size - 1)
    spool = opened()
    assert numbers_in(spool) == [1, 3]
    assert spool.cut_bytes == 0
    assert spool.damaged_bytes == len(encode_record(part_of(2, 100), MARK)) - 1


# Damage.


def damage(file: Path, offset: int) -> None:
    content = bytearray(file.read_bytes())
    content[offset] ^= 0xFF
    file.write_bytes(content)


def test_a_damaged_record_costs_itself_and_its_file_is_kept(
    opened: Callable[..., Spool], directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened().append(parts_of(1, 2, 3))
    (file,) = segment_files(directory)
    first, second = (len(encode_record(part, MARK)) for part in parts_of(1, 2))
    damage(file, first + HEADER_BYTES + 5)
    content = file.read_bytes()
    spool = opened()
    assert numbers_in(spool) == [1, 3]
    assert spool.pending_parts == 2
    assert spool.damaged_bytes == second
    assert spool.damaged_events == 0  # they were never pending here
    (line,) = [vars(each) for each in caplog.records]
    kept = file.with_suffix(".damaged")
    assert (line["file"], line["offset"], line["damaged_bytes"]) == (
        str(kept),
        first,
        second,
    )
    spool.done(positions_in(spool))
    spool.close()
    assert segment_files(directory) == []
    assert kept.read_bytes() == content


def test_a_lost_page_costs_the_records_on_it(
    opened: Callable[..., Spool], directory: Path
) -> None:
    opened().append(parts_of(*range(20), size_bytes=KIB))
    (file,) = segment_files(directory)
    content = bytearray(file.read_bytes())
    content[4096:8192] = bytes(4096)
    file.write_bytes(content)
    spool = opened()
    numbers = numbers_in(spool)
    assert numbers == sorted(numbers)
    assert 14 <= len(numbers) <= 15
    spool.append(parts_of(20))
    assert numbers_in(spool) == [*numbers, 20]
    spool.done(positions_in(spool))
    spool.close()
    assert file.with_suffix(".damaged").read_bytes() == content


def test_damage_while_we_run_is_found_when_it_is_read(
    opened: Callable[..., Spool], directory: Path
) -> None:
    spool = opened()
    spool.append(parts_of(*range(6)))
    positions = positions_in(spool)
    events = [part_of(number).events for number in range(6)]
    taken = [position for position, _ in opened().read(None, 1)]
    assert len(taken) == 1
    spool = opened()
    taken = [position for position, _ in spool.read(None, 1)]
    (file,) = segment_files(directory)
    damage(file, positions[0].offset)  # read already: it is done in its time
    damage(file, positions[3].offset)
    damage(file, positions[4].offset)
    assert numbers_in(spool, taken[0]) == [1, 2, 5]
    assert file.with_suffix(".damaged").exists()
    assert spool.damaged_events == events[3] + events[4]
    assert spool.pending_events == sum(events) - spool.damaged_events
    spool.append(parts_of(7))
    spool.done(positions[::-1])
    spool.done(positions)
    assert spool.pending_parts == 1
    assert numbers_in(spool) == [7]
    spool.done(positions_in(spool))
    assert (spool.pending_parts, spool.pending_events) == (0, 0)


def test_what_was_done_before_damage_is_found_is_not_pending_after(
    opened: Callable[..., Spool], directory: Path
) -> None:
    spool = opened()
    spool.append(parts_of(0, 1, 2, 3))
    positions = positions_in(spool)
    spool.done(positions[:2])
    damage(segment_files(directory)[0], positions[3].offset)
    assert numbers_in(spool) == [2]
    assert spool.pending_parts == 1
    assert spool.damaged_events == part_of(3).events


def test_damage_in_the_segment_that_is_written_ends_it(
    opened: Callable[..., Spool], directory: Path
) -> None:
    spool = opened()
    spool.append(parts_of(1, 2))
    damage(segment_files(directory)[0], 0)
    assert numbers_in(spool) == [2]
    assert spool.damaged_events == part_of(1).events
    spool.append(parts_of(3))
    assert len(segment_files(directory)) == 2
    assert numbers_in(spool) == [2, 3]


def test_a_segment_that_is_all_damage_does_not_stay(
    opened: Callable[..., Spool], directory: Path
) -> None:
    opened().append(parts_of(1))
    (file,) = segment_files(directory)
    damage(file, 0)
    spool = opened()
    assert spool.is_empty
    assert spool.read(None, MANY) == []
    assert segment_files(directory) == []
    assert file.with_suffix(".damaged").exists()


def test_where_there_are_no_links_a_copy_is_kept(
    opened: Callable[..., Spool], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened().append(parts_of(1, 2))
    (file,) = segment_files(directory)
    damage(file, HEADER_BYTES + 1)
    content = file.read_bytes()
    FailingCalls(monkeypatch, "link").fail(errno.EPERM)
    spool = opened()
    spool.done(positions_in(spool))
    assert file.with_suffix(".damaged").read_bytes() == content


# Disks that fail.


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(("call", "after_calls"), [("write", 0), ("fsync", 0)])
def test_a_failed_append_leaves_nothing_and_the_spool_goes_on(
    opened: Callable[..., Spool],
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    after_calls: int,
    code: int,
) -> None:
    spool = opened()
    spool.append(parts_of(1))
    failing = FailingCalls(monkeypatch, call)
    size_bytes = spool.size_bytes
    for number in (2, 3, 4):
        failing.fail(code, after_calls=after_calls)
        with pytest.raises(SpoolError, match=os.strerror(code)):
            spool.append(parts_of(number))
        failing.mend()
    assert (spool.size_bytes, spool.pending_parts) == (size_bytes, 1)
    assert sum(path.stat().st_size for path in segment_files(directory)) == size_bytes
    spool.append(parts_of(5))
    assert numbers_in(spool) == [1, 5]
    assert numbers_in(opened()) == [1, 5]


def test_a_write_that_fails_half_way_is_cut_off(
    opened: Callable[..., Spool], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = opened()
    spool.append(parts_of(1))
    real = os.write
    wrote: list[int] = []

    def write_some(fd: int, data: memoryview) -> int:
        if wrote:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        wrote.append(real(fd, data[: len(data) // 2]))
        return wrote[0]

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_some)
        with pytest.raises(SpoolError):
            spool.append(parts_of(2, size_bytes=KIB))
    assert wrote[0] > 400
    assert segment_files(directory)[0].stat().st_size == spool.size_bytes
    spool.append(parts_of(3))
    assert numbers_in(spool) == [1, 3]


def test_a_file_is_not_trusted_after_a_failed_fsync(
    opened: Callable[..., Spool], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has dropped its pages: fsync would pass over what is not there."""
    spool = opened()
    spool.append(parts_of(1))
    with monkeypatch.context() as patch:
        FailingCalls(patch, "fsync").fail(errno.EIO)
        with pytest.raises(SpoolError):
            spool.append(parts_of(2))
    spool.append(parts_of(3))
    assert len(segment_files(directory)) == 2


def test_a_place_that_cannot_be_noted_is_no_error(
    opened: Callable[..., Spool],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The parts are committed whatever the disk says; replayed, they are recognised."""
    spool = opened()
    spool.append(parts_of(1, 2))
    with monkeypatch.context() as patch:
        FailingCalls(patch, "write").fail(errno.ENOSPC)
        spool.done(positions_in(spool)[:1])
    assert "could not note" in caplog.text
    assert numbers_in(spool) == [2]
    spool.done(positions_in(spool))
    assert spool.is_empty


# Who may have it.


def test_a_directory_is_for_one_process_at_a_time(
    opened: Callable[..., Spool], directory: Path
) -> None:
    spool = opened()
    other = Spool(directory, max_bytes=MANY)
    with pytest.raises(UnavailableError, match="another Penstock uses the spool"):
        other.open()
    spool.append(parts_of(1))
    spool.close()
    other.open()
    assert numbers_in(other) == [1]
    other.close()


def test_a_directory_that_cannot_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    spool = Spool(tmp_path / "spool", max_bytes=MANY)
    with pytest.raises(UnavailableError, match=r"spool.* cannot be used: File exists"):
        spool.open()


def test_a_later_format_is_refused_and_the_lock_let_go(
    opened: Callable[..., Spool], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("penstock.sink.spool_format.VERSION", 2)
        opened().append(parts_of(1))
    with pytest.raises(UnavailableError, match="format 2"):
        opened()
    with monkeypatch.context() as patch:
        patch.setattr("penstock.sink.spool_format.VERSION", 2)
        assert numbers_in(opened()) == [1]
