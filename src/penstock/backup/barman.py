"""barman-cloud: base backups and WAL in S3, by programs that are run, not imported.

It owns their command lines, what their exit codes mean, and their complaints in one
line. It must not know PostgreSQL's settings. Credentials are theirs to find, by boto3,
in the environment that we have; barman is GPL, so none of its code is in ours.
"""

import contextlib
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from penstock.backup.physical import UNREACHED, BaseBackup, Retention, tablespace_beside
from penstock.errors import BackupError, SettingsError, StoreError
from penstock.settings import BackupSettings

# Of barman-cloud-*: done but refused; S3 is out of reach; the rest is of the command
# line, or anything else (barman.clients.cloud_cli).
_REFUSED: Final = 1
_OUT_OF_REACH: Final = 2
# botocore's words: expired credentials, a missing right, a clock that is off.
_REFUSED_BY_S3: Final = "An error occurred ("
# Any name will do: it is not read.
_SOME_WAL: Final = "000000010000000000000001"
# A part that fails is tried again by boto3; past that, who interrupts wants to go.
_END_SECONDS: Final = 10.0
# So many segments are fetched at a time: it takes half a second to start Python for it,
# in which PostgreSQL replays some of them. 256 MB of disk meanwhile.
_FETCHED_AHEAD: Final = 16
_SEGMENT_BYTES: Final = 16 * 1024 * 1024  # initdb's default
_COMPLAINT: Final = re.compile(
    r"^[\d-]+ [\d:,]+ \[\d+\] (?:ERROR|CRITICAL): (.+)$", re.M
)
# What of backup_compress barman has; all else is gzip, by Python and at its slowest.
_COMPRESSION: Final = {"none": [], "lz4": ["--lz4"]}
_GZIP: Final = ["--gzip"]
_BY_WHOM: Final = re.compile(r"^Barman cloud [\w ]+ exception: ")
_QUOTED: Final = re.compile(r"(['\\])")
_ESCAPE: Final = r"\\\1"
# psycopg2, which barman asks for, has no wheels for Linux; the other is the same.
_HOW_TO_GET: Final = (
    "pip install 'penstock[backup]' psycopg2-binary lz4 && pip install --no-deps barman"
)


class Barman:
    """The base backups and WAL of one PostgreSQL, at one place in S3.

    Args:
        endpoint: of an S3 that is not AWS's; empty: AWS's own.

    Raises:
        SettingsError: the store is none of S3's.
        BackupError: the programs are not there.
    """

    def __init__(
        self,
        settings: BackupSettings,
        *,
        endpoint: str = "",
        is_elsewhere: bool = False,
    ) -> None:
        store = settings.backup_store.rstrip("/")
        if not store.startswith("s3://"):
            raise SettingsError(
                f"base backups and WAL go to S3 only, not to {store or 'nowhere'}: give"
                " --store s3://bucket/prefix"
            )
        self._name = settings.backup_wal_server
        self._url = f"{store}/barman"
        self._endpoint = endpoint
        self._compress = settings.backup_compress
        self._sse = settings.backup_sse
        self._sse_key = settings.backup_sse_kms_key_id
        self._bin_dir = _bin_dir(settings.backup_barman_bin, is_elsewhere=is_elsewhere)

    @property
    def place(self) -> str:
        return f"{self._url}/{self._name}"

    @property
    def wal_prefix(self) -> str:
        return f"barman/{self._name}/wals/"

    @property
    def base_prefix(self) -> str:
        return f"barman/{self._name}/base/"

    @property
    def archive_program(self) -> str:
        return self._program("wal-archive")

    def archive_command(self) -> str:
        command = self._shell("wal-archive", *self._gzip(), *self._encryption())
        # A shell that finds no program ends with 127, and above 125 the archiver dies
        # and counts no failure (PostgreSQL documentation, 25.3.1).
        return f"{command} %p || exit 1"

    def archive_test(self) -> str:
        test = [*self._words("wal-archive", "--test"), _SOME_WAL]
        return shlex.join(test)

    def archive_one(self, path: str) -> str:
        return shlex.join([*self._words("wal-archive", *self._gzip()), path])

    def restore_command(self, base: BaseBackup, spool: Path | None) -> str:
        ahead = ["--parallel", str(_FETCHED_AHEAD), "--spool-dir", str(spool)]
        command = self._shell("wal-restore", *(ahead if spool else []))
        if spool is not None:
            # What is there is moved without a Python; what was cut, fetched again.
            there = f"{shlex.quote(str(spool)).replace('%', '%%')}/%f"
            command = (
                f"if [ -f {there} ] && [ $(wc -c < {there}) -eq {base.segment_bytes} ];"
                f" then exec mv {there} %p; fi; rm -f {there}; {command}"
            )
        # 1 is "not in the archive", which ends a recovery as it should. All else must
        # not look like it: above 125 PostgreSQL gives up, and nothing is left out.
        return f"{command} %f %p; e=$?; [ $e -le 1 ] || exit 254; exit $e"

    def refuse_wal_from(self, timeline: int) -> None:
        options = ["--timeline", str(timeline)] if timeline > 1 else []
        ended = self._run("check-wal-archive", *options)
        if ended.returncode == _REFUSED:
            raise BackupError(_complaint(ended))
        self._require(ended, "cannot look at the WAL")

    def bases(self) -> list[BaseBackup]:
        ended = self._run("backup-list", "--format", "json")
        self._require(ended, "cannot list the base backups")
        try:
            listed = msgspec.json.decode(ended.stdout)["backups_list"]
            found = [_base_of(each) for each in listed]
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
            raise BackupError(
                f"barman-cloud-backup-list says what is not understood: {error}"
            ) from error
        return sorted(found, key=lambda base: base.began_at)

    def take(self, database_url: str, jobs: int) -> None:
        with pass_file(database_url) as passwords:
            ended = self._run(
                "backup",
                *self._compression(),
                # Else it waits for the next checkpoint: a quarter of an hour.
                "--immediate-checkpoint",
                *("--jobs", str(jobs)),
                *("--dbname", conninfo(database_url, passwords)),
                *self._encryption(),
            )
        self._require(ended, "the base backup was not made")

    def remove(self, policy: Retention, *, is_dry_run: bool) -> None:
        words = (
            f"REDUNDANCY {policy.keep}"
            if policy.keep is not None
            else f"RECOVERY WINDOW OF {policy.keep_days} DAYS"
        )
        # At least one stays whatever the window says: without it no WAL is of use.
        options = ["--retention-policy", words, "--minimum-redundancy", "1"]
        ended = self._run(
            "backup-delete", *options, *(["--dry-run"] if is_dry_run else [])
        )
        self._require(ended, "base backups were not removed")

    def restore(self, base: BaseBackup, directory: Path) -> None:
        moved = [
            f"{name}:{tablespace_beside(directory.absolute(), name)}"
            for name in base.tablespaces
        ]
        options = [word for each in moved for word in ("--tablespace", each)]
        ended = self._run("restore", *options, after=(base.id, str(directory)))
        self._require(ended, f"the base backup {base.id} was not restored")

    def _compression(self) -> list[str]:
        if self._compress != "auto":
            return _COMPRESSION.get(self._compress, _GZIP)
        # Of another Python nobody knows what it has.
        is_ours = self._bin_dir == Path(sys.executable).parent
        has_lz4 = is_ours and importlib.util.find_spec("lz4") is not None
        return _COMPRESSION["lz4"] if has_lz4 else _GZIP

    def _gzip(self) -> tuple[str, ...]:
        # What every barman can read; zstd is a third quicker and needs a module more.
        return ("--gzip",)

    def _encryption(self) -> list[str]:
        words = ["--encryption", self._sse] if self._sse else []
        return words + (["--sse-kms-key-id", self._sse_key] if self._sse_key else [])

    def _program(self, name: str) -> str:
        return str(self._bin_dir / f"barman-cloud-{name}")

    def _words(self, name: str, *options: str) -> list[str]:
        endpoint = ["--endpoint-url", self._endpoint] if self._endpoint else []
        return [self._program(name), *endpoint, *options, self._url, self._name]

    def _shell(self, name: str, *options: str) -> str:
        """Return it for a setting of PostgreSQL's, where % has a meaning."""
        return shlex.join(self._words(name, *options)).replace("%", "%%")

    def _run(
        self,
        name: str,
        *options: str,
        after: tuple[str, ...] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; one that is interrupted is gone before we go on."""
        with subprocess.Popen(
            [*self._words(name, *options), *after],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # its workers are ended with it
        ) as process:
            try:
                out, err = process.communicate()
            except BaseException:
                _end_group(process)
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def _require(self, ended: subprocess.CompletedProcess[str], what: str) -> None:
        if ended.returncode == 0:
            return
        complaint = _complaint(ended)
        if ended.returncode == _OUT_OF_REACH or UNREACHED.search(complaint):
            raise StoreError(f"{what}: {self._url} is out of reach: {complaint}")
        if _REFUSED_BY_S3 in complaint:
            raise StoreError(f"{what} ({self.place}): {complaint}")
        raise BackupError(f"{what} ({self.place}): {complaint}")


def _bin_dir(given: str, *, is_elsewhere: bool) -> Path:
    """Return where the programs are.

    Args:
        is_elsewhere: they are to be run on another machine, which cannot be looked at.
    """
    if given and is_elsewhere:
        return Path(given)
    beside = Path(sys.executable).parent
    in_path = shutil.which("barman-cloud-wal-archive")
    places = [beside, *([Path(in_path).parent] if in_path else [])]
    for place in [Path(given).absolute()] if given else places:
        if os.access(place / "barman-cloud-wal-archive", os.X_OK):
            return place
    where = given or f"{beside} and PATH"
    raise BackupError(
        f"there is no barman-cloud-wal-archive in {where}: {_HOW_TO_GET}, or name its"
        " directory with backup_barman_bin"
    )


def _complaint(ended: subprocess.CompletedProcess[str]) -> str:
    """Return why it ended so, in its own words, in one line."""
    found = _COMPLAINT.findall(ended.stderr)
    if found:  # the first is the cause
        return _BY_WHOM.sub("", " ".join(str(found[0]).split()))
    lines = (ended.stderr or ended.stdout).strip().splitlines()
    return lines[-1] if lines else f"exit code {ended.returncode}, and not a word"


def _end_group(process: subprocess.Popen[str]) -> None:
    # Ctrl-C is what barman cleans up after: its parts in S3, its temporary files.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
            return


def _base_of(listed: dict[str, Any]) -> BaseBackup:
    is_done = listed["status"] == "DONE"
    ended = listed.get("end_time_iso")
    problem = "" if is_done else str(listed.get("error") or listed["status"].lower())
    return BaseBackup(
        id=listed["backup_id"],
        began_at=_began_at(listed),
        ended_at=_moment(ended) if is_done and ended else None,
        timeline=int(listed["timeline"] or 0),
        first_wal=listed.get("begin_wal") or "",
        last_wal=listed.get("end_wal") or "",
        server_major=int(listed["version"] or 0) // 10_000,
        system_identifier=str(listed.get("systemid") or ""),
        segment_bytes=int(listed.get("xlog_segment_size") or _SEGMENT_BYTES),
        problem=" ".join(problem.split()),
        tablespaces=tuple(str(each[0]) for each in listed.get("tablespaces") or ()),
    )


def _began_at(listed: dict[str, Any]) -> datetime:
    """Return when it began; of one that was ended before PostgreSQL began, its id."""
    text = listed.get("begin_time_iso")
    if text:
        return _moment(text)
    # barman names it by this machine's clock, without a zone.
    return datetime.strptime(listed["backup_id"], "%Y%m%dT%H%M%S").astimezone(UTC)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


# --- the way to PostgreSQL, without a password that others see in `ps`


@contextlib.contextmanager
def pass_file(database_url: str) -> Iterator[Path | None]:
    """Lend a file with the URL's password, for libpq; None where it has none.

    PostgreSQL documentation, 34.16: ":" and backslashes in it are escaped.
    """
    password = urlsplit(database_url).password
    if password is None:
        yield None
        return
    escaped = re.sub(r"([:\\])", r"\\\1", unquote(password))
    with tempfile.NamedTemporaryFile("w", prefix="penstock-pgpass-") as file:
        file.write(f"*:*:*:*:{escaped}\n")
        file.flush()
        yield Path(file.name)


def conninfo(database_url: str, passwords: Path | None) -> str:
    """Return the URL as libpq's keywords, with a file in place of its password."""
    parts = urlsplit(database_url)
    words = {
        "host": unquote(parts.hostname or ""),
        "port": str(parts.port or ""),
        "user": unquote(parts.username or ""),
        "dbname": unquote(parts.path.lstrip("/")) or "postgres",
        **dict(parse_qsl(parts.query)),
        "passfile": str(passwords or ""),
    }
    return " ".join(
        f"{name}='{re.sub(_QUOTED, _ESCAPE, value)}'"
        for name, value in words.items()
        if value and name != "password"
    )
