"""The spool against a list, in any order of events, crashes and cuts among them.

The model is all parts ever appended, in order, and which of them are done.
"""

import contextlib
import shutil
import tempfile
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.errors import SpoolFullError
from penstock.sink.spool import Spool
from penstock.sink.spool_format import SpooledPart, encode_record
from tests.spool_parts import MARK, number_of, part_of

if TYPE_CHECKING:
    from penstock.sink.spool_segment import Position

MAX_BYTES = 12 * 1024
SEGMENT_BYTES = 1500
ALL = 1 << 30  # bytes: more than there is

part_sizes = st.lists(
    st.sampled_from((0, 30, 300)) | st.integers(0, 1_200), min_size=1, max_size=4
)


class SpoolMachine(RuleBasedStateMachine):
    """One who appends, one who reads and commits, and processes that end."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="penstock-spool-"))
        # The model.
        self.parts: list[SpooledPart] = []  # a part's number is its index
        self.done: set[int] = set()
        # The reader: what it took since the spool was opened.
        self.after: Position | None = None
        self.taken: list[tuple[Position, int]] = []
        self.open()

    def open(self) -> None:
        self.spool = Spool(
            self.directory, max_bytes=MAX_BYTES, segment_bytes=SEGMENT_BYTES
        )
        self.spool.open()
        self.after = None
        self.taken = []

    def crash(self) -> None:
        """End as SIGKILL does, as far as files show it."""
        self.spool._files.close()
        self.spool._close_current()

    def pending(self) -> list[int]:
        return [each for each in range(len(self.parts)) if each not in self.done]

    def last_file(self) -> Path:
        return max(self.directory.glob("*.spool"))

    def new_parts(self, sizes: list[int]) -> list[SpooledPart]:
        first = len(self.parts)
        return [part_of(first + n, size) for n, size in enumerate(sizes)]

    # What may happen.

    @rule(sizes=part_sizes)
    def append(self, sizes: list[int]) -> None:
        parts = self.new_parts(sizes)
        needed_bytes = sum(len(encode_record(part, MARK)) for part in parts)
        used_bytes = self.spool.size_bytes
        try:
            self.spool.append(parts)
        except SpoolFullError:
            assert used_bytes + needed_bytes > MAX_BYTES
            assert self.spool.size_bytes <= used_bytes  # what is drained may have gone
        else:
            self.parts += parts
            assert self.spool.size_bytes <= MAX_BYTES

    @precondition(lambda self: self.pending())
    @rule(count=st.integers(1, 20))
    def fill(self, count: int) -> None:
        with contextlib.suppress(SpoolFullError):
            for _ in range(count):
                parts = self.new_parts([900])
                self.spool.append(parts)
                self.parts += parts
            return
        with pytest.raises(SpoolFullError):
            self.spool.append(self.new_parts([900]))

    @rule(max_bytes=st.sampled_from((1, 600, 3_000, ALL)))
    def read(self, max_bytes: int) -> None:
        found = self.spool.read(self.after, max_bytes)
        taken = max((number for _, number in self.taken), default=-1)
        expected = [each for each in self.pending() if each > taken]
        assert [number_of(part) for _, part in found] == expected[: len(found)]
        assert bool(found) == bool(expected)
        assert max_bytes != ALL or len(found) == len(expected)
        for position, part in found:
            assert part == self.parts[number_of(part)]
            self.taken.append((position, number_of(part)))
            self.after = position

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.taken), max_size=6))
        self.spool.done([position for position, _ in chosen])
        self.done |= {number for _, number in chosen}

    @precondition(lambda self: self.taken)
    @rule()
    def commit_all_that_is_taken(self) -> None:
        self.spool.done([position for position, _ in self.taken])
        self.done |= {number for _, number in self.taken}

    # How it may end. What is pending is there afterwards; what was done may come
    # again, ahead of something pending, for its claim to recognise.

    def reopen(self) -> None:
        self.open()
        there = [number_of(part) for _, part in self.spool.read(None, ALL)]
        assert there == sorted(set(there))
        assert set(self.pending()) <= set(there) <= set(range(len(self.parts)))
        undone = set(there) & self.done
        assert not undone or min(undone) > min(self.pending())
        self.done -= undone

    @rule()
    def stop_and_start(self) -> None:
        self.spool.close()
        self.reopen()

    @rule()
    def die_and_start(self) -> None:
        self.crash()
        self.reopen()

    @rule(sizes=part_sizes, data=st.data())
    def die_in_an_append(self, sizes: list[int], data: st.DataObject) -> None:
        """Some of its bytes are there; whole records of them are as good as told."""
        parts = self.new_parts(sizes)
        records = [encode_record(part, self.spool._mark) for part in parts]
        torn = b"".join(records)
        torn = torn[: data.draw(st.integers(0, len(torn)))]
        current = self.spool._current
        if current is None:
            return
        path = self.spool._files.path(current.number)
        self.crash()
        with path.open("ab") as file:
            file.write(torn)
        ends = [sum(map(len, records[: n + 1])) for n in range(len(records))]
        whole = len(list(takewhile(lambda end: end <= len(torn), ends)))
        self.parts += parts[:whole]
        self.reopen()
        assert self.spool.cut_bytes == len(torn) - ([0, *ends][whole])

    @precondition(lambda self: self.pending())
    @rule(data=st.data())
    def die_and_lose_the_end_of_the_last_file(self, data: st.DataObject) -> None:
        """A disk that forgets what it said is safe: the rest is there all the same."""
        there = self.spool.read(None, ALL)
        self.crash()
        file = self.last_file()
        size_bytes = data.draw(st.integers(0, file.stat().st_size))
        with file.open("r+b") as cut:
            cut.truncate(size_bytes)
        self.done |= {
            number_of(part)
            for position, part in there
            if position.segment == int(file.stem[:16]) and position.end > size_bytes
        }
        self.open()
        left = [number_of(part) for _, part in self.spool.read(None, ALL)]
        assert set(self.pending()) <= set(left)
        self.done -= set(left)

    # What is always so.

    @invariant()
    def the_counts_are_those_of_the_model(self) -> None:
        pending = self.pending()
        assert self.spool.pending_parts == len(pending)
        assert self.spool.pending_events == sum(
            self.parts[each].events for each in pending
        )
        assert self.spool.is_empty == (not pending)

    @invariant()
    def the_size_is_that_of_the_files(self) -> None:
        files = list(self.directory.glob("*.spool"))
        assert self.spool.size_bytes == sum(each.stat().st_size for each in files)
        assert self.spool.size_bytes <= MAX_BYTES + 4 * 1_300  # of a torn append
        assert self.spool.damaged_bytes == 0

    def teardown(self) -> None:
        """Whatever has happened, in the end all is replayed and no file is left."""
        self.spool.done(each for each, _ in self.spool.read(None, ALL))
        assert self.spool.is_empty
        self.spool.close()
        assert not list(self.directory.glob("*.spool"))
        shutil.rmtree(self.directory)


SpoolMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None
)
TestSpool = SpoolMachine.TestCase
