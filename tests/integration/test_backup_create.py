"""`penstock backup create`: what is in a backup, and what is referred to."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import msgspec
import pytest

from penstock.backup.manifest import Manifest
from penstock.embedded import EmbeddedPostgres
from penstock.sink.sql import load_migrations
from tests.integration.conftest import Database, Here, run_async, run_penstock
from tests.integration.dump_parts import (
    Store,
    add,
    create,
    create_arguments,
    make_days,
    part_of,
    restored,
    wait_for_statement,
)
from tests.integration.upkeep_parts import add_rows, maintained
from tests.s3_server import S3

# PostgreSQL servers are started and restored meanwhile, three parts of tests at once.
pytestmark = pytest.mark.timeout(300)

# Of everything in a database, as text, whatever the order.
ALL_ROWS = "SELECT one::text FROM {table} AS one ORDER BY 1"
A_REJECTED_EVENT = (
    "INSERT INTO rejected_event (sender, tag, reason, raw) VALUES ('', '', '', '')"
)
ODD_THINGS = """
    CREATE TABLE "my notes" (id int PRIMARY KEY, note text);
    INSERT INTO "my notes" VALUES (1, 'mine');
    CREATE VIEW errors AS SELECT * FROM logs WHERE level >= 'ERROR';
    CREATE SCHEMA archive;
    CREATE TABLE archive.logs_20200101 PARTITION OF logs
        FOR VALUES FROM ('2020-01-01') TO ('2020-01-02');
    CREATE TABLE "we/ird ""day" PARTITION OF logs
        FOR VALUES FROM ('2020-02-01') TO ('2020-03-01');
    CREATE TABLE database PARTITION OF logs
        FOR VALUES FROM ('2020-03-01') TO ('2020-03-02');
    CREATE TABLE logs_20200401 PARTITION OF logs
        FOR VALUES FROM ('2020-04-01') TO ('2020-04-02') PARTITION BY LIST (tag);
    CREATE TABLE logs_20200401_a PARTITION OF logs_20200401 FOR VALUES IN ('a');
    CREATE TABLE logs_20200401_rest PARTITION OF logs_20200401 DEFAULT;
    CREATE TABLE logs_20200501 PARTITION OF logs
        FOR VALUES FROM ('2020-05-01') TO ('2020-05-02');
    INSERT INTO logs (id, ts, tag, level, message, attributes)
    SELECT n, day + n * interval '1 s', 'a', 'ERROR', E'a\\tb\\\\', '{"n": 1.50}'
    FROM unnest(ARRAY['2019-12-31', '2020-01-01', '2020-02-01', '2020-03-01',
        '2020-04-01', '2020-05-01']::timestamptz[]) AS day, generate_series(1, 3) AS n;
    INSERT INTO logs (id, ts, tag, attributes) VALUES
        (1, '2020-04-01 12:00Z', 'b', '{}'), (2, 'infinity', 'b', '{}'),
        (3, '0044-03-15 BC', 'b', '{}');
    ALTER TABLE logs DETACH PARTITION logs_20200501;
    INSERT INTO rejected_event (sender, tag, reason, raw)
    VALUES ('s', 't', 'r', '\\x00')
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def tables(database: Database) -> list[str]:
    """Return all tables with rows, but for those of which each holds a part."""
    return [
        name
        for (name,) in database.fetch(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace::regnamespace::text IN ('public', 'archive') ORDER BY 1"
        )
    ]


def execute(database: Database, statements: str) -> None:
    """Run several statements."""

    async def run() -> None:
        person = await asyncpg.connect(database.url)
        try:
            await person.execute(statements)
        finally:
            await person.close()

    run_async(run())


def test_a_restore_gives_back_all_there_was(
    here: Here, database: Database, postgres: EmbeddedPostgres, store: Store
):
    days = make_days(database, 0, 2, 3)
    execute(database, ODD_THINGS)
    made = create(here, database, store)
    for part in made.parts[:-1]:
        assert part.rows == database.value(f"SELECT count(*) FROM {part.table}")
    assert {part.table for part in made.parts} >= {
        *days,
        *("archive.logs_20200101", 'public."we/ird ""day"', "public.database"),
        *("logs_20200401_a", "logs_20200401_rest", "logs_default", "database"),
    }
    assert part_of(made, days[1]).day == days[1].removeprefix("logs_")
    assert part_of(made, "archive.logs_20200101").day is None
    assert made.rows == database.value("SELECT count(*) FROM logs")
    assert made.other_rows['public."my notes"'] == 1
    assert made.other_rows["public.logs_20200501"] == 3
    assert made.other_rows["public.rejected_event"] == 1
    with restored(postgres, store, made) as copy:
        assert tables(copy) == tables(database)
        for table in tables(database):
            rows = ALL_ROWS.format(table=table)
            assert copy.fetch(rows) == database.fetch(rows), table
        assert copy.fetch("SELECT * FROM errors") != []


# --- what is dumped, and what is referred to


def dumped(manifest: Manifest) -> set[str]:
    """Return the tables with rows that the backup has dumped itself."""
    return {
        part.table
        for part in manifest.parts
        if part.dumped_in == manifest.id and part.rows
    }


def test_a_sealed_day_is_dumped_once(
    here: Here, database: Database, postgres: EmbeddedPostgres, store: Store
):
    today, old, older = make_days(database, 0, 2, 3)
    first = create(here, database, store)
    assert dumped(first) == {today, old, older}
    for _ in range(2):
        later = create(here, database, store)
        assert dumped(later) == {today}
        assert part_of(later, old) == part_of(first, old)
    assert later.rows == 30
    assert later.own_bytes < later.size_bytes
    with restored(postgres, store, later) as copy:
        assert copy.value("SELECT count(*) FROM logs") == 30
    full = create(here, database, store, "--full")
    assert dumped(full) == {today, old, older}


def test_a_late_row_makes_its_day_be_dumped_again_and_no_other(
    here: Here, database: Database, postgres: EmbeddedPostgres, store: Store
):
    old, older = make_days(database, 2, 3)
    create(here, database, store)
    add(database, 3)
    second = create(here, database, store)
    assert dumped(second) == {older}
    assert part_of(second, older).rows == 11
    assert dumped(create(here, database, store)) == set()
    # As many go as come: only what is in the rows tells.
    execute(database, f"UPDATE {old} SET id = 99 WHERE id = 1")
    third = create(here, database, store)
    assert dumped(third) == {old}
    with restored(postgres, store, third) as copy:
        ids = copy.fetch(f"SELECT id FROM {old} ORDER BY id")
    assert ids == [(n,) for n in (*range(2, 11), 99)]


def test_lost_statistics_do_not_make_a_day_be_dumped_again(
    here: Here, database: Database, store: Store
):
    (old,) = make_days(database, 2)
    first = create(here, database, store)
    execute(database, "SELECT pg_stat_reset()")  # as a crash does
    second = create(here, database, store)
    assert dumped(second) == set()
    before, after = part_of(first, old), part_of(second, old)
    assert (before.key, before.sha256) == (after.key, after.sha256)
    assert before.fingerprint != after.fingerprint is not None
    assert dumped(create(here, database, store)) == set()


def test_a_row_that_no_statistics_tell_of_yet_is_in_the_backup(
    here: Here, database: Database, store: Store
):
    (old,) = make_days(database, 2)
    create(here, database, store)

    async def add_a_row_meanwhile() -> Manifest:
        """Of the second of two transactions a session tells ten seconds later.

        Or at its end. The row makes the table no larger.
        """
        person = await asyncpg.connect(database.url)
        await person.execute(A_REJECTED_EVENT)
        await add_rows(person, 2, 1)
        making = asyncio.create_task(asyncio.to_thread(make))
        # On a machine that stalls for a second it is told at once: nobody waits for it.
        words = "backend_type IS DISTINCT FROM"
        await wait_for_statement(database, words, unless=making.done)
        await person.close()
        return await making

    def make() -> Manifest:
        ended = run_penstock(*create_arguments(database, store))
        assert ended.returncode == 0, ended.stderr
        return store.manifest(ended.stdout.strip())

    assert part_of(run_async(add_a_row_meanwhile()), old).rows == 11


def test_frozen_pages_are_part_of_what_tells_a_change(
    here: Here, database: Database, store: Store
):
    (old,) = make_days(database, 2)
    execute(database, "CREATE EXTENSION pg_visibility")
    first = create(here, database, store)
    kept = part_of(first, old).fingerprint
    assert kept is not None
    assert kept.frozen_pages == kept.size_bytes // 8192 == 1

    assert dumped(create(here, database, store)) == set()
    execute(database, f"DELETE FROM {old} WHERE id = 1")
    assert dumped(create(here, database, store)) == {old}


def test_a_day_that_retention_has_dropped_is_in_the_backups_of_before(
    here: Here, database: Database, postgres: EmbeddedPostgres, store: Store
):
    today, old, older = make_days(database, 0, 2, 3)
    first = create(here, database, store)
    run_async(maintained(database, retention_max_age_days=2))
    second = create(here, database, store)
    assert {part.table for part in second.parts if part.rows} == {today, old}
    with restored(postgres, store, first) as copy:
        assert copy.value(f"SELECT count(*) FROM {older}") == 10


def test_a_part_that_has_gone_from_the_store_is_dumped_again(
    here: Here, database: Database, store: Store
):
    (old,) = make_days(database, 2)
    first = create(here, database, store)
    (store.path / part_of(first, old).key).unlink()
    ended = here(*create_arguments(database, store))
    assert "is not there" in ended.stderr
    assert dumped(store.manifest(ended.stdout.strip())) == {old}


def test_an_empty_database_can_be_backed_up_to_s3(
    here: Here, database: Database, s3: S3
):
    ended = here(
        *("backup", "create", "--database-url", database.url),
        *("--store", s3.url("a/b"), "-o", "json"),
    )
    assert ended.returncode == 0, ended.stderr
    made = msgspec.json.decode(ended.stdout, type=Manifest)
    assert made.rows == 0
    assert {part.table for part in made.parts} == {"logs_default", "database"}
    assert made.schema_version == len(load_migrations())
    assert "penstock_owner" in made.roles
    keys = set(s3.keys("a/b"))
    assert keys >= {f"a/b/{part.key}" for part in made.parts}
    assert f"a/b/backups/{made.id}/manifest.json" in keys
    assert s3.unfinished() == []


def test_ingest_goes_on_and_each_backup_is_one_moment(
    here: Here, database: Database, postgres: EmbeddedPostgres, store: Store
):
    """Each batch is a transaction of rows of two days and of a table beside."""
    make_days(database, 0, 1, rows=1)
    stop = threading.Event()
    batches = 0

    async def ingest() -> None:
        nonlocal batches
        person = await asyncpg.connect(database.url)
        while not stop.is_set():
            async with person.transaction():
                await add_rows(person, 0, 50)
                await add_rows(person, 1, 50)
                await person.execute(A_REJECTED_EVENT)
            batches += 1
        await person.close()

    with ThreadPoolExecutor(1) as thread:
        ingesting = thread.submit(asyncio.run, ingest())
        try:
            made, begun = [], []
            for _ in range(2):
                begun.append(batches)
                made.append(create(here, database, store))
        finally:
            stop.set()
        ingesting.result()
    seen = []
    for manifest in made:
        with restored(postgres, store, manifest) as copy:
            ((rows, rejected),) = copy.fetch(
                "SELECT count(*), (SELECT count(*) FROM rejected_event) FROM logs"
            )
        assert rows == 2 + 100 * rejected == manifest.rows
        assert manifest.other_rows["public.rejected_event"] == rejected
        seen.append(rejected)
    assert begun[0] <= seen[0] <= begun[1] <= seen[1] <= batches
    assert begun[0] < begun[1] < batches


def test_cron_has_nothing_to_write_a_mail_of_where_all_is_well(
    here: Here, database: Database, store: Store
):
    for quiet in (
        create_arguments(database, store, "--quiet"),
        ["backup", "prune", "--store", store.url, "--quiet"],
        ["backup", "verify", "--last", "--store", store.url, "--quiet"],
    ):
        ended = here(*quiet)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout
