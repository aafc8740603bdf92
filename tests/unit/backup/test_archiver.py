"""When WAL is archived, when that is behind, and how an archiver complains."""

import pytest

from penstock.backup.wal_segment import complaint_in
from penstock.cli.backup_wal_status import problem_of
from penstock.postgres.archiver import Archiver

MB = 1024 * 1024
NOW = 10_000.0


def archiver(**more: object) -> Archiver:
    known: dict[str, object] = {
        "mode": "on",
        "command": "barman-cloud-wal-archive %p || exit 1",
        "library": "",
        "segment_bytes": 16 * MB,
        "written_bytes": 5 * 16 * MB,
        "now_seconds": NOW,
        "archived_count": 4,
        "last_archived_wal": "000000010000000000000003",
        "last_archived_seconds": NOW - 100,
        "failed_count": 0,
        "last_failed_wal": None,
        "last_failed_seconds": None,
        "ready_files": 0,
        "oldest_ready_seconds": None,
    }
    return Archiver._make((known | more)[name] for name in Archiver._fields)


def test_what_waits_tells_that_the_archive_is_behind_and_no_count_of_failures() -> None:
    dead = archiver(ready_files=3, oldest_ready_seconds=NOW - 400)
    assert dead.failed_count == 0
    assert dead.lag_seconds == 400
    assert "WAL is not archived for 400 s" in problem_of(dead, 300)
    assert problem_of(dead, 500) == ""


def test_an_idle_server_is_not_behind() -> None:
    idle = archiver(last_archived_seconds=NOW - 90_000)
    assert idle.lag_seconds == 0
    assert problem_of(idle, 300) == ""


def test_where_nobody_may_look_what_was_written_since_tells() -> None:
    unseen = archiver(ready_files=None, last_archived_seconds=NOW - 900)
    assert unseen.unarchived_bytes == 16 * MB
    assert unseen.lag_seconds == 0  # the current segment
    behind = unseen._replace(written_bytes=6 * 16 * MB)
    assert behind.lag_seconds == 900
    nobody = unseen._replace(last_archived_wal=None, last_archived_seconds=None)
    assert nobody.lag_seconds is None
    assert "nobody knows" in problem_of(nobody, 300)


@pytest.mark.parametrize("off", [{"mode": "off"}, {"command": "true"}, {"command": ""}])
def test_a_command_that_archives_nothing_is_none(off: dict[str, str]) -> None:
    assert not archiver(**off).is_on
    assert "WAL is not archived" in problem_of(archiver(**off), 300)


def test_a_timelines_history_is_no_place_in_the_wal() -> None:
    assert archiver(last_archived_wal="00000002.history").unarchived_bytes is None


def test_the_archivers_own_complaint_is_found_in_the_log() -> None:
    log = (
        "2026-11-30 00:00:01.000 UTC [7] LOG:  checkpoint\n"
        "2026-11-30 00:00:02,133 [9] ERROR: Barman cloud WAL archiver exception: no\n"
        "2026-11-30 00:00:02.200 UTC LOG:  archive command failed with exit code 1\n"
        "2026-11-30 00:00:02.200 UTC DETAIL:  The failed archive command was: x\n"
    )
    assert complaint_in(log) == "no"
    assert complaint_in("LOG:  all is well\n") == ""
    missing = (
        "sh: 1: /nowhere/barman-cloud-wal-archive: not found\n"
        "LOG:  archive command failed with exit code 1\n"
    )
    assert "not found" in complaint_in(missing)
