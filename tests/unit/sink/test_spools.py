"""A spool that nobody owns any more is read by the first worker, and lost by none."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from penstock.errors import SpoolFullError, UnavailableError
from penstock.sink.spool import Spool
from penstock.sink.spool_segment import Position
from penstock.sink.spools import (
    Spools,
    any_in_use,
    directory_of,
    left_behind,
    make_spool,
)
from tests.spool_parts import number_of, part_of

MANY = 1 << 30


@pytest.fixture
def spool_dir(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def leave(spool_dir: Path, worker: int, *numbers: int) -> None:
    """Be a worker that spools these parts and ends."""
    spool = Spool(directory_of(spool_dir, worker), max_bytes=MANY)
    spool.open()
    spool.append([part_of(number) for number in numbers])
    spool.close()


def first_of(spool_dir: Path, *, workers: int, max_bytes: int = MANY) -> Spool | Spools:
    spool = make_spool(spool_dir, worker=0, workers=workers, max_bytes=max_bytes)
    spool.open()
    return spool


def read_all(spool: Spool | Spools) -> list[Position]:
    positions: list[Position] = []
    while found := spool.read(positions[-1] if positions else None, MANY):
        positions += [position for position, _ in found]
    return positions


def numbers(spool: Spool | Spools) -> list[int]:
    """Read as the spooler does, a piece at a time; return the parts' numbers."""
    after: Position | None = None
    found: list[int] = []
    while piece := spool.read(after, 1):
        found += [number_of(part) for _, part in piece]
        after, _ = piece[-1]
    return found


def names(paths: Sequence[Path]) -> list[str]:
    return [each.name for each in paths]


def test_a_single_worker_has_the_directory_itself(spool_dir: Path) -> None:
    assert directory_of(spool_dir, 0) == spool_dir
    assert isinstance(make_spool(spool_dir, worker=0, workers=1, max_bytes=1), Spool)


def test_only_spools_without_a_worker_are_left_behind(spool_dir: Path) -> None:
    for worker in (0, 1, 2, 11):
        leave(spool_dir, worker, worker)
    (spool_dir / "worker-x").mkdir()
    (spool_dir / "worker-7").write_text("no directory")
    assert names(left_behind(spool_dir, 2)) == ["worker-2", "worker-11"]
    assert names(left_behind(spool_dir, 1)) == ["worker-1", "worker-2", "worker-11"]
    assert left_behind(spool_dir / "none", 1) == []
    assert isinstance(make_spool(spool_dir, worker=1, workers=2, max_bytes=1), Spool)


def test_what_others_have_left_is_read_in_order_and_before_its_own(
    spool_dir: Path,
) -> None:
    leave(spool_dir, 0, 1, 2)
    leave(spool_dir, 1, 3, 4)
    leave(spool_dir, 2, 5)
    with closing(first_of(spool_dir, workers=1)) as spool:
        spool.append([part_of(6)])
        assert numbers(spool) == [3, 4, 5, 1, 2, 6]
        assert spool.pending_events == sum(part_of(n).events for n in range(1, 7))


def test_a_spool_that_is_done_is_removed(spool_dir: Path) -> None:
    leave(spool_dir, 1, 1, 2)
    leave(spool_dir, 2, 3)
    with closing(first_of(spool_dir, workers=1)) as spool:
        positions = read_all(spool)
        spool.done(positions[:1])
        assert names(left_behind(spool_dir, 1)) == ["worker-1", "worker-2"]
        spool.done(positions[1:])
        assert left_behind(spool_dir, 1) == []
        assert spool.is_empty
        spool.append([part_of(4)])
        assert numbers(spool) == [4]
    assert isinstance(make_spool(spool_dir, worker=0, workers=1, max_bytes=1), Spool)


def test_what_is_not_done_is_there_at_the_next_start(spool_dir: Path) -> None:
    leave(spool_dir, 1, 1, 2)
    with closing(first_of(spool_dir, workers=1)) as spool:
        spool.done(read_all(spool)[:1])
    with closing(first_of(spool_dir, workers=1)) as spool:
        assert numbers(spool) == [2]
    # And its own worker's, if there is one again.
    again = make_spool(spool_dir, worker=1, workers=2, max_bytes=MANY)
    again.open()
    with closing(again):
        assert numbers(again) == [2]


def test_what_was_left_counts_against_the_limit(spool_dir: Path) -> None:
    leave(spool_dir, 1, 1)
    with closing(first_of(spool_dir, workers=1, max_bytes=4_000)) as spool:
        left_bytes = spool.size_bytes
        assert 0 < left_bytes < 4_000
        with pytest.raises(SpoolFullError):
            spool.append([part_of(2, 4_000 - left_bytes)])
        spool.done(read_all(spool))
        spool.append([part_of(2, 4_000 - left_bytes)])


def test_a_spool_in_use_is_not_taken(spool_dir: Path) -> None:
    leave(spool_dir, 0)
    assert not any_in_use(spool_dir)
    other = Spool(directory_of(spool_dir, 1), max_bytes=MANY)
    other.open()
    with closing(other):
        assert any_in_use(spool_dir)
        with pytest.raises(UnavailableError, match="another Penstock"):
            first_of(spool_dir, workers=1)
    assert not any_in_use(spool_dir)
    first_of(spool_dir, workers=1).close()
