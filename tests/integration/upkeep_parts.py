"""Databases to be maintained: days with rows, and what they look like afterwards."""

import time
from typing import Any

import asyncpg

from penstock.settings import MaintenanceSettings, PartitionSettings
from penstock.sink.maintenance import maintain
from penstock.sink.maintenance_report import MaintenanceReport
from penstock.sink.maintenance_round import Upkeep
from penstock.sink.partitions import DAY_SECONDS, Partitions, day_name
from tests.integration.conftest import Database

PARTITION_SETTINGS = set(PartitionSettings.__dataclass_fields__)


def clock() -> float:
    """Return the time: a run may begin on one day and end on the next."""
    return time.time()


def this_day() -> int:
    """Return the number of this day."""
    return int(clock() // DAY_SECONDS)


def named(days_ago: int) -> str:
    """Return the name of a day's partition."""
    return f"logs_{day_name(this_day() - days_ago)}"


def upkeep(**settings: Any) -> Upkeep:
    """Return the settings of maintenance: the defaults, but for those given."""
    of_days = {k: v for k, v in settings.items() if k in PARTITION_SETTINGS}
    others = {k: v for k, v in settings.items() if k not in PARTITION_SETTINGS}
    return Upkeep(PartitionSettings(**of_days), MaintenanceSettings(**others))


async def maintained(
    database: Database, *, now_seconds: float = 0, dry: bool = False, **settings: Any
) -> MaintenanceReport:
    """Maintain a database once."""
    now_seconds = now_seconds or clock()
    return await maintain(
        database.url, upkeep(**settings), now_seconds=now_seconds, is_dry_run=dry
    )


async def make_day(
    person: asyncpg.Connection, days_ago: int, rows: int = 10, fill: int = 0
) -> str:
    """Make a day's partition with rows in it; return its name."""
    await Partitions(PartitionSettings()).make(person, day_name(this_day() - days_ago))
    await add_rows(person, days_ago, rows, fill)
    return named(days_ago)


async def add_rows(
    person: asyncpg.Connection, days_ago: int, rows: int, fill: int = 0
) -> None:
    """Add rows of a day, wherever they go."""
    await person.execute(
        "INSERT INTO logs (id, ts, tag, message, attributes) SELECT n,"
        " to_timestamp($1::float8) + n * interval '1 ms', 't',"
        " 'message number ' || n || repeat('x', $3), jsonb_build_object('n', n)"
        " FROM generate_series(1, $2::int) AS n",
        float((this_day() - days_ago) * DAY_SECONDS),
        rows,
        fill,
    )


async def make_period(person: asyncpg.Connection, hours_ago: int) -> str:
    """Make the period of claims that began so many hours before this one."""
    row = await person.fetchrow(
        "SELECT starts, starts + interval '6 hours' AS ends,"
        " to_char(starts AT TIME ZONE 'UTC', '\"ingest_chunk_\"YYYYMMDDHH24') AS name"
        " FROM (SELECT date_bin('6 hours', now(), '2020-01-01 00:00+00')"
        " - make_interval(hours => $1) AS starts) AS period",
        hours_ago,
    )
    assert row is not None
    name: str = row["name"]
    await person.execute(
        f"CREATE TABLE {name} PARTITION OF ingest_chunk"
        f" FOR VALUES FROM ('{row['starts']}') TO ('{row['ends']}')"
    )
    return name


async def partitions_of(person: asyncpg.Connection, table: str) -> list[str]:
    """Return the names of a table's partitions."""
    rows = await person.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
        " WHERE inhparent = $1::regclass ORDER BY 1",
        table,
    )
    return [row["name"] for row in rows]


async def valid_indexes(person: asyncpg.Connection, table: str) -> list[str]:
    """Return the kinds of a table's indexes that queries can use."""
    rows = await person.fetch(
        "SELECT amname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " JOIN pg_am ON pg_am.oid = relam"
        " WHERE indrelid = $1::regclass AND indisvalid ORDER BY 1",
        table,
    )
    return [row["amname"] for row in rows]
