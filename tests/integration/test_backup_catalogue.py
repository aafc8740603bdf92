"""`penstock backup list` and `show`: all there is, and what is wrong with it."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from penstock.backup.catalogue import (
    Verified,
    find_backup,
    note_verified,
    read_catalogue,
    read_verified,
    verified_key,
)
from penstock.backup.files import FileStore
from penstock.backup.latest import DatabaseId, Latest, find_latest
from penstock.backup.manifest import decode, encode, manifest_key
from penstock.backup.store import Store
from penstock.backup.stores import open_store
from penstock.errors import BackupError, StoreError
from tests.backup_history import NIGHT, manifest, nights, part, put_all
from tests.integration.conftest import Here, the_line
from tests.s3_server import S3


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "store").mkdir()
    return FileStore(tmp_path / "store")


def cells(line: str) -> list[str]:
    return [each.strip() for each in next(csv.reader([line], delimiter="│"))][1:-1]


def test_a_list_has_the_newest_first_with_what_each_holds(s3: S3, here: Here) -> None:
    store = open_store(s3.url("some/where"))
    recent = datetime.now(UTC) - timedelta(hours=49, minutes=1)
    history = nights(3, recent)
    put_all(store, history)
    at = datetime.now(UTC) - timedelta(minutes=7, seconds=9)
    note_verified(store, history[1].id, Verified(at=at, ok=True))
    note_verified(store, history[0].id, Verified(at=at, ok=False, problems=("x",)))
    done = here("backup", "list", "--store", store.url)
    assert done.returncode == 0
    assert done.stderr == "(3 rows)\n"
    rows = [cells(line) for line in done.stdout.splitlines() if "Z-" in line]
    assert [row[0] for row in rows] == [each.id for each in history[::-1]]
    newest, middle, oldest = (row[1:] for row in rows)
    sums = ["50", "4", "15 bytes", "9 bytes", "1 min 2 s", "penstock"]
    assert newest == ["1 h", *sums, "no"]
    assert middle[-1] == "ok, 7 min ago"
    assert oldest[0] == "2 days"
    assert oldest[-1] == "DIFFERS, 7 min ago"


def test_as_json_a_line_has_the_id_and_the_manifest(store: Store, here: Here) -> None:
    history = nights(2)
    put_all(store, history)
    done = here("backup", "list", "--store", store.url, "-o", "json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["id"] for each in lines] == [each.id for each in history[::-1]]
    for line, made in zip(lines, history[::-1], strict=True):
        assert decode(json.dumps(line["manifest"]).encode(), "it") == made
        assert line["size_bytes"] == made.size_bytes
        assert line["own_bytes"] == made.own_bytes
        assert line["verified"] is None


def test_a_directory_without_a_manifest_is_no_backup(store: Store, here: Here) -> None:
    (only,) = nights(1)
    put_all(store, [only])
    store.put("backups/20260101T000000Z-beef/verified.json", io.BytesIO(b"{}"))
    store.put("backups/notes.txt", io.BytesIO(b"hello"))
    done = here("backup", "list", "--store", store.url, "-o", "json")
    assert done.returncode == 0
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [only.id]


def spoiled(what: str) -> tuple[bytes, str]:
    """Return what is in place of a manifest, and what is said of it."""
    one = manifest(NIGHT + timedelta(days=300), [])
    good = encode(one)
    match what:
        case "cut off":
            return good[: len(good) // 2], "is no manifest of a backup"
        case "a later format":
            later = good.replace(b'"format": 1', b'"format": 2')
            return later, "has format 2, written by Penstock 0.1.0"
        case "another backup's":
            return good, f"is the manifest of another backup, {one.id}"
    return b"", "is no manifest of a backup"


@pytest.mark.parametrize(
    "what", ["empty", "cut off", "a later format", "another backup's"]
)
def test_a_manifest_that_cannot_be_read_is_told_beside_the_others(
    what: str, store: Store, here: Here
) -> None:
    history = nights(3)
    put_all(store, history)
    data, words = spoiled(what)
    key = manifest_key(history[-1].id)
    store.put(key, io.BytesIO(data))
    done = here("backup", "list", "--store", store.url, "-o", "json")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"penstock: {store.url}/{key} {words}")
    # Whoever asks for the latest is not given the one before it.
    with pytest.raises(BackupError, match=words):
        find_backup(store, "latest")
    assert words in the_line(here("backup", "show", "--store", store.url), 1)


def test_a_manifest_that_nobody_lets_us_read_is_told_too(store: Store) -> None:
    class Refusing(FileStore):
        def read(self, key: str) -> bytes:
            if key in refused:
                raise StoreError(f"{key} cannot be read")
            return super().read(key)

    history = nights(4)
    put_all(store, history)
    refused = {manifest_key(history[1].id)}
    refusing = Refusing(Path(store.url.removeprefix("file://")))
    manifests, unreadable = read_catalogue(refusing)
    assert [each.id for each in manifests] == [history[n].id for n in (3, 2, 0)]
    assert [each.key for each in unreadable] == list(refused)
    refused |= {manifest_key(each.id) for each in history}
    with pytest.raises(StoreError):
        read_catalogue(refusing)


def test_show_has_a_backups_parts(store: Store, here: Here) -> None:
    history = nights(3)
    put_all(store, history)
    done = here("backup", "show", history[1].id, "--store", store.url)
    assert done.returncode == 0, done.stderr
    assert "2025-12-01 02:15:00Z" in done.stdout
    rows = [cells(line) for line in done.stdout.splitlines() if "there" in line]
    tables = ["database", "logs_20251129", "logs_20251130", "logs_20251201"]
    assert [row[0] for row in rows] == tables
    dumped = [history[1].id, history[0].id, history[1].id, history[1].id]
    assert [row[5] for row in rows] == dumped
    latest = here("backup", "show", "latest", "--store", store.url, "-o", "json")
    told = json.loads(latest.stdout)
    assert told["id"] == history[2].id
    assert told["problems"] == []
    assert told["objects"] == {each.key: 3 for each in history[2].parts}


def test_show_names_the_objects_that_are_missing_or_cut(
    store: Store, here: Here
) -> None:
    (only,) = nights(1)
    put_all(store, [only])
    missing, cut = only.parts[0].key, only.parts[1].key
    store.delete([missing])
    store.put(cut, io.BytesIO(b"a"))
    note = Verified(at=datetime.now(UTC), ok=False, problems=(f"{cut} is corrupted",))
    note_verified(store, only.id, note)
    done = here("backup", "show", "latest", "--store", store.url)
    assert done.returncode == 1
    assert "MISSING" in done.stdout
    assert "WRONG SIZE: 1" in done.stdout
    lines = done.stderr.splitlines()
    assert f"penstock: {missing} is not there" in lines
    assert f"penstock: {cut} has 1 bytes, and 3 were stored" in lines
    assert f"penstock: when verified: {cut} is corrupted" in lines


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("latest", "there is no backup in"),
        ("20260101T000000Z-beef", "there is no backup 20260101T000000Z-beef in"),
        ("../../etc", "'../../etc' is no backup's id"),
    ],
)
def test_a_backup_that_is_not_there_is_one_line(
    asked: str, words: str, store: Store, here: Here
) -> None:
    line = the_line(here("backup", "show", asked, "--store", store.url), 1)
    assert words in line


@pytest.mark.parametrize(
    "command",
    ["list", "show", "verify --last", "prune", "prune --dry-run", "restore latest"],
)
def test_a_directory_that_is_not_there_is_no_store_without_backups(
    command: str, tmp_path: Path, here: Here
) -> None:
    """At night its disk may not be mounted: that is another line than no backup."""
    store = (tmp_path / "absent").as_uri()
    into = ["--data-dir", str(tmp_path / "new")] if "restore" in command else []
    line = the_line(here("backup", *command.split(), "--store", store, *into), 3)
    assert f"there is no directory {tmp_path / 'absent'}" in line
    assert list(tmp_path.iterdir()) == []


def test_without_a_store_both_say_how_to_name_one(here: Here) -> None:
    for name in ("list", "show", "prune"):
        assert "give --store, or set backup_store" in the_line(here("backup", name), 2)


def test_a_note_that_is_none_is_as_if_not_there(store: Store) -> None:
    put_all(store, [manifest(NIGHT, [part("database", "20251130T021500Z-0000")])])
    (only,) = read_catalogue(store).manifests
    for odd in (b"", b"[]", b'{"ok": 1}'):
        store.put(verified_key(only.id), io.BytesIO(odd))
        assert read_verified(store) == {}


def test_the_latest_is_none_that_has_no_id(store: Store) -> None:
    history = nights(2)
    put_all(store, history)
    store.create("backups/zzz/manifest.json", b"{}")
    assert find_backup(store, "latest").id == history[-1].id
    (unreadable,) = read_catalogue(store).unreadable
    assert unreadable.key == "backups/zzz/manifest.json"


# --- which one `latest` is

OTHERS = "7000000000000000009"


def asked(number: str) -> DatabaseId:
    return DatabaseId(number, "penstock")


def test_the_latest_is_that_of_the_database_asked_for(store: Store) -> None:
    history = nights(2)
    ours = asked(history[0].system_identifier)
    later = NIGHT + timedelta(days=9)
    theirs = manifest(later, [], system_identifier=OTHERS)
    put_all(store, [*history, theirs])
    now = datetime.now(UTC)
    assert find_latest(store, now, ours) == Latest(history[-1])
    assert find_latest(store, now, asked(OTHERS)) == Latest(theirs)

    unknown = find_latest(store, now)
    assert unknown.manifest == theirs
    assert f"{history[-1].id} of penstock of the PostgreSQL {ours[0]}" in unknown.hint
    of_none = find_latest(store, now, asked("7"))
    assert of_none.manifest == theirs
    assert "no backup of this database" in of_none.hint


def test_no_backup_is_the_latest_where_a_newer_one_cannot_be_read(store: Store) -> None:
    history = nights(2)
    ours = asked(history[0].system_identifier)
    theirs = manifest(NIGHT + timedelta(days=9), [], system_identifier=OTHERS)
    put_all(store, [*history, theirs])
    now = datetime.now(UTC)
    older, newer = (manifest_key(each.id) for each in history)
    whole, broken = encode(history[0]), b"{broken"
    store.replace(older, broken, expected=whole)
    assert find_latest(store, now, ours) == Latest(history[-1]), "it is an older one"

    store.replace(newer, broken, expected=encode(history[1]))
    store.replace(older, whole, expected=broken)
    with pytest.raises(BackupError, match=f"{history[1].id}.*may be the newest"):
        find_latest(store, now, ours)
    store.replace(older, broken, expected=whole)  # now none of it can be read
    with pytest.raises(BackupError, match="may be the newest"):
        find_latest(store, now, ours)
    assert find_latest(store, now, asked(OTHERS)) == Latest(theirs)


def test_of_one_database_the_latest_needs_no_word(store: Store) -> None:
    history = nights(2)
    put_all(store, history)
    assert find_latest(store, datetime.now(UTC)) == Latest(history[-1])


def test_a_backup_that_is_dated_in_the_future_is_told(store: Store, here: Here) -> None:
    now = datetime.now(UTC)
    history = nights(2, now - timedelta(days=2))
    ahead = manifest(now + timedelta(days=3, minutes=2), [], 7)
    put_all(store, [*history, ahead])
    done = here("backup", "show", "--store", store.url)
    assert f"the backup {ahead.id} is dated in the future" in done.stderr
    assert f"the newest that is not is {history[-1].id}" in done.stderr
    assert ", in 3 days" in done.stdout
    pruned = here("backup", "prune", "--dry-run", "--quiet", "--store", store.url)
    assert f"the backup {ahead.id} is dated in the future" in pruned.stderr
    listed = here("backup", "list", "--store", store.url)
    assert cells(listed.stdout.splitlines()[3])[1] == "in 3 days"
