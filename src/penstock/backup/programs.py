"""PostgreSQL's programs that backups run: pg_dump, pg_restore, psql.

Owns which of those that are installed fits a server, and how one is started: a password
is never on its command line. Must not know what is dumped. It blocks.

They see our environment, as asyncpg does: PGPASSFILE, PGSSLROOTCERT and the like mean
the same to both.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from penstock.embedded.programs import find_bin_dir
from penstock.errors import BackupError, EmbeddedPostgresError
from penstock.postgres.urls import split_password

PG_DUMP = "pg_dump"
# Debian's and Red Hat's packages put each major version into a directory of its own.
PACKAGED = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin")
_VERSION = re.compile(r"\(PostgreSQL\) ((\d+)\S*)")


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs of one directory, all of one version."""

    bin_dir: Path
    version: str
    major: int

    def run(
        self,
        name: str,
        arguments: Sequence[str],
        database_url: str | None = None,
        *,
        stdin: bytes = b"",
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end; the caller judges its exit code.

        Raises:
            BackupError: it cannot be run.
        """
        process = self.popen(
            name, arguments, database_url, stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            stdout, stderr = process.communicate(stdin)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return subprocess.CompletedProcess(
            process.args, process.returncode, stdout, stderr
        )

    def popen(
        self,
        name: str,
        arguments: Sequence[str],
        database_url: str | None = None,
        *,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        """Start a program, of a session of its own: Ctrl-C is ours to pass on.

        The password of `database_url` goes to it by a file without a name, which libpq
        reads as PGPASSFILE (PostgreSQL documentation, section 34.16); the environment
        of a process can be read by whoever shares its login.

        Raises:
            BackupError: it cannot be run.
        """
        command = [str(self.bin_dir / name), *arguments]
        with tempfile.TemporaryFile() as password_file:  # mode 0600, as libpq demands
            kept_open: tuple[int, ...] = ()
            if database_url is not None:
                url, password = _split_password(database_url)
                if password:
                    password_file.write(_pgpass_line(password))
                    password_file.flush()
                    kept_open = (password_file.fileno(),)
                    url = _with_passfile(url, f"/dev/fd/{kept_open[0]}")
                command.append(f"--dbname={url}")
            try:
                return subprocess.Popen(
                    command,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    pass_fds=kept_open,
                    start_new_session=True,
                )
            except OSError as error:
                raise BackupError(
                    f"cannot run {command[0]}: {error.strerror or error}"
                ) from error


def find_programs(server_major: int, bin_dir: str = "") -> Programs:
    """Return programs that can dump such a server and restore to it.

    Those of the server's own major version, else of the least newer one: pg_dump
    refuses servers newer than itself (PostgreSQL documentation, pg_dump, "Notes").

    Args:
        bin_dir: where they are (backup_pg_bin); empty: the embedded PostgreSQL's, those
            in PATH, those in the places of packages.

    Raises:
        BackupError: there are none, or they are all too old.
    """
    places = [Path(bin_dir)] if bin_dir else list(_places())
    found = [programs for place in places if (programs := _look(place)) is not None]
    fitting = [programs for programs in found if programs.major >= server_major]
    if fitting:
        return min(fitting, key=lambda programs: programs.major)
    mend = (
        f"install postgresql-client-{server_major} or newer, or name the directory of"
        " its programs with --backup-pg-bin"
    )
    if not found:
        where = f" in {bin_dir}" if bin_dir else ""
        raise BackupError(f"there is no pg_dump{where} that can be run: {mend}")
    newest = max(found, key=lambda programs: programs.major)
    raise BackupError(
        f"{newest.bin_dir / PG_DUMP} is of PostgreSQL {newest.version}, older than the"
        f" server, which is {server_major}, and cannot dump it: {mend}"
    )


def _places() -> Iterator[Path]:
    try:
        yield find_bin_dir()
    except EmbeddedPostgresError:
        pass
    if in_path := shutil.which(PG_DUMP):
        yield Path(in_path).parent
    for pattern in PACKAGED:
        yield from sorted(Path("/").glob(pattern))


def _look(bin_dir: Path) -> Programs | None:
    """Return the programs of a directory; None where pg_dump does not run."""
    try:
        answer = subprocess.run(
            [bin_dir / PG_DUMP, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except OSError:
        return None
    version = _VERSION.search(answer.stdout.decode(errors="replace"))
    if answer.returncode or version is None:
        return None
    return Programs(bin_dir, version[1], int(version[2]))


def _split_password(database_url: str) -> tuple[str, str]:
    try:
        return split_password(database_url)
    except ValueError as error:
        raise BackupError(
            f"the database's URL cannot be given to {PG_DUMP}: {error}; use a"
            " client key without a password"
        ) from error


def _pgpass_line(password: str) -> bytes:
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    return f"*:*:*:*:{escaped}\n".encode()


def _with_passfile(url: str, path: str) -> str:
    # The empty password is one that is given: PGPASSWORD is not asked for.
    return f"{url}{'&' if '?' in url else '?'}password=&passfile={path}"
