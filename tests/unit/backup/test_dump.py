"""pg_dump as something to read: its end is one only where it says so."""

from pathlib import Path

import pytest

from penstock.backup.contents import day_of
from penstock.backup.dump import (
    PgDump,
    PgDumpError,
    compression,
    database_arguments,
    last_words,
)
from penstock.backup.fingerprint import is_exact
from penstock.backup.manifest import Fingerprint, is_id, new_id, part_key
from penstock.backup.programs import Programs, find_programs
from penstock.errors import BackupError
from penstock.postgres.urls import split_password
from tests.unit.backup.programs_parts import NOON, put_program


def dump(directory: Path, script: str) -> PgDump:
    programs = put_program(directory, script)
    return PgDump(programs, [], "postgresql:///x", what="logs_20261128")


@pytest.mark.parametrize("size", [-1, 1, 3, 4, 100])
def test_an_end_without_success_is_no_end(tmp_path: Path, size: int):
    """However much is read at a time, at the latest with the last of its bytes."""
    dumped = dump(tmp_path, "printf data; echo 'pg_dump: error: no' >&2; exit 3")
    with pytest.raises(PgDumpError, match=r"logs_20261128 failed: no \(exit code 3\)"):
        while dumped.read(size):
            pass
    dumped.close()


def test_what_is_whole_is_read_to_its_end(tmp_path: Path):
    dumped = dump(tmp_path, "printf data; echo 'pg_dump: warning: so so' >&2")
    assert (dumped.read(3), dumped.read(3), dumped.read(3)) == (b"dat", b"a", b"")
    assert dumped.notes() == ["pg_dump: warning: so so"]
    dumped.close()


def test_one_that_is_stopped_is_no_end(tmp_path: Path):
    dumped = dump(tmp_path, "printf data; exec sleep 1000")
    assert dumped.read(4) == b"data"
    dumped.stop()
    with pytest.raises(PgDumpError, match="was stopped"):
        dumped.read(4)
    dumped.close()


def test_one_that_is_killed_is_told_by_its_signal(tmp_path: Path):
    dumped = dump(tmp_path, "printf data; kill -9 $$")
    with pytest.raises(PgDumpError, match="ended by SIGKILL, as the kernel does"):
        dumped.read()
    dumped.close()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("", ""),
        ("Killed\n", "Killed"),
        (
            (
                "pg_dump: warning: x\npg_dump: error: query failed: ERROR:  no rights\n"
                "pg_dump: detail: Query was: LOCK TABLE public.logs"
            ),
            "query failed: ERROR: no rights",
        ),
        (
            (
                "pg_dump: error: first\npg_dump: error: Dumping failed: x\n"
                "pg_dump: detail: Error message from server: bad\n"
                "pg_dump: detail: Command was: COPY x"
            ),
            "Dumping failed: x detail: Error message from server: bad",
        ),
    ],
)
def test_last_words_are_one_line_of_what_is_wrong(said: str, words: str):
    assert last_words(said) == words


def test_how_old_ones_compress_and_leave_out_days(tmp_path: Path):
    old = Programs(tmp_path, "15.4", 15)
    assert compression(old, "auto") == "1"
    assert compression(old, "gzip:6") == "6"
    with pytest.raises(BackupError, match="cannot compress by lz4"):
        compression(old, "lz4")
    days = ["public.logs_20261128", "public.logs_default"]
    told = database_arguments("snap", "public.logs", days, "1", 15)
    assert told[-2:] == [f"--exclude-table-data={day}" for day in days]
    told = database_arguments("snap", "public.logs", days, "1", 16)
    assert told[-1] == "--exclude-table-data-and-children=public.logs"


def test_new_ones_are_asked_whether_they_can_compress(tmp_path: Path):
    def programs(name: str, words: str) -> Programs:
        script = f"echo 'pg_dump: error: {words}' >&2; exit 1"
        return put_program(tmp_path / name, script)

    without = programs("without", "this build does not support compression with ZSTD")
    with pytest.raises(BackupError, match="cannot compress by zstd:9"):
        compression(without, "zstd:9")
    able = programs("with", "no server")
    assert compression(able, "zstd:9") == "zstd:9"
    # The pg_restore that reads it may be another's.
    assert compression(able, "auto") == "gzip:1"


# --- which programs


def test_the_least_of_those_that_are_new_enough_is_taken(tmp_path: Path):
    put_program(tmp_path, "", version="17.2 (Debian 17.2-1)")
    found = find_programs(16, str(tmp_path))
    assert (found.version, found.major, found.bin_dir) == ("17.2", 17, tmp_path)
    with pytest.raises(BackupError, match=r"is of PostgreSQL 17\.2, older than the"):
        find_programs(18, str(tmp_path))


def test_what_cannot_be_run_is_none(tmp_path: Path):
    (tmp_path / "pg_dump").write_text("no program")
    with pytest.raises(BackupError, match="there is no pg_dump in"):
        find_programs(18, str(tmp_path))


@pytest.mark.parametrize(
    ("url", "shown", "password"),
    [
        ("postgresql://h/db", "postgresql://h/db", ""),
        ("postgresql://u:p%40@h1,h2:1/db?a=b", "postgresql://u@h1,h2:1/db?a=b", "p@"),
        ("postgresql:///db?password=x&host=/run", "postgresql:///db?host=/run", "x"),
        ("postgres://u:a@h?passwor%64=b", "postgres://u@h", "a"),
    ],
)
def test_a_password_is_taken_out_of_a_url(url: str, shown: str, password: str):
    assert split_password(url) == (shown, password)


def test_the_password_of_a_key_cannot_be_hidden(tmp_path: Path):
    programs = put_program(tmp_path, "")
    with pytest.raises(BackupError, match="use a client key without a password"):
        programs.run("pg_dump", [], "postgresql://h/db?sslpassword=secret")


# --- names, days, fingerprints


def test_a_backups_name_is_its_time_and_in_its_order():
    ids = [new_id(NOON.replace(microsecond=us)) for us in (0, 20, 500_000, 999_999)]
    assert all(map(is_id, ids))
    assert ids == sorted(set(ids))
    assert ids[2] == "20261128T120000Z-8000"


def test_any_name_of_a_table_is_a_name_of_an_object():
    assert part_key("logs_20261128", "ID") == "parts/logs_20261128-ID.dump"
    assert part_key('a."b/../c"', "ID") == "parts/a.%22b%2F..%2Fc%22-ID.dump"
    long = {part_key("ü" * 60 + end, "ID") for end in "ab"}
    assert len(long) == 2
    assert max(map(len, long)) < 200


@pytest.mark.parametrize(
    ("name", "start", "end", "day"),
    [
        ("logs_20261128", 0, 86_400, "20261128"),
        ("logs_20261128", 0, 7 * 86_400, None),
        ("logs_20261127", 0, 86_400, None),
        ("november", 0, 86_400, None),
    ],
)
def test_a_day_is_one_by_its_bounds_and_its_name(
    name: str, start: int, end: int, day: str | None
):
    midnight = NOON.timestamp() - 43_200
    assert day_of(name, midnight + start, midnight + end) == day
    assert day_of(name, None, None) is None


@pytest.mark.parametrize(
    ("frozen", "exact"), [(None, False), (0, False), (1, False), (2, True)]
)
def test_only_a_table_that_is_all_frozen_shows_each_change(
    frozen: int | None, exact: bool
):
    seen = Fingerprint(
        oid=1,
        relfilenode=1,
        size_bytes=16_384,
        inserted_rows=3,
        updated_rows=0,
        deleted_rows=0,
        frozen_pages=frozen,
    )
    assert is_exact(seen, 8_192) is exact
