"""A restore onto a disk that is really full: said in a line, and it goes on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.backup.files import FileStore
from penstock.embedded import EmbeddedPostgres, open_database
from tests.backup_history import nights, put_all
from tests.integration.backup_parts import back_up, execute
from tests.integration.conftest import Database, run_async, run_penstock, the_line
from tests.small_disks import Mount, fill, mounting

# PostgreSQL servers are started and restored meanwhile, three parts of tests at once.
pytestmark = pytest.mark.timeout(300)

MIB = 1024 * 1024
DISK_BYTES = 400 * MIB
TOO_SMALL_BYTES = 16 * MIB  # for an empty cluster
# An empty cluster works in it; the rows take four times as much, and their WAL.
LEFT_BYTES = 6 * MIB
ROWS = 60_000
FILL = f"""
SELECT penstock_make_day('2025-11-26');
INSERT INTO logs (id, ts, tag, message, attributes)
SELECT n, '2025-11-26T00:00:00Z'::timestamptz + n * interval '1 s', 'app',
    repeat(md5(n::text), 10), '{{}}'
FROM generate_series(1, {ROWS}) AS n
"""


@pytest.fixture
def mount() -> Iterator[Mount]:
    with mounting() as made:
        yield made


def test_a_restore_onto_a_full_disk_ends_with_a_line_and_goes_on_where_there_is_room(
    mount: Mount, database: Database, tmp_path: Path
) -> None:
    run_async(execute(database.url, FILL))
    store = f"file://{tmp_path}"
    backup = back_up(database, store)
    disk = mount(DISK_BYTES)
    data_dir = disk / "data"
    cluster = EmbeddedPostgres(data_dir)
    cluster.start()
    cluster.stop()
    ballast = fill(disk, LEFT_BYTES)
    restore = ("backup", "restore", backup, "--store", store, "--data-dir")
    ended = run_penstock(*restore, str(data_dir))
    line = the_line(ended, 3)
    assert "the same command goes on" in line
    ballast.unlink()
    ended = run_penstock(*restore, str(data_dir))
    assert ended.returncode == 0, ended.stderr
    with open_database(data_dir) as url:
        restored = Database(url, "penstock", url)
        assert restored.value("SELECT count(*) FROM logs") == ROWS


def test_a_scratch_directory_without_room_is_named_by_its_own_option(
    mount: Mount, tmp_path: Path
) -> None:
    put_all(FileStore(tmp_path), nights(1))
    store = f"file://{tmp_path}"
    scratch = str(mount(TOO_SMALL_BYTES))
    verify = ("backup", "verify", "--last", "--store", store)
    line = the_line(run_penstock(*verify, "--scratch-dir", scratch), 3)
    assert "choose another --scratch-dir" in line
