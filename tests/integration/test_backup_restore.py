"""A restore brings back what was backed up, row by row, and nothing is lost by it."""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from penstock.backup.programs import find_programs
from penstock.backup.stores import open_store
from penstock.embedded import EmbeddedPostgres
from penstock.errors import DatabaseUnavailableError
from penstock.sink.migrations import migrate
from penstock.sink.sql import load_blocks, load_migrations
from tests import msgpack_bytes as m
from tests.backup_history import manifest, put_all
from tests.integration.backup_parts import (
    DAYS,
    ODD_TAG,
    back_up,
    changed,
    claimed_chunk,
    contents,
    copied,
    downloaded,
    execute,
    fill,
    put,
    rows_of,
    schema,
    session,
)
from tests.integration.conftest import (
    PATIENCE_SECONDS,
    Database,
    Here,
    Program,
    batch_of,
    clean_environment,
    create_database,
    drop_database,
    new_home,
    penstock,
    run_async,
    store_in,
    the_line,
    wait_until,
)
from tests.s3_server import S3

# PostgreSQL servers are started and restored meanwhile, three parts of tests at once.
pytestmark = pytest.mark.timeout(300)

BACKUPS = "backups-of-logs"
LATER = "99991231T235959Z-0000"
DAY = DAYS[1]
TABLE = f"logs_{DAY}"
ODD_ROWS = f"SELECT count(*) FROM logs WHERE tag = E'{ODD_TAG}'".replace("\\.", "\\\\.")

TRIGGER = """
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN new.host := 'changed'; RETURN new; END $$;
CREATE TRIGGER change BEFORE INSERT ON logs FOR EACH ROW EXECUTE FUNCTION change();
"""


class Backup(NamedTuple):
    """A backup in S3 and a copy of it in a directory, and the database it is of."""

    id: str
    s3: S3
    store: str
    source: Database

    @property
    def in_s3(self) -> "Backup":
        """The same, to be restored over HTTP."""
        return self._replace(store=self.s3.url(BACKUPS))

    def restore(self, *more: str) -> tuple[str, ...]:
        """Return the command that restores it, with these arguments."""
        return ("backup", "restore", self.id, "--store", self.store, *more)

    def into(self, target: Database, *more: str) -> tuple[str, ...]:
        """Return the command that restores it into a database."""
        return self.restore("--to-database-url", target.url, *more)


@pytest.fixture(scope="module")
def backup(
    postgres: EmbeddedPostgres,
    template: str,
    module_s3: S3,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Backup]:
    """A backup of a database with rows of each kind."""
    source = create_database(postgres, template)
    fill(source)
    run_async(store_in(source, claimed_chunk()))
    made = back_up(source, module_s3.url(BACKUPS))
    store = downloaded(module_s3, BACKUPS, tmp_path_factory.mktemp("store"))
    yield Backup(made, module_s3, store, source)
    drop_database(source)


@pytest.fixture
def used(postgres: EmbeddedPostgres, backup: Backup) -> Iterator[Database]:
    """A copy of the database that was backed up, as it is in use."""
    made = create_database(postgres, backup.source.name)
    yield made
    drop_database(made)


def restored(here: Here, *arguments: str) -> str:
    """Run a restore that succeeds; return what it has said on stderr."""
    ended = here(*arguments)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("restored ")
    return ended.stderr


# --- into an empty database


def test_a_whole_restore_into_an_empty_database_equals_the_source(
    here: Here, backup: Backup, empty_database: Database
):
    restored(here, *backup.in_s3.into(empty_database))
    assert contents(empty_database) == contents(backup.source)
    assert schema(empty_database) == schema(backup.source)
    # Rows of a sealed day are frozen as the seal leaves them.
    assert empty_database.value("SELECT count(*) FROM penstock_day") == 1


def test_a_chunk_that_was_stored_before_the_backup_is_not_stored_after_its_restore(
    here: Here, backup: Backup, empty_database: Database
):
    restored(here, *backup.into(empty_database))
    before = empty_database.value("SELECT count(*) FROM logs")
    run_async(store_in(empty_database, claimed_chunk()))
    assert empty_database.value("SELECT count(*) FROM logs") == before
    run_async(store_in(empty_database, batch_of(m.entry({"n": 2}))))
    assert empty_database.value("SELECT count(*) FROM logs") == before + 1


def test_a_fresh_data_directory_gets_a_server_that_goes_on(here: Here, backup: Backup):
    home = new_home()  # not tmp_path, which another run of the tests closes
    directory = str(home / "data")
    restored(here, *backup.restore("--data-dir", directory))
    up = Program(("up", "--data-dir", directory, "--port", "0", "--http-port", "0"), {})
    try:
        up.wait_ready()
        found = here(
            *("sql", "--data-dir", directory, "-o", "csv"),
            "SELECT count(*) FROM logs WHERE tag = 'app'",
        )
        assert found.stdout.split() == ["count", "601"], found.stderr
    finally:
        up.stop()
        shutil.rmtree(home)


def test_some_days_into_an_empty_database_come_without_claims_of_other_rows(
    here: Here, backup: Backup, empty_database: Database
):
    said = restored(here, *backup.into(empty_database, "--day", DAY))
    assert "without rejected events, claims of chunks" in said
    assert rows_of(empty_database, "logs") == rows_of(backup.source, TABLE)
    assert empty_database.value("SELECT count(*) FROM ingest_chunk") == 0


def test_a_database_with_somebody_elses_tables_is_refused(
    here: Here, backup: Backup, empty_database: Database
):
    empty_database.fetch("CREATE TABLE theirs ()")
    line = the_line(here(*backup.into(empty_database)), 1)
    assert "holds tables that are not Penstock's (theirs)" in line
    assert empty_database.value("SELECT to_regclass('logs')") is None


def test_a_backup_of_an_older_schema_is_migrated_after_its_restore(
    here: Here, postgres: EmbeddedPostgres, module_s3: S3, empty_database: Database
):
    source = create_database(postgres, "template0")
    older = load_migrations()[:7]
    statements = [load_blocks("migrations")["create_schema_table"]]
    for each in older:
        name = each.name
        statements += [
            each.statements.rstrip().removesuffix(";"),
            f"INSERT INTO penstock_schema VALUES ({each.version}, '{name}')",
        ]
    for statement in statements:
        run_async(execute(source.url, statement))
    store = module_s3.url("older")
    back_up(source, store)
    drop_database(source)
    said = restored(
        here,
        *("backup", "restore", "latest", "--store", store),
        *("--to-database-url", empty_database.url),
    )
    assert "applied 0008 reading" in said
    newest = load_migrations()[-1].version
    assert empty_database.value("SELECT max(version) FROM penstock_schema") == newest


# --- into a database in use


def test_a_day_that_was_dropped_comes_back_and_the_rest_is_untouched(
    here: Here, backup: Backup, used: Database
):
    before = contents(used)
    used.fetch(f"DROP TABLE {TABLE}")
    used.fetch(
        "INSERT INTO logs_default (id, ts, tag, attributes)"
        " VALUES (77, '1990-01-01', 'new', '{}')"
    )
    restored(here, *backup.into(used, "--day", DAY))
    after = contents(used)
    assert after[TABLE] == before[TABLE]
    assert len(after.pop("logs_default")) == len(before.pop("logs_default")) + 1
    assert after == before


def test_the_latest_of_a_store_that_others_share_is_of_the_database_restored_into(
    here: Here, backup: Backup, tmp_path: Path
):
    store = downloaded(backup.s3, BACKUPS, tmp_path)
    theirs = manifest(datetime(2026, 11, 1, tzinfo=UTC), [], own_id=LATER)
    put_all(open_store(store), [theirs])
    latest = ("backup", "restore", "latest", "--store", store, "--day", DAY)
    ended = here(*latest, "--to-database-url", backup.source.url)
    assert ended.stdout.startswith(f"restored {backup.id} into")
    assert "their rows are there already" in ended.stderr


def test_a_day_with_other_rows_is_refused_and_what_would_be_lost_is_said(
    here: Here, backup: Backup, used: Database
):
    used.fetch(f"DELETE FROM {TABLE} WHERE id % 2 = 0")
    used.fetch(
        f"INSERT INTO {TABLE} SELECT 9000 + id, ts, 'late', level, service, host,"
        f" message, attributes FROM {TABLE} ORDER BY id LIMIT 12"
    )
    before = contents(used)
    line = the_line(here(*backup.into(used, "--day", DAY)), 1)
    assert f"{TABLE} holds 192 rows" in line
    assert "12 of them not in the backup" in line
    assert "--replace deletes them" in line
    assert contents(used) == before
    restored(here, *backup.into(used, "--day", DAY, "--replace"))
    assert rows_of(used, TABLE) == rows_of(backup.source, TABLE)


def test_rows_of_the_day_that_came_while_it_had_no_table_are_not_lost_unsaid(
    here: Here, backup: Backup, used: Database
):
    used.fetch(f"DROP TABLE {TABLE}")
    late = "INSERT INTO logs (id, ts, tag, attributes) VALUES (88, $1, 'late', '{}')"
    used.fetch(late, datetime(2025, 11, 27, 10, tzinfo=UTC))
    line = the_line(here(*backup.into(used, "--day", DAY)), 1)
    assert f"logs_default, of the day {DAY}, holds 1 row" in line
    assert "1 of them not in the backup" in line
    assert used.value("SELECT count(*) FROM logs WHERE tag = 'late'") == 1
    assert used.value(f"SELECT to_regclass('{TABLE}')") is None


def test_a_day_that_is_as_in_the_backup_is_let_alone(
    here: Here, backup: Backup, used: Database
):
    number = used.value(f"SELECT pg_relation_filenode('{TABLE}')")
    before = contents(used)
    said = restored(here, *backup.into(used))
    assert "their rows are there already" in said
    assert contents(used) == before
    assert used.value(f"SELECT pg_relation_filenode('{TABLE}')") == number


def test_a_day_that_has_more_than_the_backup_is_let_alone(
    here: Here, backup: Backup, used: Database
):
    late = "INSERT INTO logs (id, ts, tag, attributes) VALUES (88, $1, 'late', '{}')"
    used.fetch(late, datetime(2025, 11, 27, 10, tzinfo=UTC))
    restored(here, *backup.into(used))
    assert used.value(f"SELECT count(*) FROM {TABLE}") == 361


def test_a_trigger_of_somebodys_changes_no_row_that_is_restored(
    here: Here, backup: Backup, used: Database
):
    before = rows_of(used, TABLE)
    run_async(execute(used.url, TRIGGER))
    command = backup.into(used, "--day", DAY, "--replace")
    used.fetch(f"DELETE FROM {TABLE}")
    restored(here, *command)
    assert rows_of(used, TABLE) == before
    used.fetch(f"DELETE FROM {TABLE} WHERE tag = 'app'")
    restored(here, *command, "--tag", "app")
    assert rows_of(used, TABLE) == before


def test_a_sealed_day_that_is_replaced_is_to_be_sealed_again(
    here: Here, backup: Backup, used: Database
):
    used.fetch(f"DELETE FROM logs_{DAYS[0]} WHERE id = 1")
    restored(here, *backup.into(used, "--day", DAYS[0], "--replace"))
    assert used.value("SELECT count(*) FROM penstock_day") == 0


def test_one_tag_comes_back_and_rows_of_others_stay_as_they_are(
    here: Here, backup: Backup, used: Database
):
    used.fetch(f"DELETE FROM logs_{DAYS[0]}")
    used.fetch(f"DROP TABLE {TABLE}")
    used.fetch(f"UPDATE logs_{DAYS[2]} SET message = 'kept' WHERE tag = 'app'")
    used.fetch(f"DELETE FROM logs_{DAYS[2]} WHERE tag <> 'app'")
    kept = used.fetch("SELECT * FROM logs WHERE tag <> $1 ORDER BY id", ODD_TAG)
    restored(here, *backup.into(used, "--tag", ODD_TAG))
    of_tag = "SELECT * FROM logs WHERE tag = $1 ORDER BY id"
    assert used.fetch(of_tag, ODD_TAG) == backup.source.fetch(of_tag, ODD_TAG)
    assert used.fetch("SELECT * FROM logs WHERE tag <> $1 ORDER BY id", ODD_TAG) == kept


def test_rows_of_the_tag_that_are_there_are_replaced_only_when_told_to(
    here: Here, backup: Backup, used: Database
):
    used.fetch("UPDATE logs SET message = 'other' WHERE tag = $1", ODD_TAG)
    command = backup.into(used, "--tag", ODD_TAG, "--day", DAY)
    line = the_line(here(*command), 1)
    assert f"{TABLE} holds 120 rows of tag" in line
    assert "120 of them not in the backup" in line
    restored(here, *command, "--replace")
    assert rows_of(used, TABLE) == rows_of(backup.source, TABLE)


def test_rows_outside_of_days_are_added_where_they_are_missing_and_to_their_days(
    here: Here, backup: Backup, used: Database
):
    used.fetch("DELETE FROM logs_default WHERE id < -2")
    used.fetch(
        "CREATE TABLE old PARTITION OF logs"
        " FOR VALUES FROM ('1998-12-31') TO ('1998-12-31 12:00')"
    )
    restored(here, *backup.into(used))
    assert rows_of(used, "logs") == rows_of(backup.source, "logs")


def test_ingest_of_the_day_that_is_restored_goes_on(backup: Backup, used: Database):
    used.fetch(f"DROP TABLE {TABLE}")
    with session(used) as holder:
        holder("BEGIN")
        holder("LOCK TABLE penstock_day IN EXCLUSIVE MODE")
        with started(*backup.into(used, "--day", DAY)) as process:
            wait_until(lambda: is_waiting(used), "the restore is about to commit")
            late = (
                "INSERT INTO logs (id, ts, tag, attributes) VALUES (88, $1, 'a', '{}')"
            )
            used.fetch(late, datetime(2025, 11, 27, 10, tzinfo=UTC))
            run_async(store_in(used, batch_of(m.entry({"n": 1}))))
            holder("ROLLBACK")
            assert process.wait(PATIENCE_SECONDS) == 0
    assert used.value(f"SELECT count(*) FROM {TABLE}") == 361


# --- interrupted


def hold_note(holder: object, backup: Backup, step: str) -> None:
    """Let a restore wait at the end of the step's transaction."""
    assert callable(holder)
    holder(
        "CREATE TABLE IF NOT EXISTS penstock_restore (backup text NOT NULL, step text"
        " NOT NULL, done bigint NOT NULL, at timestamptz NOT NULL DEFAULT now(),"
        " PRIMARY KEY (backup, step))"
    )
    holder("BEGIN")
    holder(f"INSERT INTO penstock_restore VALUES ('{backup.id}', '{step}', 0)")


def is_waiting(database: Database) -> bool:
    """Whether a session of this database waits for another one's lock."""
    waiting = database.value(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock'"
    )
    return bool(waiting)


def started(*arguments: str) -> subprocess.Popen[str]:
    """Start a command that is going to be stopped."""
    return subprocess.Popen(
        penstock(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
        start_new_session=True,
    )


@contextlib.contextmanager
def stopped_at(
    backup: Backup, target: Database, step: str, number: signal.Signals
) -> Iterator[subprocess.Popen[str]]:
    """Start a restore and stop it at the end of a step, before its COMMIT."""
    with session(target) as holder:
        hold_note(holder, backup, step)
        with started(*backup.into(target, "--backup-jobs", "1")) as process:
            wait_until(lambda: is_waiting(target), f"it waits at {step}")
            os.kill(process.pid, number)
            process.wait(PATIENCE_SECONDS)
            yield process
        holder("ROLLBACK")


def test_a_restore_that_was_killed_or_stopped_goes_on_and_ends_equal(
    here: Here, backup: Backup, empty_database: Database
):
    backup = backup.in_s3
    with stopped_at(backup, empty_database, "pre-data", signal.SIGKILL):
        pass
    with stopped_at(backup, empty_database, TABLE, signal.SIGINT) as process:
        assert process.returncode == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""
    # Of half a restore nobody makes the half of another one.
    line = the_line(here(*backup.into(empty_database, "--day", DAY)), 1)
    assert "has begun and not ended" in line
    with pytest.raises(DatabaseUnavailableError, match="has begun and not ended"):
        run_async(migrate(empty_database.url))  # as `up` and `serve` do
    with stopped_at(backup, empty_database, "post-data", signal.SIGKILL):
        pass
    said = restored(here, *backup.into(empty_database))
    assert f"logs_{DAYS[0]}" in said  # which a run before has restored
    assert contents(empty_database) == contents(backup.source)
    assert schema(empty_database) == schema(backup.source)


def test_a_full_disk_is_said_and_the_same_command_goes_on(
    here: Here, backup: Backup, used: Database
):
    for day in DAYS:
        used.fetch(f"DELETE FROM logs_{day}")
    used.fetch(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN RAISE EXCEPTION 'could not extend file: No space left on device'"
        " USING ERRCODE = 'disk_full'; END $$"
    )
    used.fetch(
        f"CREATE TRIGGER full_disk BEFORE INSERT ON logs_{DAYS[2]}"
        " FOR EACH ROW EXECUTE FUNCTION full_disk()"
    )
    used.fetch(f"ALTER TABLE logs_{DAYS[2]} ENABLE ALWAYS TRIGGER full_disk")
    command = backup.into(used, "--backup-jobs", "1")
    line = the_line(here(*command), 3)
    assert "has no room left" in line
    assert "the same command goes on" in line
    used.fetch("DROP FUNCTION full_disk CASCADE")
    said = restored(here, *command)
    assert f"logs_{DAYS[0]}, {TABLE}" in said
    assert rows_of(used, "logs") == rows_of(backup.source, "logs")


# --- what the store holds is not what was stored


def flipped(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def halved(body: bytes) -> bytes:
    return body[: len(body) // 2]


@pytest.fixture(scope="module")
def spoiled(backup: Backup) -> Backup:
    """The backup with each of its parts spoiled in a way of its own."""
    store = copied(backup.s3, BACKUPS, "spoiled")

    def spoil(manifest: dict[str, Any]) -> None:
        parts = {each["table"]: each for each in manifest["parts"]}
        keys = {table: f"spoiled/{each['key']}" for table, each in parts.items()}
        first, second, third = (f"logs_{day}" for day in DAYS)
        put(backup.s3, keys[first], flipped(backup.s3.body(keys[first])))
        put(backup.s3, keys[second], halved(backup.s3.body(keys[second])))
        backup.s3.client().delete_object(Bucket=backup.s3.bucket, Key=keys[third])
        # As if it had been cut before it was stored: its size and sum are right.
        body = backup.s3.body(keys["logs_default"])[:-10]
        put(backup.s3, keys["logs_default"], body)
        parts["logs_default"]["size_bytes"] = len(body)
        parts["logs_default"]["sha256"] = hashlib.sha256(body).hexdigest()

    changed(backup.s3, "spoiled", backup.id, spoil)
    return backup._replace(store=store)


def test_a_part_that_is_not_what_was_stored_is_named_and_changes_nothing(
    here: Here, spoiled: Backup, used: Database
):
    for day in DAYS:
        used.fetch(f"DELETE FROM logs_{day} WHERE id % 2 = 0")
    before = contents(used)
    for day, words in zip(DAYS, ("is corrupted", "bytes", "is not there"), strict=True):
        line = the_line(here(*spoiled.into(used, "--day", day, "--replace")), 1)
        assert f"parts/logs_{day}-{spoiled.id}.dump" in line
        assert words in line
        assert contents(used) == before


def test_a_dump_that_was_cut_before_it_was_stored_is_found_too(
    here: Here, backup: Backup, spoiled: Backup, used: Database
):
    line = the_line(here(*spoiled.into(used)), 1)
    assert f"parts/logs_default-{spoiled.id}.dump" in line
    assert "is no whole dump" in line
    assert contents(used) == contents(backup.source)


def test_names_of_columns_in_a_dump_are_no_statements(
    here: Here, backup: Backup, used: Database, empty_database: Database
):
    # An empty table whose column is what would be run after the names of columns.
    empty_database.fetch(
        "CREATE TABLE logs_default"
        ' ("id) SELECT 1 WHERE false; CREATE TABLE got_in () --" text)'
    )
    hostile = find_programs(18).run("pg_dump", ["--format=custom"], empty_database.url)
    store = copied(backup.s3, BACKUPS, "hostile")

    def put_in(manifest: dict[str, Any]) -> None:
        (part,) = (p for p in manifest["parts"] if p["table"] == "logs_default")
        body = hostile.stdout
        put(backup.s3, f"hostile/{part['key']}", body)
        part.update(rows=0, checksum="0", size_bytes=len(body))
        part.update(sha256=hashlib.sha256(body).hexdigest())

    changed(backup.s3, "hostile", backup.id, put_in)
    here(*backup._replace(store=store).into(used))
    assert used.fetch("SELECT 1 FROM pg_class WHERE relname = 'got_in'") == []


# --- what cannot be


def test_what_cannot_be_restored_is_said_in_one_line(
    here: Here, backup: Backup, empty_database: Database
):
    absent = backup._replace(id="20200101T000000Z-0000")
    assert "there is no backup" in the_line(here(*absent.into(empty_database)), 1)
    command = backup.into(empty_database, "--day", "20200101")
    assert "has no day 20200101; it has" in the_line(here(*command), 1)
    nowhere = here(*backup.restore())
    assert nowhere.returncode == 2
    assert "give one of --to-database-url and --data-dir" in nowhere.stderr
    away = backup.restore("--to-database-url", "postgresql://127.0.0.1:1/none")
    assert "cannot use the database" in the_line(here(*away), 3)
    assert empty_database.fetch("SELECT 1 FROM pg_class WHERE relname = 'logs'") == []


def test_a_manifest_of_a_later_penstock_is_refused(
    here: Here, backup: Backup, empty_database: Database
):
    store = copied(backup.s3, BACKUPS, "later")
    changed(backup.s3, "later", backup.id, lambda each: each.update(schema_version=99))
    later = backup._replace(store=store)
    line = the_line(here(*later.into(empty_database)), 1)
    assert "has schema version 99" in line
    changed(backup.s3, "later", backup.id, lambda each: each.update(format=9))
    assert "has format 9" in the_line(here(*later.into(empty_database)), 1)
