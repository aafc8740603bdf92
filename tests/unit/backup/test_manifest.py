"""A manifest that Penstock did not write is refused: its names come into statements."""

import json
from typing import Any

import pytest

from penstock.backup.manifest import decode, encode
from penstock.errors import BackupError
from tests.backup_history import NIGHT, backup_id, manifest, part

OWN = backup_id(NIGHT)
WHOLE = manifest(
    NIGHT,
    [
        part("logs_20251130", OWN),
        part("logs_default", OWN),
        part('archive."odd ""name"', OWN),
        part("database", OWN),
    ],
)


def test_what_is_written_is_read_again():
    assert decode(encode(WHOLE), "here") == WHOLE


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key", "../../etc/passwd"),
        ("key", "parts/../lock.json"),
        ("key", "/etc/passwd"),
        ("key", "lock.json"),
        ("table", "logs_20251130; DROP TABLE logs; --"),
        ("table", "pg_read_file('/etc/passwd')"),
        ("table", 'public."a" b"'),
        ("table", "logs_20251130\n"),
        ("day", "20251129"),
        ("day", "99999999"),
        ("rows", -1),
        ("rows", 10**30),
        ("size_bytes", -1),
        ("first_ts", "2025-11-30T00:00:00"),
    ],
)
def test_a_part_that_is_odd_is_refused(field: str, value: Any):
    written = json.loads(encode(WHOLE))
    written["parts"][0][field] = value
    with pytest.raises(BackupError, match=r"^here is no manifest"):
        decode(json.dumps(written).encode(), "here")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "../other"),
        ("created_at", "2025-11-30T00:00:00"),
        ("pg_dump_version", "new"),
        ("other_rows", {"(SELECT lo_export(1, '/x'))": 0}),
        ("other_rows", {"public.mine": -1}),
    ],
)
def test_a_manifest_that_is_odd_is_refused(field: str, value: Any):
    written = json.loads(encode(WHOLE)) | {field: value}
    with pytest.raises(BackupError, match=r"^here is no manifest"):
        decode(json.dumps(written).encode(), "here")
