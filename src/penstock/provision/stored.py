"""What lies on the data disk and in the backups' bucket, in bytes.

Owns the sums: days, WAL, spool, what closing a day needs; and in the bucket the dumps
by day that some kept backup refers to, base backups and archived WAL. It must not know
machines or prices.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from penstock.provision import measured
from penstock.provision.load import DAY_SECONDS, GIB, Indexes, Load

# `spool_max_bytes`, as it is by default.
SPOOL_BYTES: Final = 1 * GIB
# max_wal_size of deploy/compose/postgresql.conf is below it; then as much WAL as comes
# in six hours, a night without S3, during which nothing is lost and nobody is woken.
WAL_BYTES: Final = 4 * GIB
WAL_WAITS_SECONDS: Final = 6 * 3_600
# Prometheus with two weeks of metrics, Grafana, TLS, images' own state.
MONITORING_BYTES: Final = 3 * GIB
# A disk that is three quarters full has time for an alarm to be read.
MOST_FULL: Final = 0.75
STEP_GIB: Final = 10
LEAST_GIB: Final = 20

# Base backups are one a week, for any moment of the last 14 days (`backup schedule
# --base-on`): three, and WAL since the oldest.
KEPT_BASES: Final = 3
KEPT_WAL_DAYS: Final = 21
BASES_A_DAY: Final = 1 / 7
# What `prune` removes stays in the bucket as an old version (modules/storage).
NONCURRENT_DAYS: Final = 30
# Parts go to Intelligent-Tiering at 30 days, are at its second price 30 days after they
# were last read, and at its third after 90.
INFREQUENT_AFTER_DAYS: Final = 60
ARCHIVE_AFTER_DAYS: Final = 120
# A night at 02:15 UTC dumps yesterday, which is not closed yet, and two hours of today.
OPEN_DAYS_A_NIGHT: Final = 1.1
# A file of WAL is archived each minute even when nothing comes.
WAL_FILES_A_DAY: Final = 1_440
WAL_FILE_BYTES: Final = 16 * 1024**2
# The least there is (backup/s3_upload.py); of large objects they grow.
UPLOAD_PART_BYTES: Final = 8 * 1024**2
# The manifest, the lock, the schema, each night.
SMALL_UPLOADS_A_DAY: Final = 4


@dataclass(frozen=True, slots=True)
class Keeping:
    """How many backups are kept: daily, weekly, monthly; whether WAL is archived."""

    daily: int = 7
    weekly: int = 5
    monthly: int = 12
    has_wal: bool = True


@dataclass(frozen=True, slots=True)
class Disk:
    """What lies on the data disk, in bytes, and how large it has to be."""

    days_bytes: float
    working_bytes: float

    @property
    def used_bytes(self) -> float:
        """All of it."""
        return self.days_bytes + self.working_bytes

    @property
    def gib(self) -> int:
        """The disk's size: no more than three quarters full, in steps of 10 GiB."""
        wanted = self.used_bytes / GIB / MOST_FULL
        return max(LEAST_GIB, -int(-wanted // STEP_GIB) * STEP_GIB)


@dataclass(frozen=True, slots=True)
class Dumped:
    """Of how many days there are dumps, by how cheap S3 keeps them."""

    standard: int
    infrequent: int
    archive: int

    @property
    def days(self) -> int:
        """All of them."""
        return self.standard + self.infrequent + self.archive


@dataclass(frozen=True, slots=True)
class Bucket:
    """What lies in the bucket, in bytes by price, and the uploads of a month."""

    dumped: Dumped
    dump_bytes: float
    infrequent_bytes: float
    archive_bytes: float
    base_bytes: float
    wal_bytes: float
    puts_a_month: float

    @property
    def total_bytes(self) -> float:
        """All of it."""
        cheap = self.infrequent_bytes + self.archive_bytes
        return self.dump_bytes + cheap + self.base_bytes + self.wal_bytes


def disk_of(load: Load, days: int, indexes: Indexes, *, with_penstock: bool) -> Disk:
    """Return what lies on the disk of the database.

    Args:
        with_penstock: its spool is on the same disk, and the monitoring's data.
    """
    indexed = load.index_bytes_per_day(indexes)
    # Retention drops whole days: today is on the disk besides.
    kept = (days + 1) * (load.table_bytes_per_day() + indexed)
    # An index is built beside what is there, out of sorted files of about its size.
    working = indexed + WAL_BYTES
    working += load.wal_bytes_per_day() * WAL_WAITS_SECONDS / DAY_SECONDS
    if with_penstock:
        working += SPOOL_BYTES + MONITORING_BYTES
    return Disk(kept, working)


def most_days(load: Load, indexes: Indexes, gib: int, *, with_penstock: bool) -> int:
    """Return how many days a disk of so many GiB holds; 0 where it holds none."""
    nothing = disk_of(load, 0, indexes, with_penstock=with_penstock)
    a_day = nothing.days_bytes
    room = gib * GIB * MOST_FULL - nothing.working_bytes
    return max(0, int(room / a_day) - 1)


def bucket_of(load: Load, days: int, indexes: Indexes, keeping: Keeping) -> Bucket:
    """Return what lies in the bucket when the oldest kept backup has come of age."""
    dumped = days_dumped(days, keeping)
    day_bytes = load.table_bytes_per_day() * measured.DUMP_SHARE.value
    # A closed day is stored once, whatever refers to it; open ones with each backup.
    nights = keeping.daily + keeping.weekly + keeping.monthly + NONCURRENT_DAYS
    dump_bytes = (dumped.standard + nights * OPEN_DAYS_A_NIGHT) * day_bytes
    uploads = day_bytes * (1 + OPEN_DAYS_A_NIGHT) / UPLOAD_PART_BYTES
    uploads += SMALL_UPLOADS_A_DAY
    base_bytes = wal_bytes = 0.0
    if keeping.has_wal:
        rows = load.table_bytes_per_day() + load.index_bytes_per_day(indexes)
        a_base = (days + 1) * rows * measured.BASE_SHARE.value
        base_bytes = (KEPT_BASES + NONCURRENT_DAYS * BASES_A_DAY) * a_base
        wal_day = load.wal_bytes_per_day()
        wal_days = KEPT_WAL_DAYS + NONCURRENT_DAYS
        wal_bytes = wal_days * wal_day * measured.WAL_SHARE.value
        uploads += max(WAL_FILES_A_DAY, wal_day / WAL_FILE_BYTES)
        uploads += a_base * BASES_A_DAY / UPLOAD_PART_BYTES
    return Bucket(
        dumped,
        dump_bytes,
        dumped.infrequent * day_bytes,
        dumped.archive * day_bytes,
        base_bytes,
        wal_bytes,
        uploads * 30,
    )


def days_dumped(days: int, keeping: Keeping) -> Dumped:
    """Return of how many days dumps lie in the bucket, because a backup refers to them.

    Each kept backup holds the days before it that the database then had.
    """
    # Any day will do that is a month's last: only distances count.
    today = date(2026, 12, 31)
    nights = {today - timedelta(n) for n in range(max(1, keeping.daily))}
    sunday = today + timedelta(6 - today.weekday())
    nights |= {min(today, sunday - timedelta(7 * n)) for n in range(keeping.weekly)}
    nights |= {_months_before(today, n) for n in range(keeping.monthly)}
    # Those in the database are read by each Sunday's check, and stay at the full price.
    infrequent = max(INFREQUENT_AFTER_DAYS, days)
    archive = max(ARCHIVE_AFTER_DAYS, days)
    counts = [0, 0, 0]
    seen = 0  # ages below it are counted
    for night in sorted(nights, reverse=True):
        first = (today - night).days
        first, end = max(first, seen), first + days
        for place, (low, high) in enumerate(
            ((0, infrequent), (infrequent, archive), (archive, end))
        ):
            counts[place] += max(0, min(end, high) - max(first, low))
        seen = max(seen, end)
    return Dumped(*counts)


def _months_before(today: date, months: int) -> date:
    year, month = divmod(today.year * 12 + today.month - months, 12)
    return date(year, month + 1, 1) - timedelta(1)
