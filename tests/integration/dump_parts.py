"""Backups to be made in tests: what is in them, and pg_dumps that do odd things."""

import asyncio
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import asyncpg

from penstock.backup.manifest import Manifest, Part, decode
from penstock.backup.programs import Programs, find_programs
from penstock.embedded import EmbeddedPostgres
from tests.integration.conftest import (
    Database,
    Here,
    clean_environment,
    create_database,
    drop_database,
    penstock,
    run_async,
    wait_until,
)
from tests.integration.upkeep_parts import add_rows, maintained, make_day, named

SERVER_MAJOR = 18


def real_programs() -> Programs:
    """Return the programs that backups are made with here."""
    return find_programs(SERVER_MAJOR)


class Store(NamedTuple):
    """A directory of backups."""

    path: Path

    @property
    def url(self) -> str:
        return self.path.as_uri()

    def keys(self, under: str = "") -> list[str]:
        """Return the names of the objects, as a store tells them."""
        found = [each for each in self.path.rglob("*") if each.is_file()]
        names = [each.relative_to(self.path).as_posix() for each in found]
        return sorted(
            name
            for name in names
            if name.startswith(under) and not name.startswith(".")
        )

    def manifest(self, backup_id: str) -> Manifest:
        path = self.path / "backups" / backup_id / "manifest.json"
        return decode(path.read_bytes(), str(path))


def create_arguments(database: Database, store: Store, *more: str) -> list[str]:
    """Return what makes a backup, on the command line."""
    return [
        *("backup", "create", "--database-url", database.url),
        *("--store", store.url, *more),
    ]


def create(here: Here, database: Database, store: Store, *more: str) -> Manifest:
    """Make a backup; return its manifest."""
    ended = here(*create_arguments(database, store, *more))
    assert ended.returncode == 0, ended.stderr
    return store.manifest(ended.stdout.strip())


def part_of(manifest: Manifest, table: str) -> Part:
    """Return the part of a table."""
    (part,) = [part for part in manifest.parts if part.table == table]
    return part


def make_days(database: Database, *days_ago: int, rows: int = 10) -> list[str]:
    """Make days with rows in them, sealed if they are closed; return their names."""
    run_async(_make_days(database, days_ago, rows))
    return [named(each) for each in days_ago]


async def _make_days(database: Database, days_ago: tuple[int, ...], rows: int) -> None:
    person = await asyncpg.connect(database.url)
    try:
        for each in days_ago:
            await make_day(person, each, rows)
    finally:
        await person.close()
    await maintained(database)


def add(database: Database, days_ago: int, rows: int = 1) -> None:
    """Add rows to a day."""

    async def adding() -> None:
        person = await asyncpg.connect(database.url)
        try:
            await add_rows(person, days_ago, rows)
        finally:
            await person.close()

    run_async(adding())


@contextmanager
def restored(
    postgres: EmbeddedPostgres, store: Store, manifest: Manifest
) -> Iterator[Database]:
    """Restore a backup by pg_restore alone into a database of its own."""
    programs = real_programs()
    name = f"restored_{manifest.id.lower().replace('-', '_')}"
    database = create_database(postgres, "template0", name)
    try:
        in_order = sorted(manifest.parts, key=lambda part: part.table != "database")
        for part in in_order:
            ended = programs.run(
                "pg_restore",
                ["--exit-on-error", "--single-transaction", str(store.path / part.key)],
                database.url,
            )
            assert ended.returncode == 0, ended.stderr.decode()
        yield database
    finally:
        drop_database(database)


# --- programs in the place of pg_dump

PREAMBLE = """#!/bin/sh
real={real}
here={here}
# What is asked of its version, and how it can compress.
case "$*" in *--snapshot=*) ;; *) exec "$real" "$@" ;; esac
is_day=no
for each in "$@"; do
    case "$each" in --data-only) is_day=yes ;; esac
done
"""


def fake_pg_dump(directory: Path, script: str) -> str:
    """Put a script in the place of pg_dump; return what --backup-pg-bin takes.

    It finds $real, which is pg_dump, $here, the directory, and $is_day: of a day, or of
    the database.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "pg_dump"
    real = real_programs().bin_dir / "pg_dump"
    path.write_text(PREAMBLE.format(real=real, here=directory) + script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(directory)


# Each of those that hold waits for a file to be there.
HOLD = """
touch "$here/waits"
while ! [ -e "$here/go" ]; do sleep 0.02; done
exec "$real" "$@"
"""
HOLD_DAYS = f'[ $is_day = no ] && exec "$real" "$@"\n{HOLD}'
HOLD_DATABASE = f'[ $is_day = yes ] && exec "$real" "$@"\n{HOLD}'


@contextmanager
def held(
    directory: Path, script: str, database: Database, store: Store, *more: str
) -> Iterator["subprocess.Popen[str]"]:
    """Make a backup as a process, whose pg_dump is the script and waits.

    After the block it goes on; `outcome` tells how it has ended.
    """
    arguments = create_arguments(database, store, *more)
    pg_bin = fake_pg_dump(directory, script)
    process = subprocess.Popen(
        penstock(*arguments, "--backup-pg-bin", pg_bin),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    try:
        wait_until((directory / "waits").exists, "pg_dump is run")
        yield process
        (directory / "go").touch()
    except BaseException:
        process.kill()
        process.communicate()
        raise


def outcome(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Return how it ended: exit code, stdout, stderr."""
    stdout, stderr = process.communicate(timeout=30)
    return process.returncode, stdout, stderr


def with_password(url: str, password: str) -> str:
    """Return a database's URL with a password in it."""
    scheme, _, rest = url.partition("://")
    user, _, place = rest.rpartition("@")
    return f"{scheme}://{user}:{quote(password, safe='')}@{place}"


async def wait_for_statement(
    database: Database, words: str, unless: Callable[[], bool] = lambda: False
) -> None:
    """Wait until somebody in the database runs a statement with these words."""

    def is_there() -> bool:
        found = database.administer(
            f"SELECT FROM pg_stat_activity WHERE datname = '{database.name}'"
            f" AND query LIKE '%{words}%'"
        )
        return bool(found) or unless()

    await asyncio.to_thread(wait_until, is_there, f"somebody runs {words}")
