"""Turns WAL archiving on: settings, and the wait for the first segment in the store.

It owns the order: nothing is changed before all that can be checked is, and what does
not work is turned off again, since WAL that cannot be archived fills the server's disk.
It must not start a server, nor know barman.
"""

import asyncio
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg

from penstock.backup.physical import UNREACHED, Physical
from penstock.backup.sql import load_blocks
from penstock.backup.store import Store
from penstock.backup.wal_segment import OF_BARMAN, archive_segment
from penstock.errors import BackupError, StoreError
from penstock.postgres.archiver import NO_COMMANDS

# What a disk that dies takes along at most, where little is written: a segment is
# archived when it is this old, full or not. Each costs half a second of a core and, as
# S3 counts, a fifth of a dollar a month; compressed, one that is empty is 16 kB.
ARCHIVE_TIMEOUT_SECONDS: Final = 60
# PostgreSQL's own word for archiving nothing, and throwing nothing away (19.5.3).
NO_COMMAND: Final = "true"
_RELOAD_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1
_NOT_FOUND, _NOT_LET = 127, 126
_EXIT: Final = re.compile(r"exit (\d+)")
_LOST_CREDENTIALS: Final = re.compile(
    "credentials|AccessDenied|Forbidden|InvalidAccess"
)


class Said(NamedTuple):
    """What a program has said that the server ran."""

    user: str
    exit_code: int
    last_line: str


@dataclass(slots=True)
class Enabled:
    """What came of it."""

    changed: list[str] = field(default_factory=list)
    # Not empty: settings that only a restart brings; nothing is archived until then.
    needs_restart: list[str] = field(default_factory=list)
    first_wal: str = ""
    was_tried_as_server: bool = True


def wanted_settings(physical: Physical) -> dict[str, str]:
    """Return the settings of a server whose WAL is archived."""
    return {
        "wal_level": "replica",
        "archive_mode": "on",
        "archive_timeout": str(ARCHIVE_TIMEOUT_SECONDS),
        "archive_command": physical.archive_command(),
    }


async def try_as_server(connection: asyncpg.Connection, command: str) -> Said | None:
    """Run a shell command as the server does; None where the login may not.

    It is the account and the environment that count: boto3's variables, ~/.aws.
    """
    blocks = _blocks()
    # What is no ASCII, or no text, COPY would not take.
    program = (
        f"{{ id -un; {command}; echo \"exit $?\"; }} 2>&1 | tr -cd '\\11\\12\\40-\\176'"
    )
    try:
        await connection.execute(blocks["said"])
        await connection.execute(await connection.fetchval(blocks["say"], program))
    except asyncpg.InsufficientPrivilegeError:
        return None
    lines = [row["line"] or "" for row in await connection.fetch(blocks["heard"])]
    ended = _EXIT.fullmatch(lines[-1]) if lines else None
    if ended is None:
        raise BackupError("the server runs a program and its end is not told")
    between = [line for line in lines[1:-1] if line.strip()]
    complaints = [found[1] for line in between if (found := OF_BARMAN.search(line))]
    last = complaints[0] if complaints else between[-1] if between else ""
    return Said(lines[0], int(ended[1]), last)


def refuse_unless_done(said: Said, physical: Physical) -> None:
    """See that the server can do what was tried as itself.

    Raises:
        BackupError: it cannot, and why.
        StoreError: the store is out of reach.
    """
    if said.exit_code == 0:
        return
    program = physical.archive_program
    if said.exit_code == _NOT_FOUND:
        raise BackupError(f"there is no {program} where PostgreSQL runs")
    if said.exit_code == _NOT_LET:
        raise BackupError(
            f"user {said.user}, who runs PostgreSQL, may not run {program}:"
            " install barman where others may pass, and name it with backup_barman_bin"
        )
    mend = ""
    if _LOST_CREDENTIALS.search(said.last_line):
        mend = (
            ". It sees neither this shell's variables nor another account's ~/.aws:"
            " give the machine an instance role, or start PostgreSQL (`penstock up`)"
            " with AWS_ACCESS_KEY_ID and its kin"
        )
    kind = StoreError if UNREACHED.search(said.last_line) else BackupError
    raise kind(
        f"user {said.user}, who runs PostgreSQL, cannot archive to {physical.place}:"
        f" {said.last_line}{mend}"
    )


async def archive_history(connection: asyncpg.Connection, physical: Physical) -> None:
    """Archive how this server's timeline came about, if a recovery has begun it.

    PostgreSQL does so when it begins, and a restored one archived nothing then. From
    that file on the archive is known to be this server's.

    Raises:
        BackupError: it cannot be archived.
    """
    path = await connection.fetchval(_blocks()["history"])
    if path is not None:
        said = await try_as_server(connection, physical.archive_one(path))
        if said is not None:
            refuse_unless_done(said, physical)


async def enable(
    connection: asyncpg.Connection, physical: Physical, store: Store, log: Path | None
) -> Enabled:
    """Set what is to be set, and wait until a segment is in the store.

    Args:
        log: the server's, where it is known.

    Raises:
        BackupError: it does not work; archiving is as it was before.
    """
    enabled = Enabled()
    wanted = wanted_settings(physical)
    before = await _settings(connection)
    if before["archive_library"].setting:
        raise BackupError(
            f"archive_library is {before['archive_library'].setting!r}, and PostgreSQL"
            " takes only one of it and archive_command: reset it first"
        )
    if before["wal_level"].setting in ("replica", "logical"):
        del wanted["wal_level"]
    for name, value in wanted.items():
        if before[name].setting != value:
            await _alter(connection, name, value)
            enabled.changed.append(f"{name} = {value}")
    after = await _reloaded(connection, wanted)
    enabled.needs_restart = [name for name in wanted if after[name].pending_restart]
    if enabled.needs_restart:
        return enabled
    for name, value in wanted.items():
        if after[name].setting != value:
            raise BackupError(
                f"{name} stays {after[name].setting!r}: it is set by"
                f" {after[name].source}, which ALTER SYSTEM does not change; set it"
                " there (`penstock backup wal-enable --print`)"
            )
    try:
        enabled.first_wal = await _first_segment(connection, physical, store, log)
    except BackupError:
        old = before["archive_command"].setting
        was_on = old not in NO_COMMANDS
        await _alter(connection, "archive_command", old if was_on else NO_COMMAND)
        await connection.fetchval(_blocks()["reload"])
        raise
    return enabled


async def disable(connection: asyncpg.Connection) -> None:
    """Archive no more. archive_mode stays: to change it takes a restart.

    Raises:
        BackupError: the login may not.
    """
    await _alter(connection, "archive_command", NO_COMMAND)
    await _alter(connection, "archive_timeout", None)
    await connection.fetchval(_blocks()["reload"])


async def _first_segment(
    connection: asyncpg.Connection, physical: Physical, store: Store, log: Path | None
) -> str:
    try:
        segment = await archive_segment(connection, log)
    except BackupError as error:
        raise BackupError(f"archiving is off again: {error}") from error
    key = f"{physical.wal_prefix}{segment[:16]}/{segment}"
    if any(True for _ in store.entries(key)):
        return segment
    raise BackupError(
        f"PostgreSQL says that it has archived {segment}, and {physical.place} does"
        " not have it: is its endpoint another than this shell's?"
    )


class _Setting(NamedTuple):
    setting: str
    pending_restart: bool
    source: str


async def _settings(connection: asyncpg.Connection) -> dict[str, _Setting]:
    rows = await connection.fetch(_blocks()["settings"])
    return {
        row["name"]: _Setting(row["setting"], row["pending_restart"], row["source"])
        for row in rows
    }


async def _reloaded(
    connection: asyncpg.Connection, wanted: dict[str, str]
) -> dict[str, _Setting]:
    """Have the settings read, and return them when they are as wanted, or stay so."""
    await connection.fetchval(_blocks()["reload"])
    give_up = time.monotonic() + _RELOAD_SECONDS
    while True:
        found = await _settings(connection)
        if all(
            found[name].setting == value or found[name].pending_restart
            for name, value in wanted.items()
        ):
            return found
        if time.monotonic() > give_up:
            return found
        await asyncio.sleep(_POLL_SECONDS)


async def _alter(connection: asyncpg.Connection, name: str, value: str | None) -> None:
    blocks = _blocks()
    try:
        if value is None:
            statement = await connection.fetchval(blocks["reset"], name)
        else:
            statement = await connection.fetchval(blocks["alter"], name, value)
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError as error:
        raise BackupError(
            f"this login may not ALTER SYSTEM SET {name}: be a superuser, or have what"
            " `penstock backup wal-enable --print` says set by one"
        ) from error


def _blocks() -> dict[str, str]:
    return load_blocks("wal")
