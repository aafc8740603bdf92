"""What a recovery goes to, from which base backup, and what its log says."""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from penstock.backup.barman import Barman
from penstock.backup.files import FileStore
from penstock.backup.physical import BaseBackup, base_before
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
from penstock.backup.target_time import in_words, parse_target_time
from penstock.backup.timelines import (
    first_segments,
    gap_after,
    refuse_without_beginning,
)
from penstock.errors import BackupError, SettingsError
from penstock.settings import BackupSettings

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-30 14:05:00+09:00",
        "2026-11-30 14:05:00+09",
        "2026-11-30T05:05:00Z",
        " 2026-11-30 05:05 UTC ",
    ],
)
def test_a_time_is_taken_with_its_zone(text: str) -> None:
    assert parse_target_time(text, NOW) == datetime(2026, 11, 30, 5, 5, tzinfo=UTC)


def test_latest_is_all_that_there_is() -> None:
    assert parse_target_time("latest", NOW) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-11-30 05:05:00", "has no zone"),
        ("2026-11-30", "has no zone"),
        ("yesterday", "is no time"),
        ("2026-11-30 25:00:00Z", "is no time"),
        ("2026-11-30 12:00:01Z", "has not come yet"),
    ],
)
def test_what_is_no_time_to_go_to_is_refused(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        parse_target_time(text, NOW)


def test_a_moment_in_words_is_taken_again() -> None:
    moment = NOW - timedelta(microseconds=1)
    assert parse_target_time(in_words(moment), NOW) == moment


def base(hours_ago: int, timeline: int = 1, problem: str = "") -> BaseBackup:
    ended = NOW - hours_ago * HOUR
    return BaseBackup(
        id=f"{hours_ago}h",
        began_at=ended - HOUR / 2,
        ended_at=ended,
        timeline=timeline,
        first_wal="",
        last_wal="",
        server_major=18,
        system_identifier="1",
        segment_bytes=16 * 1024 * 1024,
        problem=problem,
    )


def test_the_last_base_backup_that_ended_before_is_taken() -> None:
    bases = [base(9), base(6), base(3), base(2, problem="failed")]
    found = base_before(bases, NOW - 4 * HOUR, 1)
    assert found is not None
    assert found.id == "6h"
    assert base_before(bases, NOW - 10 * HOUR, 1) is None
    last = base_before(bases, None, 1)
    assert last is not None
    assert last.id == "3h"


def test_a_base_backup_of_a_later_timeline_is_none_for_a_moment_before_it() -> None:
    bases = [base(9), base(3, timeline=2)]
    found = base_before(bases, None, 1)
    assert found is not None
    assert found.id == "9h"


@pytest.fixture
def pgdata(tmp_path: Path) -> Path:
    (tmp_path / "postgresql.auto.conf").write_text(
        "# by ALTER SYSTEM\nwork_mem = '8MB'\narchive_command = 'to the lost one''s'\n"
        "archive_timeout = '60'\nrestore_command = 'old'\n"
    )
    (tmp_path / "standby.signal").touch()
    return tmp_path


def test_a_recovery_archives_nothing_and_leaves_nothing(pgdata: Path) -> None:
    begin_recovery(pgdata, "fetch %f 'it'", Goal(NOW, 2))
    text = (pgdata / "postgresql.auto.conf").read_text()
    assert "the lost one" not in text
    assert "archive_mode = 'off'" in text
    assert "restore_command = 'fetch %f ''it'''" in text
    assert "recovery_target_time = '2026-11-30 12:00:00+00'" in text
    assert "recovery_target_timeline = '2'" in text
    assert (pgdata / "recovery.signal").exists()
    assert not (pgdata / "standby.signal").exists()
    # Without its moment, where the archive has ended before that.
    begin_recovery(pgdata, "fetch", Goal(None))
    assert "target_time =" not in (pgdata / "postgresql.auto.conf").read_text()
    end_recovery(pgdata)
    text = (pgdata / "postgresql.auto.conf").read_text()
    assert text == "# by ALTER SYSTEM\nwork_mem = '8MB'\n"


def test_a_log_tells_how_far_a_recovery_came() -> None:
    log = (
        'LOG:  restored log file "000000010000000000000006" from archive\n'
        'LOG:  restored log file "00000002.history" from archive\n'
        "LOG:  last completed transaction was at log time 2026-11-30 14:00:01.5+09\n"
    )
    assert replayed_segments(log) == 1
    assert last_commit(log) == datetime(2026, 11, 30, 5, 0, 1, 500_000, UTC)
    assert stopped_at(log) is None
    assert not reached_end_of_wal(log)
    stopped = "recovery stopping before commit of transaction 7, time 2026-11-30 05:00"
    assert stopped_at(stopped) == datetime(2026, 11, 30, 5, tzinfo=UTC)
    ended = "FATAL:  recovery ended before configured recovery target was reached"
    assert reached_end_of_wal(ended)


def test_a_segment_that_could_not_be_had_is_named() -> None:
    log = (
        "2026-11-30 01:07:00,123 [7] ERROR: Error -3 while decompressing data\n"
        'FATAL:  could not restore file "000000010000000000000010" from archive: child'
        " process exited with exit code 254\n"
    )
    said = "000000010000000000000010: Error -3 while decompressing data"
    assert why_not_fetched(log) == said
    assert why_not_fetched("FATAL:  out of memory") == ""


def test_the_segment_that_came_last_is_told_whatever_its_timeline() -> None:
    line = 'LOG:  restored log file "{}" from archive\n'
    log = line.format("0000000200000000000000FE") + line.format(
        "000000010000000100000000"
    )
    assert last_segment(log) == "000000010000000100000000"
    assert last_segment("") == ""


@pytest.mark.parametrize(
    ("names", "gap"),
    [
        ([], ""),
        (["0000000100000000000000FE.gz", "0000000100000000000000FF.gz"], ""),
        # One that was archived since.
        (["000000010000000100000000.gz"], ""),
        (["000000010000000100000001.gz"], "000000010000000100000000"),
        (["000000010000000100000002"], "000000010000000100000000"),
        (["000000010000000100000001.partial.gz"], ""),
        (["000000010000000100000001.00000028.backup.gz"], ""),
        (["00000002.history.gz"], ""),
    ],
)
def test_a_segment_that_is_missing_before_others_is_told(
    names: list[str], gap: str
) -> None:
    assert gap_after("0000000100000000000000FF", names) == gap
    assert gap_after("", names) == ""


def test_each_timeline_begins_in_a_segment_of_its_own() -> None:
    history = (
        "1\t0/11000070\tbefore 2026-11-30 01:05:39.916616+00\n\n"
        "3\t1/FE0001C8\tno recovery target specified\n"
    )
    assert first_segments(history, 4) == {
        3: "000000030000000000000011",
        4: "0000000400000001000000FE",
    }


def test_a_timeline_whose_first_segment_is_missing_is_refused(tmp_path: Path) -> None:
    # PostgreSQL would replay what the timeline before went on with.
    settings = BackupSettings(backup_store="s3://bucket")
    barman, store = Barman(settings), FileStore(tmp_path)
    wal = barman.wal_prefix
    history = gzip.compress(b"1\t0/11000070\tbefore 2026-11-30 01:05:39.916616+00\n")
    store.create(f"{wal}00000002.history.gz", history)
    later = "000000020000000000000012"
    store.create(f"{wal}{later[:16]}/{later}.gz", b"")
    with pytest.raises(BackupError, match="from its beginning") as raised:
        refuse_without_beginning(barman, store, 1, 2)
    assert "000000020000000000000011" in str(raised.value)
    refuse_without_beginning(barman, store, 2, 2)
    first = "000000020000000000000011"
    store.create(f"{wal}{first[:16]}/{first}.gz", b"")
    refuse_without_beginning(barman, store, 1, 2)
