"""What the port to a store promises, kept by a directory and by S3 alike."""

import hashlib
import io
from pathlib import Path

import pytest

from penstock.backup.store import Store
from penstock.backup.stores import open_store
from tests.s3_server import S3

MIB = 1024 * 1024


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, module_s3: S3) -> Store:
    """An empty store of each kind."""
    if request.param == "file":
        return open_store((tmp_path / "store").as_uri())
    return open_store(module_s3.url(f"of/{request.node.name.partition('[')[0]}"))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def keys(store: Store, prefix: str = "") -> list[str]:
    return [each.key for each in store.entries(prefix)]


@pytest.mark.parametrize("size", [0, 1, 20 * MIB + 3], ids=["empty", "one", "parts"])
def test_what_is_put_is_what_is_opened(store: Store, size: int):
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    told: list[int] = []
    stored = store.put("parts/a.dump", io.BytesIO(data), on_bytes=told.append)
    assert stored == (size, sha256(data))
    assert sum(told) == size
    opened = store.open("parts/a.dump", size_bytes=size, sha256=sha256(data))
    assert b"".join(opened) == data
    (entry,) = store.entries("")
    assert entry[:2] == ("parts/a.dump", size)
    assert 0 <= store.age_seconds("parts/a.dump") < 60
