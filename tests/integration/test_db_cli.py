"""`penstock db`: the schema, brought up to date or shown."""

import re
from pathlib import Path

from penstock.embedded import running_url
from penstock.sink.sql import load_migrations
from tests.integration.conftest import Database, Here, the_line

KNOWN = load_migrations()
SECRET = "hunter2"


def test_migrate_says_what_it_has_applied_and_then_that_there_is_nothing(
    here: Here, empty_database: Database
) -> None:
    ended = here("db", "migrate", "--database-url", empty_database.url)
    assert ended.returncode == 0
    assert ended.stdout == "".join(
        f"applied {each.version:04} {each.name}\n" for each in KNOWN
    )
    again = here("db", "migrate", PENSTOCK_DATABASE_URL=empty_database.url)
    assert (again.returncode, again.stdout) == (0, "up to date\n")
    assert empty_database.value("SELECT count(*) FROM logs") == 0


def test_status_shows_what_is_pending_and_what_was_applied_when(
    here: Here, empty_database: Database
) -> None:
    status = ("db", "status", "--database-url", empty_database.url)
    pending = here(*status).stdout.splitlines()
    assert [line.split() for line in pending] == [
        [f"{each.version:04}", each.name, "pending"] for each in KNOWN
    ]
    here("db", "migrate", "--database-url", empty_database.url)
    applied = here(*status).stdout.splitlines()
    assert len(applied) == len(KNOWN)
    for line, each in zip(applied, KNOWN, strict=True):
        assert re.fullmatch(
            rf"{each.version:04} {each.name} +\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC",
            line,
        )


def test_status_shows_what_a_newer_penstock_has_applied(
    here: Here, database: Database
) -> None:
    database.fetch("INSERT INTO penstock_schema (version, name) VALUES (9999, 'new')")
    ended = here("db", "status", "--database-url", database.url)
    assert ended.stdout.splitlines()[-1].startswith("9999 new ")
    migrated = here("db", "migrate", "--database-url", database.url)
    assert migrated.returncode == 0
    assert migrated.stdout == "up to date\n"


def test_a_database_out_of_reach_is_told_in_one_line(here: Here) -> None:
    url = f"postgresql://me:{SECRET}@127.0.0.1:1/logs"
    for command in ("migrate", "status"):
        line = the_line(here("db", command, "--database-url", url), 3)
        assert "127.0.0.1:1" in line
        assert SECRET not in line


def test_a_database_that_cannot_hold_every_text_is_refused(
    here: Here, empty_database: Database
) -> None:
    name = f"{empty_database.name}_latin1"
    empty_database.administer(
        f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
    )
    url = empty_database.url.replace(empty_database.name, name)
    line = the_line(here("db", "migrate", "--database-url", url), 3)
    assert "LATIN1" in line and "UTF8" in line


def test_it_works_on_a_data_directory_where_nothing_runs(
    here: Here, home: Path
) -> None:
    data_dir = home / "data"
    ended = here("db", "migrate", "--data-dir", str(data_dir))
    assert ended.stdout.startswith("applied 0001 ")
    assert running_url(data_dir) is None
    ended = here("db", "status", PENSTOCK_DATA_DIR=str(data_dir))
    assert "pending" not in ended.stdout


def test_without_a_command_it_says_which_there_are(here: Here) -> None:
    ended = here("db")
    assert ended.returncode == 2
    for name in ("migrate", "status"):
        assert name in ended.stdout + ended.stderr
