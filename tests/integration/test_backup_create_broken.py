"""`penstock backup create` where something fails: one line, and nothing half-made."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import pytest

from penstock.backup.lock import store_lock
from penstock.backup.stores import open_store
from penstock.embedded import EmbeddedPostgres, url_as
from tests.integration.conftest import (
    Database,
    Here,
    clean_environment,
    penstock,
    run_async,
    run_penstock,
    the_line,
    wait_until,
)
from tests.integration.dump_parts import (
    HOLD_DATABASE,
    HOLD_DAYS,
    Store,
    create,
    create_arguments,
    fake_pg_dump,
    held,
    make_days,
    outcome,
    part_of,
    restored,
    with_password,
)
from tests.integration.upkeep_parts import maintained
from tests.s3_server import S3

# PostgreSQL servers are started and restored meanwhile, three parts of tests at once.
pytestmark = pytest.mark.timeout(300)

MIB = 1024 * 1024


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A directory for a program in the place of pg_dump."""
    return tmp_path / "fake"


def test_a_pg_dump_that_dies_half_way_leaves_nothing(
    here: Here, database: Database, s3: S3, fake: Path
):
    make_days(database, 0)
    # More than a part of an upload: S3 has some of it already.
    pg_bin = fake_pg_dump(
        fake,
        '[ $is_day = no ] && exec "$real" "$@"\n'
        "head -c 12000000 /dev/urandom\n"
        "echo 'pg_dump: warning: it is late' >&2\n"
        "echo 'pg_dump: error: Dumping the table failed: PQgetResult() failed.' >&2\n"
        "echo 'pg_dump: detail: Error message from server: ERROR:  bad block' >&2\n"
        "echo 'pg_dump: detail: Command was: COPY secret TO stdout;' >&2\n"
        "exit 3\n",
    )
    arguments = ("--database-url", database.url, "--store", s3.url())
    ended = here("backup", "create", *arguments, "--backup-pg-bin", pg_bin)
    line = the_line(ended, 1)
    assert "pg_dump of logs_" in line
    assert line.endswith(
        "failed: Dumping the table failed: PQgetResult() failed. detail: Error message"
        " from server: ERROR: bad block (exit code 3)"
    )
    assert s3.keys() == ["lock.json"]
    assert s3.unfinished() == []
    # Nobody is kept out.
    assert here("backup", "create", *arguments).returncode == 0


def test_a_pg_dump_older_than_the_server_is_said_at_once(
    here: Here, database: Database, store: Store, fake: Path
):
    pg_bin = fake_pg_dump(fake, "exit 1\n")
    (fake / "pg_dump").write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 14.2'\n")
    ended = here(*create_arguments(database, store, "--backup-pg-bin", pg_bin))
    line = the_line(ended, 1)
    assert f"{fake}/pg_dump is of PostgreSQL 14.2, older than the server" in line
    assert "install postgresql-client-18 or newer" in line
    assert store.keys() == []


def test_a_directory_without_pg_dump_is_said(
    here: Here, database: Database, store: Store, tmp_path: Path
):
    ended = here(
        *create_arguments(database, store, "--backup-pg-bin", str(tmp_path / "none"))
    )
    assert f"there is no pg_dump in {tmp_path}/none" in the_line(ended, 1)


def test_the_second_of_two_is_told_who_is_at_it(
    here: Here, database: Database, store: Store
):
    with store_lock(open_store(store.url), "prune"):
        line = the_line(here(*create_arguments(database, store)), 1)
    assert f"penstock backup prune (pid {os.getpid()} on " in line
    assert store.keys() == ["lock.json"]


def test_a_lock_that_is_lost_meanwhile_ends_it_without_a_backup(
    database: Database, store: Store, fake: Path
):
    make_days(database, 0)
    with held(fake, HOLD_DAYS, database, store) as process:
        (store.path / "lock.json").write_text("{}")
    code, stdout, stderr = outcome(process)
    assert (code, stdout) == (1, "")
    assert "the lock of" in stderr
    assert store.keys() == ["lock.json"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_leaves_nothing(
    number: int, database: Database, store: Store, fake: Path, tmp_path: Path
):
    make_days(database, 0)
    metrics = tmp_path / "penstock.prom"
    telling = ("--backup-metrics-file", str(metrics))
    with held(fake, HOLD_DAYS, database, store, *telling) as process:
        process.send_signal(number)
        assert outcome(process) == (130, "", "")
    assert 'failure_timestamp_seconds{command="create"}' in metrics.read_text()
    assert store.keys() == ["lock.json"]
    with store_lock(open_store(store.url), "test"):
        pass  # it is free


def test_ctrl_c_in_the_middle_of_an_upload_leaves_nothing(
    database: Database, s3: S3, fake: Path
):
    make_days(database, 0, 1)
    pg_bin = fake_pg_dump(
        fake,
        '[ $is_day = no ] && exec "$real" "$@"\n'
        'echo $$ >> "$here/pids"\n'
        "head -c 12000000 /dev/urandom\n"
        "sleep 1000\n",
    )
    process = subprocess.Popen(
        penstock(
            *("backup", "create", "--database-url", database.url),
            *("--store", s3.url(), "--backup-pg-bin", pg_bin),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(**s3.environment),
    )
    wait_until(
        lambda: len(s3.unfinished()) >= 2 or process.poll() is not None,
        "parts of both days are in S3",
    )
    process.send_signal(signal.SIGINT)
    code, stdout, stderr = outcome(process)
    assert (code, stdout, stderr) == (130, "", "")
    assert s3.keys() == ["lock.json"]
    assert s3.unfinished() == []
    pids = [int(pid) for pid in (fake / "pids").read_text().split()]
    assert len(pids) == 2
    wait_until(lambda: not any(map(psutil.pid_exists, pids)), "pg_dump has gone")
    with store_lock(open_store(s3.url()), "test"):
        pass  # it is free


def test_a_database_that_is_lost_in_the_middle_is_one_line(
    database: Database, store: Store, fake: Path
):
    make_days(database, 0, 1)
    with held(fake, HOLD_DAYS, database, store) as process:
        with database.out_of_reach():
            (fake / "go").touch()
            code, stdout, stderr = outcome(process)
    assert (code, stdout) == (3, ""), stderr
    (line,) = stderr.splitlines()
    assert line.startswith("penstock: cannot use the database postgresql://")
    assert store.keys() == ["lock.json"]


def test_a_database_out_of_reach_is_one_line(
    here: Here, database: Database, store: Store
):
    with database.out_of_reach():
        line = the_line(here(*create_arguments(database, store)), 3)
    assert line.startswith("penstock: cannot use the database postgresql://")
    assert store.keys() == []


def test_a_day_that_is_dropped_meanwhile_is_left_out_and_said(
    database: Database, postgres: EmbeddedPostgres, store: Store, fake: Path
):
    today, old, older = make_days(database, 0, 2, 3)
    with held(fake, HOLD_DAYS, database, store) as process:
        run_async(maintained(database, retention_max_age_days=2))
    code, stdout, stderr = outcome(process)
    assert code == 0, stderr
    said = f"penstock: {older} was dropped while the backup was made; it is not in it"
    assert said in stderr.splitlines()
    made = store.manifest(stdout.strip())
    assert made.left_out == (older,)
    assert {part.table for part in made.parts if part.rows} == {today, old}
    assert not [key for key in store.keys("parts/") if older in key]
    with restored(postgres, store, made) as copy:
        assert copy.value("SELECT count(*) FROM logs") == 20


def test_a_table_that_is_dropped_at_the_very_beginning_makes_it_begin_anew(
    database: Database, store: Store, fake: Path
):
    today, old, _ = make_days(database, 0, 2, 3)
    with held(fake, HOLD_DATABASE, database, store) as process:
        run_async(maintained(database, retention_max_age_days=2))
    code, stdout, stderr = outcome(process)
    assert code == 0, stderr
    assert "a table was dropped just when the backup had begun; it begins" in stderr
    made = store.manifest(stdout.strip())
    assert made.left_out == ()
    assert {part.table for part in made.parts if part.rows} == {today, old}
    assert len(store.keys("parts/")) == len(made.parts)


def test_a_login_that_may_not_read_all_is_told_what_and_how(
    here: Here, login: Database, store: Store
):
    make_days(login._replace(url=url_as(login.url, "postgres")), 0)
    line = the_line(here(*create_arguments(login, store)), 3)
    name = f"server_{login.name}"
    assert f"{name} may not read public.ingest_chunk" in line
    assert f"GRANT pg_read_all_data TO {name} " in line
    assert store.keys() == ["lock.json"]
    login.administer(f"GRANT pg_read_all_data TO {name}")
    assert create(here, login, store).rows == 10


def test_a_database_without_our_schema_is_one_line(
    here: Here, empty_database: Database, store: Store
):
    line = the_line(here(*create_arguments(empty_database, store)), 3)
    assert "has no schema of Penstock's" in line
    assert store.keys() == ["lock.json"]


def test_a_store_that_cannot_be_written_is_one_line(
    here: Here, database: Database, s3: S3, tmp_path: Path
):
    (tmp_path / "file").write_text("")
    for url in (f"{tmp_path.as_uri()}/file/store", "s3://there-is-none-of-it"):
        arguments = ("--database-url", database.url, "--store", url)
        the_line(here("backup", "create", *arguments), 3)


def test_a_table_that_is_locked_for_long_is_named(
    database: Database, store: Store, fake: Path
):
    pg_bin = fake_pg_dump(fake, 'exec "$real" "$@" --lock-wait-timeout=100\n')
    arguments = create_arguments(database, store, "--backup-pg-bin", pg_bin)

    async def while_locked() -> subprocess.CompletedProcess[str]:
        person = await asyncpg.connect(database.url)
        try:
            async with person.transaction():
                await person.execute("LOCK TABLE rejected_event")
                return await asyncio.to_thread(run_penstock, *arguments)
        finally:
            await person.close()

    line = the_line(run_async(while_locked()), 3)
    assert "public.rejected_event is locked by somebody" in line
    assert store.keys() == ["lock.json"]


def test_a_password_is_in_no_list_of_processes(
    here: Here, database: Database, store: Store, fake: Path
):
    password = "it's a:se\\cret/@ 100%"
    pg_bin = fake_pg_dump(
        fake,
        'tr "\\0" "\\n" < /proc/$$/cmdline >> "$here/seen"\n'
        'tr "\\0" "\\n" < /proc/$$/environ >> "$here/seen"\n'
        'for each in "$@"; do case "$each" in --dbname=*)\n'
        '    cat "${each##*passfile=}" > "$here/passfile" ;;\n'
        'esac; done\nexec "$real" "$@"\n',
    )
    hidden = database._replace(url=with_password(database.url, password))
    create(here, hidden, store, "--backup-pg-bin", pg_bin)
    seen = (fake / "seen").read_text()
    assert "--dbname=postgresql://postgres@/" in seen
    assert "cret" not in seen
    # As libpq wants it: colons and backslashes escaped.
    line = (fake / "passfile").read_text()
    assert line == "*:*:*:*:it's a\\:se\\\\cret/@ 100%\n"


# Of a process started by a small one: what a large one has starts as large.
MEASURED = (
    "import resource, subprocess, sys;"
    "code = subprocess.run(sys.argv[1:]).returncode;"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr);"
    "sys.exit(code)"
)


def test_memory_is_flat_however_large_a_day_is(
    database: Database, store: Store, fake: Path
):
    make_days(database, 0)
    pg_bin = fake_pg_dump(
        fake,
        f'[ $is_day = no ] && exec "$real" "$@"\nhead -c {128 * MIB} /dev/zero\n',
    )
    arguments = create_arguments(database, store, "--backup-pg-bin", pg_bin)
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED, *penstock(*arguments)],
        capture_output=True,
        text=True,
        env=clean_environment(),
    )
    assert ended.returncode == 0, ended.stderr
    assert store.manifest(ended.stdout.strip()).size_bytes > 128 * MIB
    assert int(ended.stderr.splitlines()[-1]) * 1024 < 90 * MIB


def test_metrics_tell_of_success_and_of_failure(
    here: Here, database: Database, store: Store, tmp_path: Path
):
    metrics = tmp_path / "backup.prom"
    named = ("--backup-metrics-file", str(metrics))
    create(here, database, store, *named)
    assert "penstock_backup_last_success_timestamp_seconds" in metrics.read_text()
    with store_lock(open_store(store.url), "prune"):
        here(*create_arguments(database, store, *named))
    said = metrics.read_text()
    assert 'last_failure_timestamp_seconds{command="create"}' in said
    assert "penstock_backup_last_success_timestamp_seconds" in said


def test_on_a_terminal_a_bar_tells_bytes_parts_and_rows(
    database: Database, store: Store
):
    make_days(database, 0)
    ours, terminal = pty.openpty()
    with os.fdopen(ours, "rb") as screen:
        ended = subprocess.run(
            penstock(*create_arguments(database, store)),
            stdout=subprocess.PIPE,
            stderr=terminal,
            text=True,
            env=clean_environment(TERM="xterm", COLUMNS="100"),
        )
        os.close(terminal)
        shown = b""
        try:
            while piece := os.read(screen.fileno(), 65536):
                shown += piece
        except OSError:  # Linux's end of a terminal
            pass
    assert ended.returncode == 0
    made = store.manifest(ended.stdout.strip())
    parts = len(made.parts)
    assert f"{parts}/{parts} parts, 10 rows," in shown.decode()
    assert "MiB sent" in shown.decode()
    assert part_of(made, "database").rows == 0
