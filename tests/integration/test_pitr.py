"""A cluster is restored to a moment, from a base backup and WAL in a real S3.

One embedded PostgreSQL, one base backup and one proxy before S3 for all tests here.
"""

import contextlib
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from penstock import config
from penstock.backup.barman import Barman
from penstock.backup.stores import open_store
from penstock.backup.wal_owner import claim
from penstock.embedded import EmbeddedPostgres, open_database
from penstock.embedded.account import Account, choose_account, give
from penstock.embedded.programs import Programs
from penstock.errors import BackupError
from penstock.postgres.connection import connect
from penstock.settings import BackupSettings, MaintenanceSettings, PartitionSettings
from penstock.sink.maintenance import maintain
from penstock.sink.maintenance_round import Upkeep
from penstock.sink.migrations import migrate
from tests.integration.conftest import (
    Database,
    Here,
    new_home,
    run_async,
    run_penstock,
    the_line,
    wait_until,
)
from tests.s3_faults import Fault, S3Faults
from tests.s3_server import S3, used_here

# PostgreSQL servers are started and restored meanwhile, three parts of tests at once.
pytestmark = pytest.mark.timeout(300)

ROWS = "SELECT * FROM logs ORDER BY id"
# A busy machine starts Python in seconds, and each segment is a Python.
SLOW_SECONDS = 60.0


class Cluster:
    """An embedded PostgreSQL whose WAL is archived by way of a proxy."""

    def __init__(self, data_dir: Path, s3: S3, proxy: S3Faults) -> None:
        self.data_dir, self.s3, self.proxy = data_dir, s3, proxy
        self.store = s3.url("penstock")
        self.server = EmbeddedPostgres(data_dir, environment=config.s3_variables())
        self.server.start()
        url = self.server.url
        self.database = Database(url, "penstock", url)
        run_async(migrate(url))

    def log(self, number: int, message: str) -> None:
        self.database.fetch(
            "INSERT INTO logs (id, ts, tag, message, attributes)"
            " VALUES ($1, now(), 'pitr', $2, '{\"n\": [1, null]}')",
            number,
            message,
        )

    def now(self) -> datetime:
        moment: datetime = self.database.value("SELECT clock_timestamp()")
        return moment

    def switch(self) -> str:
        """Let the current segment be archived; return its name."""
        self.database.fetch("SELECT pg_create_restore_point('test')")
        return str(self.database.value("SELECT pg_walfile_name(pg_switch_wal())"))

    def archived(self, segment: str) -> None:
        """Wait until a segment is in S3."""
        wait_until(
            lambda: any(segment in key for key in self.s3.keys()),
            f"{segment} is archived",
            SLOW_SECONDS,
        )

    def status(self, here: Here, *more: str) -> tuple[int, dict[str, Any], str]:
        """Return what wal-status ends with, its facts, and its stderr."""
        words = ("backup", "wal-status", "-o", "json", "--data-dir", str(self.data_dir))
        ended = here(*words, *more)
        return ended.returncode, json.loads(ended.stdout), ended.stderr


@pytest.fixture(scope="module")
def own_modes() -> Iterator[None]:
    """Leave the directories above Python as they were: root opens them to barman."""
    above = Path(sys.base_prefix).resolve().parents
    modes = {path: path.stat().st_mode & 0o7777 for path in above}
    yield
    for path, mode in modes.items():
        if path.stat().st_mode & 0o7777 != mode:
            path.chmod(mode)


@pytest.fixture(scope="module")
def cluster(own_modes: None, module_s3: S3) -> Iterator[Cluster]:
    """WAL is archived, and there is one base backup with one row."""
    home = new_home()
    with (
        S3Faults(module_s3.address) as proxy,
        used_here(module_s3.at(proxy.address)),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("AWS_MAX_ATTEMPTS", "1")  # PostgreSQL tries again by itself
        made = Cluster(home / "data", module_s3, proxy)
        try:
            for words in (("wal-enable",), ("base",)):
                ended = run_penstock(
                    *("backup", *words, "--store", made.store),
                    *("--data-dir", str(made.data_dir)),
                    PENSTOCK_BACKUP_COMPRESS="none",  # gzip takes 4 s of an empty one
                )
                assert ended.returncode == 0, ended.stderr
                if words == ("wal-enable",):
                    made.log(1, "before the base backup")
            yield made
        finally:
            made.server.stop(patience_seconds=0)
            shutil.rmtree(home)


def test_wal_enable_has_waited_for_a_segment_that_is_there(
    cluster: Cluster, here: Here
) -> None:
    code, facts, stderr = cluster.status(here)
    assert (code, stderr) == (0, "")
    assert facts["is_on"]
    assert facts["archive_command"].endswith("%p || exit 1")
    assert facts["ready_files"] == 0
    assert facts["lag_seconds"] == 0.0
    assert facts["last_archived_wal"]
    assert facts["last_archived_age_seconds"] < SLOW_SECONDS
    assert any("/wals/" in key for key in cluster.s3.keys("penstock/barman/"))


def test_maintenance_sees_how_the_archive_does(cluster: Cluster) -> None:
    settings = Upkeep(PartitionSettings(), MaintenanceSettings())
    report = run_async(
        maintain(cluster.server.url, settings, now_seconds=time.time(), is_dry_run=True)
    )
    assert report.failures == []
    assert report.archiver is not None
    assert report.archiver.is_on
    assert report.archiver.ready_files is not None


def test_a_restore_to_a_moment_has_what_was_committed_before_and_nothing_after(
    cluster: Cluster, here: Here
) -> None:
    cluster.log(2, "before the moment, with 'quotes', \\ and 한글")
    before = cluster.database.fetch(ROWS)
    moment = cluster.now()
    cluster.log(3, "after the moment")
    cluster.database.fetch("DELETE FROM logs WHERE id = 1")
    cluster.database.fetch("DROP TABLE rejected_event CASCADE")
    assert cluster.status(here, "--flush")[0] == 0
    target = cluster.data_dir.parent / "restored"
    restore = (
        *("backup", "restore", "--to-time", moment.isoformat()),
        *("--store", cluster.store, "--data-dir", str(target)),
    )
    ended = here(*restore)
    assert ended.returncode == 0, ended.stderr
    assert f"penstock up --data-dir {target}" in ended.stdout
    with open_database(target) as url:
        restored = Database(url, "penstock", url)
        assert restored.fetch(ROWS) == before
        assert restored.value("SELECT count(*) FROM rejected_event") == 0
        # Nothing of the recovery is left, and nothing goes to the archive.
        assert restored.value("SELECT current_setting('archive_command')") == "true"
        assert restored.value("SELECT current_setting('restore_command')") == ""
        assert not restored.value("SELECT pg_is_in_recovery()")
    # And there it is not written over by another.
    line = the_line(here(*restore), 1)
    assert f"{target} holds something" in line


def test_a_time_before_the_first_base_backup_is_refused(
    cluster: Cluster, here: Here, tmp_path: Path
) -> None:
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    line = the_line(
        here(
            *("backup", "restore", "--to-time", an_hour_ago.isoformat()),
            *("--store", cluster.store, "--data-dir", str(tmp_path / "none")),
        ),
        1,
    )
    assert "when the first base backup" in line
    assert not (tmp_path / "none").exists()


def test_a_missing_program_is_counted_and_tried_again_and_the_archiver_lives(
    cluster: Cluster, here: Here
) -> None:
    settings = BackupSettings(
        backup_store=cluster.store, backup_barman_bin="/nowhere/at all"
    )
    command = Barman(settings, is_elsewhere=True).archive_command()
    archivers = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'archiver'"
    before = cluster.database.fetch(archivers)
    with archiving_by(cluster, command):
        segment = cluster.switch()
        wait_until(
            lambda: cluster.database.value(
                "SELECT failed_count >= 2 AND last_failed_wal = $1"
                " FROM pg_stat_archiver",
                segment,
            ),
            "two failures are counted",
        )
        code, facts, stderr = cluster.status(here, "--max-lag-seconds", "0")
        assert code == 1
        assert facts["ready_files"] == 1
        assert facts["is_failing"]
        assert facts["last_failed_wal"] == segment
        assert facts["unarchived_bytes"] > 0
        assert "WAL is not archived for" in stderr
        assert cluster.database.fetch(archivers) == before
        # A minute or two is nothing to get up for.
        assert cluster.status(here)[0] == 0
    cluster.archived(segment)


def test_wal_stays_while_s3_is_out_of_reach_and_is_archived_when_it_is_back(
    cluster: Cluster, here: Here
) -> None:
    cluster.proxy.add(Fault("answer", part="wals", status=503, code="SlowDown"))
    failed = "SELECT failed_count FROM pg_stat_archiver"
    before = cluster.database.value(failed)
    cluster.log(5, "while S3 is away")
    segment = cluster.switch()
    wait_until(
        lambda: cluster.database.value(failed) > before, "it fails", SLOW_SECONDS
    )
    waiting = "SELECT count(*) FROM pg_ls_waldir() WHERE name = $1"
    assert cluster.database.value(waiting, segment) == 1
    assert not any(segment in key for key in cluster.s3.keys("penstock/barman/"))
    cluster.proxy.heal()
    cluster.archived(cluster.switch())
    cluster.archived(segment)
    assert cluster.status(here, "--max-lag-seconds", "60")[0] == 0


def test_where_the_archive_ends_before_the_moment_all_there_is_comes_back_with_a_line(
    cluster: Cluster, here: Here
) -> None:
    cluster.log(6, "the last before the moment")
    rows = cluster.database.fetch(ROWS)
    assert cluster.status(here, "--flush")[0] == 0
    target = cluster.data_dir.parent / "all-there-is"
    ended = here(
        *("backup", "restore", "--to-time", cluster.now().isoformat()),
        *("--store", cluster.store, "--data-dir", str(target)),
    )
    assert ended.returncode == 1
    assert "was not reached: the archive ends before" in ended.stderr
    with open_database(target) as url:
        assert Database(url, "penstock", url).fetch(ROWS) == rows


def test_a_postgresql_that_is_not_embedded_gets_its_files_and_recovers_by_itself(
    cluster: Cluster, here: Here
) -> None:
    rows = cluster.database.fetch(ROWS)
    assert cluster.status(here, "--flush")[0] == 0
    pgdata = cluster.data_dir.parent / "of-the-host"
    pgdata.mkdir(mode=0o700)
    account = choose_account(cluster.data_dir / "postgres")
    give(pgdata, account)  # who is to run it
    restore = ("backup", "restore", "--to-time", "latest", "--store", cluster.store)
    ended = here(*restore, "--pgdata", str(pgdata))
    assert ended.returncode == 0, ended.stderr
    assert f"-D {pgdata}" in ended.stdout
    with started(pgdata, account) as restored:
        wait_until(lambda: is_restored(restored), "it has recovered", SLOW_SECONDS)
        assert restored.fetch(ROWS) == rows


@contextlib.contextmanager
def started(pgdata: Path, account: Account | None) -> Iterator[Database]:
    """Run PostgreSQL on a data directory, as the machine's own would be."""
    sockets = new_home()
    give(sockets, account)
    with (pgdata / "postgresql.conf").open("a") as conf:
        conf.write(f"unix_socket_directories = '{sockets}'\n")
    with (sockets / "log").open("wb") as log:
        server = Programs(account).spawn_server(
            pgdata, log.fileno(), config.s3_variables()
        )
    url = f"postgresql://postgres@/penstock?host={sockets}&port=5432"
    try:
        yield Database(url, "penstock", url)
    finally:
        server.send_signal(signal.SIGQUIT)  # nobody needs what it holds
        server.wait()
        shutil.rmtree(sockets)


def is_restored(database: Database) -> bool:
    try:
        return not database.value("SELECT pg_is_in_recovery()")
    except (OSError, asyncpg.PostgresError):  # not up yet
        return False


def test_keep_removes_what_no_kept_base_backup_needs(
    cluster: Cluster, here: Here
) -> None:
    base = ("backup", "base", "--store", cluster.store)
    (old,) = listed(here(*base, "--list", "-o", "json").stdout)
    ended = here(
        *(*base, "--data-dir", str(cluster.data_dir)),
        PENSTOCK_BACKUP_COMPRESS="none",
    )
    assert ended.returncode == 0, ended.stderr
    assert len(listed(here(*base, "--list", "-o", "json").stdout)) == 2
    assert here(*base, "--only-remove").returncode == 2
    # From a machine that has no PostgreSQL: where that one's role cannot delete.
    removed = here(*base, "--keep", "1", "--only-remove")
    assert removed.returncode == 0, removed.stderr
    assert f"removed {old['id']}" in removed.stderr
    (new,) = listed(here(*base, "--list", "-o", "json").stdout)
    assert new["id"] == ended.stdout.strip() != old["id"]
    kept = [key for key in cluster.s3.keys("penstock/barman/") if "/wals/" in key]
    segments = [name for key in kept if len(name := Path(key).stem) == 24]
    assert min(segments) == new["first_wal"]
    assert not any(old["id"] in key for key in cluster.s3.keys("penstock/barman/"))


def listed(stdout: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


def test_another_postgresqls_wal_is_not_mixed_in(
    cluster: Cluster, database: Database
) -> None:
    settings = BackupSettings(backup_store=cluster.store)
    barman, store = Barman(settings), open_store(cluster.store)

    async def try_to_claim() -> None:
        connection = await connect(database.url)
        try:
            await claim(connection, barman, store, "barman/penstock.json")
        finally:
            await connection.close()

    with pytest.raises(BackupError, match="holds the WAL of another PostgreSQL"):
        run_async(try_to_claim())
    # Without the mark of its owner it is nobody's, and not empty.
    with pytest.raises(BackupError, match="Expected empty archive"):
        store.delete(["barman/penstock.json"])
        run_async(try_to_claim())


def test_a_server_that_sees_no_credentials_is_left_as_it_is(
    cluster: Cluster, database: Database, here: Here
) -> None:
    ended = here(
        *("backup", "wal-enable", "--store", cluster.store),
        *("--backup-wal-server", "other", "--database-url", database.url),
        # In this shell there are some.
        AWS_ACCESS_KEY_ID="test",
    )
    line = the_line(ended, 1)
    assert "who runs PostgreSQL, " in line
    assert database.value("SELECT current_setting('archive_command')") == "true"


@contextlib.contextmanager
def archiving_by(cluster: Cluster, command: str) -> Iterator[None]:
    """Have WAL archived by another command during a block."""
    before = cluster.database.value("SELECT current_setting('archive_command')")
    try:
        set_command(cluster, command)
        yield
    finally:
        set_command(cluster, before)
        cluster.switch()  # which wakes the archiver


def set_command(cluster: Cluster, command: str) -> None:
    quoted = command.replace("'", "''")
    cluster.database.fetch(f"ALTER SYSTEM SET archive_command = '{quoted}'")
    cluster.database.fetch("SELECT pg_reload_conf()")
