"""What was measured of Penstock: the figures that machines are sized by.

Owns the figures, each with the page or command it comes from, and the straight line
through those of two sizes of records. It must not know machines or prices.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value, its unit, and where it stands or how to measure it again."""

    value: float
    unit: str
    source: str


@dataclass(frozen=True, slots=True)
class ByRecord:
    """A figure for two sizes of records; others lie on the line through both."""

    usual: Figure
    long: Figure

    def at(self, record_bytes: float) -> float:
        """Return the figure for records of a size, never below a fifth of the usual.

        Smaller records than those measured still cost their row's head.
        """
        near, far = self.usual.value, self.long.value
        slope = (far - near) / (LONG_BYTES - USUAL_BYTES)
        return max(near + slope * (record_bytes - USUAL_BYTES), near / 5)


# Bytes of a record on the wire, in msgpack, uncompressed: the benchmarks' usual mix and
# their `--records long`.
USUAL_BYTES: Final = 306
LONG_BYTES: Final = 1_944

_END: Final = "docs/performance.md, End to end"
_DISK: Final = "docs/performance.md, On disk"
_BACKUP: Final = "docs/performance.md, Backups"
_LONG: Final = (
    'make bench ARGS="end_to_end --records long --events 100000 --pairs 2", 2026-11-30'
)
_LONG_DISK: Final = 'make bench ARGS="disk --records long --events 40000", 2026-11-30'
_STORED: Final = (
    'make bench ARGS="backup --rows 300000 --sealed-rows 300000", 2026-11-30'
)

# The cores of the machine that all of it was measured on, PostgreSQL and sender on it.
MEASURED_CORES: Final = 2

ROWS_PER_SECOND: Final = ByRecord(
    Figure(227_701, "rows/s, one PostgreSQL", _END),
    Figure(45_428, "rows/s, one PostgreSQL", _LONG),
)
PENSTOCK_CPU: Final = ByRecord(
    Figure(1.62, "CPU-s a million rows", _END),
    Figure(6.70, "CPU-s a million rows", _LONG),
)
POSTGRES_CPU: Final = ByRecord(
    Figure(5.33, "CPU-s a million rows", _END),
    Figure(9.05, "CPU-s a million rows", _LONG),
)
ROW_BYTES: Final = ByRecord(
    Figure(421, "bytes a row on disk, sealed, with BRIN", _DISK),
    Figure(2_066, "bytes a row on disk, sealed, with BRIN", _LONG_DISK),
)
MESSAGE_INDEX_BYTES: Final = ByRecord(
    Figure(97, "bytes a row of the index on words of `message`", _DISK),
    Figure(1_277, "bytes a row of the index on words of `message`", _LONG_DISK),
)
# It depends on the attributes, of which long records have as many: not on the bytes.
ATTRIBUTES_INDEX_BYTES: Final = Figure(
    180, "bytes a row of the index on `attributes`", _DISK
)
WAL_BYTES: Final = ByRecord(
    Figure(394, "bytes of WAL a row", _DISK),
    Figure(1_976, "bytes of WAL a row", _LONG_DISK),
)

DUMP_SHARE: Final = Figure(0.34, "of a table's bytes, as a dump by gzip:1", _STORED)
BASE_SHARE: Final = Figure(0.30, "of the database, as a base backup", _STORED)
WAL_SHARE: Final = Figure(0.45, "of the WAL's bytes, as archived", _STORED)

DUMP_SECONDS: Final = Figure(17, "s a GB of tables, `backup create`", _BACKUP)
VERIFY_SECONDS: Final = Figure(25, "s a GB of tables, `backup verify`", _BACKUP)
RESTORE_SECONDS: Final = Figure(31, "s a GB of tables, `backup restore`", _BACKUP)


def most_rows_per_second(record_bytes: float) -> float:
    """Return what one PostgreSQL was seen to take: never more than was measured.

    The time of a row is what grows with its bytes, so the line is through the times.
    """
    near = 1 / ROWS_PER_SECOND.usual.value
    far = 1 / ROWS_PER_SECOND.long.value
    slope = (far - near) / (LONG_BYTES - USUAL_BYTES)
    return 1 / max(near + slope * (record_bytes - USUAL_BYTES), near)


def cpu_seconds_per_row(record_bytes: float, *, with_postgres: bool) -> float:
    """Return the seconds of a core that a row takes until it is committed."""
    millionths = PENSTOCK_CPU.at(record_bytes)
    if with_postgres:
        millionths += POSTGRES_CPU.at(record_bytes)
    return millionths / 1_000_000
