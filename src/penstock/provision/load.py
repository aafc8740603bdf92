"""What is to be received and kept: so many bytes a day, in so many records, so long.

Owns what is accepted of it, each refusal one line, and what follows from it by the
measured figures: rows a second, cores, bytes on disk. It must not know machines.
"""

import math
import re
from dataclasses import dataclass
from typing import Final

from penstock.errors import SettingsError
from penstock.provision import measured

DAY_SECONDS: Final = 86_400
GB: Final = 1_000_000_000
GIB: Final = 1024**3

# A record in msgpack is an array, a time and a map: 7 bytes with nothing in it.
LEAST_RECORD_BYTES: Final = 7
# `max_frame_bytes`, as it is by default: a message with more is not taken.
MOST_RECORD_BYTES: Final = 64 * 1024**2
# `retention_max_age_days` goes so far.
MOST_DAYS: Final = 36_500
# Traffic of a day has a peak. Three times the average is a guess of ours for a business
# that sleeps at night; --peak says another.
USUAL_PEAK: Final = 3.0
MOST_PEAK: Final = 1_000.0
# Past these it is a slip of the hand, and arithmetic would go on to infinity.
MOST_A_DAY: Final = 1e15

_DAYS: Final = re.compile(r"(\d{1,9})\s*(d|days?|w|weeks?|y|years?)?", re.I)
_DAYS_IN: Final = {"d": 1, "w": 7, "y": 365}


@dataclass(frozen=True, slots=True)
class Indexes:
    """What closed days are indexed by: the settings `seal_message_trgm` and so on."""

    of_message: bool = False
    of_attributes: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """Bytes and records a day, and how many times the average the peak is."""

    bytes_per_day: float
    records_per_day: float
    peak: float = USUAL_PEAK

    @property
    def gb_per_day(self) -> float:
        """Gigabytes (10^9) a day, uncompressed on the wire."""
        return self.bytes_per_day / GB

    @property
    def record_bytes(self) -> float:
        """Bytes of a record on the wire, on average."""
        return self.bytes_per_day / self.records_per_day

    @property
    def rows_per_second(self) -> float:
        """Rows a second, on average."""
        return self.records_per_day / DAY_SECONDS

    @property
    def peak_rows_per_second(self) -> float:
        """Rows a second at the peak."""
        return self.rows_per_second * self.peak

    def peak_cores(self, *, with_postgres: bool) -> float:
        """Return the cores that are busy at the peak."""
        seconds = measured.cpu_seconds_per_row(
            self.record_bytes, with_postgres=with_postgres
        )
        return self.peak_rows_per_second * seconds

    def table_bytes_per_day(self) -> float:
        """Bytes of a day's rows on disk, without the indexes of closed days."""
        return self.records_per_day * measured.ROW_BYTES.at(self.record_bytes)

    def index_bytes_per_day(self, indexes: Indexes) -> float:
        """Bytes of the indexes that a day gets when it is closed."""
        a_row = 0.0
        if indexes.of_message:
            a_row += measured.MESSAGE_INDEX_BYTES.at(self.record_bytes)
        if indexes.of_attributes:
            a_row += measured.ATTRIBUTES_INDEX_BYTES.value
        return self.records_per_day * a_row

    def wal_bytes_per_day(self) -> float:
        """Bytes of WAL that PostgreSQL writes for a day's rows."""
        return self.records_per_day * measured.WAL_BYTES.at(self.record_bytes)


def load_of(
    *,
    gb_per_day: float | None,
    records_per_day: float | None,
    record_bytes: float | None,
    peak: float = USUAL_PEAK,
) -> Load:
    """Return the load that two of the three figures say; the usual record is 306 bytes.

    Raises:
        SettingsError: a figure is none, or they do not fit each other.
    """
    given = {
        "--gb-per-day": gb_per_day,
        "--records-per-day": records_per_day,
        "--record-bytes": record_bytes,
        "--peak": peak,
    }
    problems = [
        f"{flag} {value:g}: give a number above 0"
        for flag, value in given.items()
        if value is not None and not (math.isfinite(value) and value > 0)
    ]
    problems += [
        f"{flag} {value:g}: more than there is"
        for flag, value in given.items()
        if value is not None and MOST_A_DAY < value < math.inf
    ]
    if not problems and not 1 <= peak <= MOST_PEAK:
        problems.append(
            f"--peak {peak:g}: give how many times the average the peak is, 1 to 1000"
        )
    if problems:
        raise SettingsError(*problems)
    if gb_per_day is None:
        if records_per_day is None:
            raise SettingsError(
                "how much comes is not said: give --gb-per-day, such as 20, or"
                " --records-per-day and --record-bytes"
            )
        each = record_bytes or measured.USUAL_BYTES
        load = Load(records_per_day * each, records_per_day, peak)
    elif records_per_day is None:
        total = gb_per_day * GB
        load = Load(total, total / (record_bytes or measured.USUAL_BYTES), peak)
    elif record_bytes is None:
        load = Load(gb_per_day * GB, records_per_day, peak)
    else:
        raise SettingsError(
            "--gb-per-day, --records-per-day and --record-bytes: give two of them,"
            " the third follows"
        )
    _check_record(load)
    return load


def _check_record(load: Load) -> None:
    size = load.record_bytes
    if not math.isfinite(size) or size > MOST_RECORD_BYTES:
        raise SettingsError(
            f"a record of {size / 1024**2:,.0f} MiB: Penstock takes messages of up to"
            f" {MOST_RECORD_BYTES // 1024**2} MiB (max_frame_bytes); check"
            " --records-per-day and --record-bytes"
        )
    if round(size, 6) < LEAST_RECORD_BYTES:  # by two divisions it may be a hair less
        raise SettingsError(
            f"a record of {size:.3g} bytes: an empty one has"
            f" {LEAST_RECORD_BYTES} in msgpack; check --records-per-day and"
            " --record-bytes"
        )


def in_digits(value: float) -> str:
    """Return a number in four digits that count, and never as a power of ten."""
    return f"{float(f'{value:.4g}'):,.10g}"


def days_of(text: str) -> int:
    """Return the days that somebody wrote: 14, 14d, 2w, 1y.

    Raises:
        SettingsError: it is none, less than one, or more than the settings take.
    """
    found = _DAYS.fullmatch(text.strip())
    if found is None:
        raise SettingsError(
            f"--retention {text[:40]!r}: give whole days, weeks or years, such as 14d,"
            " 2w, 1y"
        )
    days = int(found[1]) * _DAYS_IN[(found[2] or "d")[0].lower()]
    if not 1 <= days <= MOST_DAYS:
        raise SettingsError(
            f"--retention {text.strip()}: {days:,} days; give 1 to {MOST_DAYS:,}"
        )
    return days
