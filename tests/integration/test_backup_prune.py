"""`penstock backup prune` on real stores: what stays is whole, whatever happens."""

import io
import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from penstock.backup.catalogue import (
    Verified,
    note_verified,
    read_catalogue,
    verified_key,
)
from penstock.backup.files import FileStore
from penstock.backup.lock import store_lock
from penstock.backup.manifest import manifest_key, part_key
from penstock.backup.prune import carry_out, plan_prune
from penstock.backup.retention import Rules
from penstock.backup.store import Store
from penstock.backup.stores import open_store
from penstock.errors import BackupError, LockedError, StoreError
from penstock.telemetry.backup import read_samples
from tests.backup_history import keys_of, needed_by, nights, put_all
from tests.integration.conftest import Here, the_line
from tests.s3_server import S3

# PostgreSQL servers are started and restored meanwhile, three parts of tests at once.
pytestmark = pytest.mark.timeout(300)

RULES = Rules(7, 5, 12)
DAY = timedelta(days=1)
NEVER_ENDED = "20251001T000000Z-dead"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return FileStore(tmp_path / "store")


def now() -> datetime:
    return datetime.now(UTC)


def whole_backups(store: Store) -> list[str]:
    """Return the ids of all backups, each of which has all that it refers to."""
    manifests, unreadable = read_catalogue(store)
    assert unreadable == ()
    assert needed_by(manifests) <= keys_of(store)
    return [each.id for each in manifests]


# A request each takes moto a while. Of 60 nights up to Wednesday, 28 January, stay 7,
# three Sundays before them, and the last of December and of November.
@pytest.mark.parametrize(("kind", "days", "kept"), [("file", 365, 22), ("s3", 60, 12)])
def test_of_a_year_of_nights_the_rules_leave_whole_backups_and_nothing_else(
    kind: str, days: int, kept: int, tmp_path: Path, s3: S3, here: Here
) -> None:
    url = s3.url("year") if kind == "s3" else (tmp_path / "year").as_uri()
    store = open_store(url)
    year = nights(days, has_open_parts=kind == "file")
    put_all(store, year)
    done = here("backup", "prune", "--store", url, "-o", "json")
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == days
    stay = [each["id"] for each in told if each["stays"]]
    assert len(stay) == kept
    assert f"removed: {days - kept} x backup" in done.stderr
    assert whole_backups(store) == stay
    # Each day is in the newest backup, and no object is there for nothing.
    by_id = {each.id: each for each in year}
    assert len({part.table for part in by_id[stay[0]].parts}) >= days
    assert keys_of(store) == needed_by(by_id[each] for each in stay)
    again = here("backup", "prune", "--store", url)
    assert "nothing removed" in again.stderr


def test_a_dry_run_says_the_same_and_removes_nothing(store: Store, here: Here) -> None:
    put_all(store, nights(9))
    before = keys_of(store)
    rules = ("--keep-weekly", "0", "--keep-monthly", "0")
    arguments = ("backup", "prune", "--store", store.url, *rules)
    said = here(*arguments, "--keep-daily", "2", "--dry-run")
    assert said.returncode == 0
    assert keys_of(store) == before
    assert "would be removed: 7 x backup" in said.stderr
    done = here(*arguments, "--keep-daily", "2")
    assert done.stdout == said.stdout
    assert done.stderr == said.stderr.replace("would be removed", "removed")
    assert len(whole_backups(store)) == 2


class Killed(BaseException):
    """SIGKILL came at this moment."""


class DyingStore(FileStore):
    """A store whose process is killed after so many objects are removed."""

    left = 0

    def delete(self, keys: Collection[str]) -> None:
        for key in keys:
            if not self.left:
                raise Killed
            self.left -= 1
            super().delete([key])


def test_killed_anywhere_no_backup_is_hurt_and_the_next_prune_ends_it(
    tmp_path: Path,
) -> None:
    history = nights(7)
    rules = Rules(2, 0, 1)
    later = now() + 2 * DAY  # what a killed prune leaves is old, and waits for nothing
    steps = 0
    while True:
        dying = DyingStore(tmp_path / f"{steps}")
        put_all(dying, history)
        plan = plan_prune(dying, rules, later)
        dying.left = steps
        try:
            carry_out(dying, plan)
        except Killed:
            pass
        else:
            break
        left = whole_backups(dying)
        stay = [each.id for each in plan.staying]
        assert set(stay) <= set(left)
        next_one = FileStore(tmp_path / f"{steps}")
        carry_out(next_one, plan_prune(next_one, rules, later))
        assert whole_backups(next_one) == stay
        assert keys_of(next_one) == needed_by(plan.staying)
        steps += 1
    assert steps > 15


def test_leftovers_of_a_day_ago_go_and_younger_ones_stay(store: Store) -> None:
    put_all(store, nights(2))
    orphan = part_key("logs_20251001", NEVER_ENDED)
    for key in (orphan, verified_key(NEVER_ENDED), "parts/mine.txt"):
        store.put(key, io.BytesIO(b"abc"))
    carry_out(store, plan_prune(store, RULES, now() + DAY - timedelta(minutes=1)))
    assert orphan in keys_of(store)
    plan = plan_prune(store, RULES, now() + DAY + timedelta(minutes=1))
    assert set(plan.leftovers) == {orphan, verified_key(NEVER_ENDED)}
    carry_out(store, plan)
    assert orphan not in keys_of(store)
    assert "parts/mine.txt" in keys_of(store)
    assert len(whole_backups(store)) == 2


def test_what_was_noted_on_a_backup_goes_with_it(store: Store) -> None:
    first, second = nights(2)
    put_all(store, [first, second])
    for each in (first, second):
        note_verified(store, each.id, Verified(at=now(), ok=True))
    carry_out(store, plan_prune(store, Rules(1, 0, 0), now()))
    assert verified_key(first.id) not in keys_of(store)
    assert verified_key(second.id) in keys_of(store)


def test_nothing_is_removed_where_a_manifest_cannot_be_read(
    store: Store, here: Here
) -> None:
    history = nights(9)
    put_all(store, history)
    key = manifest_key(history[4].id)
    store.put(key, io.BytesIO(b"{"))
    before = keys_of(store)
    rules = ("--keep-daily", "1", "--keep-weekly", "0")
    for more in ([], ["--dry-run"]):
        line = the_line(here("backup", "prune", "--store", store.url, *rules, *more), 1)
        assert "nothing is removed" in line
        assert f"{store.url}/{key} is no manifest" in line
        assert keys_of(store) == before
    store.delete([key])
    assert here("backup", "prune", "--store", store.url, *rules).returncode == 0


def test_where_all_manifests_are_lost_the_parts_stay(store: Store, here: Here) -> None:
    history = nights(3)
    put_all(store, history)
    store.delete([manifest_key(each.id) for each in history])
    before = keys_of(store)
    carry_out(store, plan_prune(store, RULES, now() + 9 * DAY))
    assert keys_of(store) == before != set()
    assert "there is no backup" in here("backup", "prune", "--store", store.url).stderr


def test_the_last_backup_stays_whatever_the_rules(store: Store, here: Here) -> None:
    put_all(store, nights(3))
    none = [
        word
        for each in ("daily", "weekly", "monthly")
        for word in (f"--keep-{each}", "0")
    ]
    done = here("backup", "prune", "--store", store.url, *none)
    assert done.returncode == 0
    assert len(whole_backups(store)) == 1
    assert "the newest" in done.stdout


def test_a_rule_that_is_no_number_is_named(store: Store, here: Here) -> None:
    for flag in ("--keep-daily", "--backup-keep-daily"):
        done = here("backup", "prune", "--store", store.url, flag, "all")
        assert "--backup-keep-daily" in the_line(done, 2)


def test_beside_another_command_it_waits_for_its_turn(store: Store, here: Here) -> None:
    put_all(store, nights(9))
    before = keys_of(store)
    with store_lock(store, "create"):
        line = the_line(here("backup", "prune", "--store", store.url), 1)
    assert "penstock backup create" in line
    assert keys_of(store) == before


def test_a_lock_that_is_lost_meanwhile_stops_it(store: Store) -> None:
    """Another may be writing a manifest that refers to what would go now."""
    put_all(store, nights(9))
    before = keys_of(store)
    plan = plan_prune(store, Rules(1, 0, 0), now())
    with (
        pytest.raises(LockedError),
        store_lock(store, "prune") as lock,
    ):
        store.put("lock.json", io.BytesIO(b"{}"))
        carry_out(store, plan, lock.check)
    assert keys_of(store) == before


def test_an_upload_that_never_ended_goes(s3: S3) -> None:
    """To moto all of them began in 2010."""
    store = open_store(s3.url())
    put_all(store, nights(1))
    key = part_key("logs_20251001", NEVER_ENDED)
    s3.client().create_multipart_upload(Bucket=s3.bucket, Key=key)
    plan = plan_prune(store, RULES, now())
    assert plan.unfinished == (key,)
    assert s3.unfinished() == [key]
    carry_out(store, plan)
    assert s3.unfinished() == []


def test_it_tells_prometheus(store: Store, here: Here, tmp_path: Path) -> None:
    put_all(store, nights(9))
    file = tmp_path / "backup.prom"
    setting = {"PENSTOCK_BACKUP_METRICS_FILE": str(file)}
    assert here("backup", "prune", "--store", store.url, **setting).returncode == 0
    told = read_samples(file)
    kept = len(whole_backups(store))
    assert told["penstock_backup_kept", None] == kept
    sizes = [each.size_bytes for each in store.entries("parts/")]
    assert told["penstock_backup_kept_bytes", None] == sum(sizes)
    with store_lock(store, "create"):
        assert here("backup", "prune", "--store", store.url, **setting).returncode == 1
    failure = "penstock_backup_last_failure_timestamp_seconds"
    assert (failure, ("command", "prune")) in read_samples(file)


def test_a_store_that_is_away_is_one_line(here: Here, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    url = (tmp_path / "file" / "store").as_uri()
    assert url in the_line(here("backup", "prune", "--store", url), 3).replace(
        str(tmp_path), tmp_path.as_uri()
    )
    with pytest.raises((BackupError, StoreError)):
        carry_out(open_store(url), plan_prune(open_store(url), RULES, now()))
