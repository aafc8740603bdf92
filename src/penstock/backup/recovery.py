"""Restores a cluster to a moment: its base backup, and the WAL from there on.

It owns the order, and that nothing is left of a restore that fails. What is in the
store is not written to: the restored server archives nothing until it is told to. It
must not know barman, nor read the environment.
"""

import asyncio
import math
import os
import pwd
import shlex
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from penstock.amounts import amount
from penstock.backup.physical import (
    BaseBackup,
    Physical,
    base_before,
    tablespace_beside,
)
from penstock.backup.recovery_files import (
    Goal,
    begin_recovery,
    end_recovery,
    last_commit,
    last_segment,
    reached_end_of_wal,
    replayed_segments,
    stopped_at,
    why_not_fetched,
)
from penstock.backup.sql import load_blocks
from penstock.backup.store import Store
from penstock.backup.target_time import in_words, parse_target_time
from penstock.backup.timelines import (
    gap_since,
    refuse_without_beginning,
    timeline_at,
)
from penstock.embedded import EmbeddedPostgres, let_run
from penstock.embedded.account import Account, choose_account, give_tree
from penstock.embedded.directory import DataDirectory
from penstock.embedded.programs import Programs
from penstock.errors import BackupError, EmbeddedPostgresError
from penstock.postgres.connection import LOST_ERRORS, connect
from penstock.postgres.words import describe

_WATCH_SECONDS: Final = 0.5
_SYSTEM_USER: Final = "postgres"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What came of a restore to a moment."""

    directory: Path
    base: BaseBackup
    # None: to the end of what is archived.
    moment: datetime | None
    # False: the archive ends before the moment, and so does what was restored.
    is_reached: bool = True
    # A segment that the archive lacks, though it has later ones: what ended it.
    gap: str = ""
    # The last commit that is there, and the first that is not, as far as is known.
    last_commit: datetime | None = None
    next_commit: datetime | None = None
    segments: int = 0
    size_bytes: int = 0  # of the database
    # What the person does next, a shell's command each.
    commands: tuple[str, ...] = ()


def restore_to_time(
    to_time: str,
    physical: Physical,
    store: Store,
    *,
    data_dir: Path | None = None,
    pgdata: Path | None = None,
    environment: Mapping[str, str],
    say: Say,
) -> Restored:
    """Restore the cluster as it was at a moment, into a directory that holds nothing.

    Args:
        to_time: a time with its zone, or `latest`.
        data_dir: for the embedded PostgreSQL, which is started, recovers, is looked at
            and stopped.
        pgdata: in its place, for another PostgreSQL: it gets the files and the settings
            of its recovery, and is started by somebody else.
        environment: what the server needs to reach the store.
        say: is told what is being done, in a line.

    Raises:
        SettingsError: the time is none, or has not come yet.
        BackupError: nothing can be restored to that time, or the directory holds
            something, or the recovery has failed.
        StoreError: the store is out of reach.
    """
    moment = parse_target_time(to_time, datetime.now(UTC))
    target = data_dir if pgdata is None else pgdata
    assert target is not None
    _refuse_filled(target)
    base, goal = _choose(physical, store, moment)
    say(f"base backup {base.id}, which ended {_shown(base.ended_at)}")
    if pgdata is not None:
        return _files_only(pgdata, physical, base, goal, say)
    directory = DataDirectory.at(target)
    with _leaving_nothing(directory.root):
        restored = _embedded(directory, physical, base, goal, environment, say)
        if restored.is_reached and moment is not None:
            return restored
        last = last_segment(_read(directory.log))
        gap = gap_since(last, physical, store, goal.timeline or base.timeline)
        return replace(restored, gap=gap, is_reached=restored.is_reached and not gap)


def _choose(
    physical: Physical, store: Store, moment: datetime | None
) -> tuple[BaseBackup, Goal]:
    bases = physical.bases()
    oldest = min((base.timeline for base in bases), default=1)
    timeline = timeline_at(physical, store, moment, oldest)
    base = base_before(bases, moment, timeline)
    if base is not None:
        if timeline > base.timeline:
            refuse_without_beginning(physical, store, base.timeline, timeline)
        return base, Goal(moment, timeline if timeline > base.timeline else None)
    ends = [each.ended_at for each in bases if each.ended_at and each.is_complete]
    if not ends or moment is None:
        raise BackupError(
            f"there is no base backup in {physical.place}, so nothing to restore from:"
            " `penstock backup base` makes one"
        )
    raise BackupError(
        f"nothing before {in_words(min(ends))} can be restored, when the first base"
        f" backup in {physical.place} ended, and {in_words(moment)} is before that"
    )


def _refuse_filled(directory: Path) -> None:
    try:
        holds = sorted(each.name for each in directory.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise BackupError(
            f"{directory} cannot be restored into: {error.strerror}"
        ) from error
    if holds:
        raise BackupError(
            f"{directory} holds something ({holds[0]}), and a restore goes only where"
            " nothing is: name another directory, or empty it yourself"
        )


@contextmanager
def _leaving_nothing(directory: Path) -> Iterator[None]:
    """Remove all that the block has put there, if it fails."""
    was_there = directory.exists()
    try:
        yield
    except BaseException:
        if was_there:
            for each in directory.iterdir():
                if each.is_dir() and not each.is_symlink():
                    shutil.rmtree(each, ignore_errors=True)
                else:
                    each.unlink(missing_ok=True)
        else:
            shutil.rmtree(directory, ignore_errors=True)
        raise


# --- the embedded PostgreSQL


def _embedded(
    directory: DataDirectory,
    physical: Physical,
    base: BaseBackup,
    goal: Goal,
    environment: Mapping[str, str],
    say: Say,
) -> Restored:
    directory.create()
    account = choose_account(directory.pgdata)
    _refuse_unfit(base, account)
    let_run(directory.root, Path(physical.archive_program))
    fresh = directory.new_pgdata
    say(f"fetching it into {directory.pgdata}")
    physical.restore(base, fresh)
    if not (fresh / "penstock.conf").exists():
        raise BackupError(
            f"{base.id} is of a PostgreSQL that Penstock did not make: restore it with"
            " --pgdata, to be run by its own programs"
        )
    spool = directory.root / "wal"
    spool.mkdir(mode=0o700)
    for tree in (fresh, spool):
        give_tree(tree, account)
    fresh.rename(directory.pgdata)
    command = physical.restore_command(base, spool)
    with _told(directory.log, say):
        is_reached, size_bytes = _recover(directory, command, goal, environment)
    end_recovery(directory.pgdata)
    shutil.rmtree(spool, ignore_errors=True)
    log = _read(directory.log)
    return Restored(
        directory=directory.root,
        base=base,
        moment=goal.moment,
        is_reached=is_reached,
        last_commit=last_commit(log),
        next_commit=stopped_at(log),
        segments=replayed_segments(log),
        size_bytes=size_bytes,
        commands=(f"penstock up --data-dir {shlex.quote(str(directory.root))}",),
    )


def _recover(
    directory: DataDirectory,
    restore_command: str,
    goal: Goal,
    environment: Mapping[str, str],
) -> tuple[bool, int]:
    """Recover, look at what is there, and stop: whether it is all, and its size."""
    server = EmbeddedPostgres(
        directory.root,
        holder="restore",
        environment=environment,
        start_limit_seconds=math.inf,
    )
    is_reached = True
    try:
        begin_recovery(directory.pgdata, restore_command, goal)
        try:
            server.start()
        except EmbeddedPostgresError as error:
            log = _read(directory.log)
            if not reached_end_of_wal(log):
                raise BackupError(
                    "the recovery has failed, and nothing of it is left:"
                    f" {why_not_fetched(log) or error}"
                ) from error
            # As far as there is WAL, then: that is more than nothing.
            is_reached = False
            goal = goal._replace(moment=None)
            begin_recovery(directory.pgdata, restore_command, goal)
            server.start()
        return is_reached, asyncio.run(_look(server.url))
    finally:
        server.stop()


def _refuse_unfit(base: BaseBackup, account: Account | None) -> None:
    if base.tablespaces:
        raise BackupError(
            f"{base.id} has tablespaces ({', '.join(base.tablespaces)}), and the"
            " embedded PostgreSQL none: restore it with --pgdata"
        )
    ours = Programs(account).build.major
    if base.server_major != ours:
        raise BackupError(
            f"{base.id} is of PostgreSQL {base.server_major}, and the embedded one is"
            f" {ours}: restore it with --pgdata, to be run by PostgreSQL"
            f" {base.server_major}"
        )


async def _look(url: str) -> int:
    """See that logs answers; return the size of its database.

    Raises:
        BackupError: it does not.
    """
    connection = await connect(url)
    try:
        await connection.execute(load_blocks("wal")["first_log"])
        return int(await connection.fetchval(load_blocks("wal")["size"]))
    except LOST_ERRORS as error:
        raise BackupError(
            f"the server is restored, and logs does not answer: {describe(error)}"
        ) from error
    finally:
        await connection.close()


@contextmanager
def _told(log: Path, say: Say) -> Iterator[None]:
    """Say how many segments have been replayed, as long as the block runs."""
    ended = threading.Event()

    def watch() -> None:
        told = -1
        while not ended.wait(_WATCH_SECONDS):
            segments = replayed_segments(_read(log))
            if segments != told:
                say(f"replaying WAL: {amount(segments, 'segment')} of 16 MB")
                told = segments

    watching = threading.Thread(target=watch, name="penstock-recovery", daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()


def _read(log: Path) -> str:
    with suppress(OSError):
        return log.read_text(errors="replace")
    return ""


# --- another PostgreSQL


def _files_only(
    pgdata: Path,
    physical: Physical,
    base: BaseBackup,
    goal: Goal,
    say: Say,
) -> Restored:
    owner = _owner_of(pgdata)
    with _leaving_nothing(pgdata):
        say(f"fetching it into {pgdata}")
        physical.restore(base, pgdata)
        begin_recovery(pgdata, physical.restore_command(base, None), goal)
        pgdata.chmod(0o700)
        for tree in (pgdata, *(tablespace_beside(pgdata, n) for n in base.tablespaces)):
            give_tree(tree, owner)
    directory = pgdata.absolute()
    return Restored(
        directory=directory,
        base=base,
        moment=goal.moment,
        commands=_commands(directory, base, owner),
    )


def _owner_of(pgdata: Path) -> Account | None:
    """Return who is to run the PostgreSQL that root restores for."""
    if os.geteuid() != 0:
        return None
    if pgdata.exists() and (status := pgdata.stat()).st_uid != 0:
        name = pwd.getpwuid(status.st_uid).pw_name
        return Account(name, status.st_uid, status.st_gid)
    try:
        entry = pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        raise BackupError(
            f"PostgreSQL does not run as root, and there is no user {_SYSTEM_USER} to"
            f" give {pgdata} to: make it first, empty, as the user who shall have it"
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _commands(pgdata: Path, base: BaseBackup, owner: Account | None) -> tuple[str, ...]:
    debian = Path(f"/usr/lib/postgresql/{base.server_major}/bin/pg_ctl")
    program = str(debian) if debian.exists() else "pg_ctl"
    where, log = shlex.quote(str(pgdata)), shlex.quote(f"{pgdata}.log")
    start = f"{program} -D {where} -l {log} -t 86400 -w start"
    return (f"runuser -u {owner.name} -- {start}" if owner else start,)


def _shown(moment: datetime | None) -> str:
    return "never" if moment is None else in_words(moment)
