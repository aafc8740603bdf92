"""The cluster on disk: made by initdb, and configured for an append-only log store.

Owns PGDATA as long as no server runs on it: its creation, its version, penstock.conf.
Must not start the server.
"""

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import Final

from penstock.embedded.account import Account, give, give_tree
from penstock.embedded.directory import DataDirectory, complaints
from penstock.embedded.postmaster import read_pid_file
from penstock.embedded.programs import Programs
from penstock.errors import EmbeddedPostgresError

_MB: Final = 1024 * 1024

# The second is the hint at "wrote only 4096 of 8192 bytes".
_DISK_FULL: Final = re.compile("No space left on device|Check free disk space")

_CONF_NAME: Final = "penstock.conf"
_INCLUDE_LINE: Final = f"include_if_exists = '{_CONF_NAME}'"
_CONF_HEAD: Final = """\
# Written by Penstock on each start: changes here are lost.
# To change a setting: ALTER SYSTEM SET ..., or a line at the end of postgresql.conf.
"""

# Where a container's memory limit is told, cgroup 2 and 1: the machine's size is not
# what it has.
_MEMORY_LIMIT_FILES: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def has_database(data_dir: Path) -> bool:
    """Whether a database has been made there, running or not."""
    return has_cluster(DataDirectory.at(data_dir))


def has_cluster(directory: DataDirectory) -> bool:
    """Whether a cluster, or what stands in its place, is there.

    Raises:
        EmbeddedPostgresError: it is not ours to look.
    """
    pgdata = directory.pgdata
    try:
        return pgdata.is_dir() and any(pgdata.iterdir())
    except OSError as exc:
        raise directory.unusable(f"no access: {exc.strerror}") from exc


def ensure_cluster(
    directory: DataDirectory, programs: Programs, account: Account | None, lock_fd: int
) -> None:
    """Make the cluster if there is none; refuse one that these binaries cannot run.

    Raises:
        EmbeddedPostgresError: it cannot be made, or is another version's.
    """
    pgdata = directory.pgdata
    if not has_cluster(directory):
        _initialise(directory, programs, account, lock_fd)
        return
    try:
        major = (pgdata / "PG_VERSION").read_text().strip()
    except OSError as exc:
        raise EmbeddedPostgresError(
            f"{pgdata} is not a PostgreSQL data directory (PG_VERSION: {exc.strerror}):"
            " move it away, or choose another --data-dir"
        ) from exc
    ours = programs.build.major
    if major != str(ours):
        raise EmbeddedPostgresError(
            f"the database in {pgdata} was made by PostgreSQL {major}, this Penstock"
            f" brings {ours}: move it away, or bring it over with PostgreSQL {major}'s"
            " pg_dump or with pg_upgrade"
        )
    if account is not None and pgdata.stat().st_uid != account.uid:
        give_tree(pgdata, account)  # root's own, such as a backup unpacked by root


def configure(
    directory: DataDirectory, programs: Programs, account: Account | None, socket: Path
) -> None:
    """Write penstock.conf anew and see that postgresql.conf includes it."""
    pgdata = directory.pgdata
    lines = [
        f"{name} = {_quoted(value)}\n"
        for name, value in (
            _reachability(socket)
            | _resources(_memory_bytes(), shutil.disk_usage(pgdata).free)
            | _durability(has_lz4=programs.build.has_lz4)
            | _habits()
        ).items()
    ]
    # Renamed into place: a half-written one would keep the server from starting.
    fresh = pgdata / f"{_CONF_NAME}.new"
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(_CONF_HEAD + "".join(lines))
    give(fresh, account)
    fresh.rename(pgdata / _CONF_NAME)

    main = pgdata / "postgresql.conf"
    if _INCLUDE_LINE not in main.read_text(errors="surrogateescape").splitlines():
        with main.open("a") as file:
            file.write(
                f"\n# Penstock's settings. What comes below wins.\n{_INCLUDE_LINE}\n"
            )


def clear_stale_locks(pgdata: Path, socket_dir: Path) -> None:
    """Remove what a dead server left and PostgreSQL would take for a living one.

    To be called by the holder of the lock, and only when no server runs on `pgdata`.
    """
    # These hold a pid that may be someone else's by now.
    for leftover in socket_dir.glob(".s.PGSQL.*"):
        leftover.unlink(missing_ok=True)
    found = read_pid_file(pgdata)
    if found is not None:
        try:
            os.kill(found.pid, 0)
        except OSError:
            return  # PostgreSQL sees that too, and then looks for left-over backends
    # Empty after a crash of the machine, or its pid is another process's by now:
    # PostgreSQL would refuse. Left-over backends it finds by their shared memory even
    # so (PGSharedMemoryCreate takes its key from the inode of the data directory).
    (pgdata / "postmaster.pid").unlink(missing_ok=True)


def _initialise(
    directory: DataDirectory, programs: Programs, account: Account | None, lock_fd: int
) -> None:
    # An initdb that was killed leaves postgres.new, never something like a cluster.
    fresh = directory.new_pgdata
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700)
    give(fresh, account)
    result = programs.run(
        "initdb",
        *("-D", fresh, "-U", "postgres", "--encoding=UTF8", "--no-instructions"),
        # PostgreSQL's own collation: no sort order that changes with the system's libc,
        # so no index that an upgrade of the system breaks.
        *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
        # Safe, because only the owner reaches the socket (its directory is 0700) and
        # nothing listens on TCP. Who opens TCP by ALTER SYSTEM has to set a password.
        *("--auth-local=trust", "--auth-host=scram-sha-256"),
        # initdb outlives a Penstock that is killed: the lock then stays until it ends.
        keep_open=(lock_fd,),
    )
    if result.returncode != 0:
        shutil.rmtree(fresh, ignore_errors=True)
        raise _initdb_error(directory, result.stdout + result.stderr)
    fresh.rename(directory.pgdata)
    _sync(directory.root)


def _sync(directory: Path) -> None:
    # A rename is durable when its directory is (initdb has synced the files).
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _initdb_error(directory: DataDirectory, output: str) -> EmbeddedPostgresError:
    if _DISK_FULL.search(output):
        free_mb = shutil.disk_usage(directory.root).free // _MB
        return EmbeddedPostgresError(
            f"no space left for a new database in {directory.root} ({free_mb} MB free,"
            " an empty one takes 50 MB): make room, or choose another --data-dir"
        )
    # The first is the cause, what follows are its effects.
    return EmbeddedPostgresError(
        f"cannot make a database in {directory.root}: {complaints(output)[0]}"
    )


def _reachability(socket_dir: Path) -> dict[str, str]:
    return {
        # Nobody but the owner of the data directory gets in; see initdb's --auth-local.
        "listen_addresses": "",
        "unix_socket_directories": str(socket_dir),
        "unix_socket_permissions": "0700",
        # Writers, the API, a few people and a backup. Each connection that is possible
        # costs lock table and snapshot work, used or not.
        "max_connections": "50",
    }


def _resources(memory_bytes: int, free_disk_bytes: int) -> dict[str, str]:
    shared_mb = min(max(memory_bytes // 4 // _MB, 128), 1024)
    wal_mb = min(max(free_disk_bytes // 10 // _MB, 256), 4096)
    return {
        # PostgreSQL's rule is a quarter of the memory. COPY does not gain by more than
        # 1 GB, for it writes through a ring of its own (16 MB), and reads have the page
        # cache. Less than the default of 128 MB is no saving.
        "shared_buffers": f"{shared_mb}MB",
        # The seal builds GIN indexes, which are slow when this is small. One at a time.
        "maintenance_work_mem": f"{min(max(memory_bytes // 16 // _MB, 64), 512)}MB",
        # A checkpoint makes the next change of each page log the whole page, and its
        # fsyncs compete with commits: rarely is better. Limited by the free disk, for
        # logs that fill it up must meet a server that can still be stopped and started.
        "max_wal_size": f"{wal_mb}MB",
        # Segments kept for reuse: a new one has to be zeroed and synced before use.
        "min_wal_size": f"{wal_mb // 4}MB",
        # Bounds recovery after a crash when there is little traffic.
        "checkpoint_timeout": "15min",
        # Spread the writing over the whole interval: commits share the disk with it.
        "checkpoint_completion_target": "0.9",
    }


def _durability(*, has_lz4: bool) -> dict[str, str]:
    return {
        # An ack means committed, and committed means on disk.
        "synchronous_commit": "on",
        # Enough for base backups and WAL archiving, so that they need no restart.
        "wal_level": "replica",
        # Turning it on takes a restart, the command does not: `backup wal-enable` puts
        # another in place of this one, which costs a millisecond for 16 MB of WAL. An
        # empty one would keep all WAL for ever (PostgreSQL documentation, 19.5.3).
        "archive_mode": "on",
        "archive_command": "true",
        # Only whole-page images are compressed. COPY into new pages makes none; the
        # seal's freeze makes many: for 120 MB of table 113 MB of WAL in 0.3 s without,
        # 35 MB in 1.1 s with pglz, which is CPU that the ingest needs more.
        "wal_compression": "lz4" if has_lz4 else "off",
    }


def _habits() -> dict[str, str]:
    return {
        # Log rows are written once: one VACUUM that freezes at its first visit writes
        # each page once more; the default would write it again 50 M transactions later.
        "vacuum_freeze_min_age": "0",
        # Thousands of rows come each second: do not vacuum or analyze for a thousand.
        "autovacuum_vacuum_insert_threshold": "100000",
        "autovacuum_analyze_threshold": "10000",
        # One fifth more of the same kind of log does not change a plan.
        "autovacuum_analyze_scale_factor": "0.2",
        # One for the partitions, one for the small busy table of chunks. The small
        # machines this runs on have no third core to spare.
        "autovacuum_max_workers": "2",
        # Compiling takes longer than the queries over logs that it would speed up.
        "jit": "off",
        # Days, partitions and what people read are in UTC.
        "timezone": "UTC",
        "log_timezone": "UTC",
        # stderr is data_dir/postgres.log already, and Penstock bounds it.
        "logging_collector": "off",
        "log_line_prefix": "%m [%p] ",
        # The CONTEXT of a failed COPY quotes the row: records belong in one place only.
        "log_error_verbosity": "terse",
        # Two lines a checkpoint are most of a quiet server's log; pg_stat_checkpointer
        # has the figures.
        "log_checkpoints": "off",
    }


def _memory_bytes() -> int:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [machine]
    for file in _MEMORY_LIMIT_FILES:
        with contextlib.suppress(OSError, ValueError):  # absent, or "max"
            limits.append(int(file.read_text()))
    return min(limits)


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
