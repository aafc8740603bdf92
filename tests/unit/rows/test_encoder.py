"""Which encoder is taken; without the compiled modules all works as with them."""

import subprocess
import sys

import pytest

from penstock.rows import IS_BUILT, RowEncoder
from penstock.settings import ColumnSettings
from tests import msgpack_bytes as m
from tests.pure_core import parts_of

# As where there was no C compiler: a module that is None is not found.
WITHOUT_COMPILED = """
import sys
sys.modules["penstock.rows._native"] = sys.modules["penstock.wire._lone_events"] = None
from penstock.cli.doctor import _encoder
from penstock.rows import IS_BUILT
from penstock.settings import WireLimits
from penstock.wire.messages import MessageReader
from tests import msgpack_bytes as m
from tests.pure_core import parts_of
reader = MessageReader(WireLimits())
reader.receive_data(3 * m.fixarray(m.fixstr(b"t"), m.uint32(m.T), m.pack({"a": 1})))
message = reader.next_message()
(part,) = parts_of(message.entries)
print(IS_BUILT, message.frames, part.data.hex(), _encoder().mark, _encoder().mend)
"""


def test_without_the_compiled_modules_the_same_rows_are_written() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_COMPILED],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    is_built, frames, data, mark, mend = ended.stdout.strip().split(" ", 4)
    (part,) = parts_of(3 * m.entry({"a": 1}, m.uint32(m.T)))
    assert (is_built, frames, data) == ("False", "3", part.data.hex())
    assert mark == "warn"
    assert "install a C compiler" in mend


def test_the_compiled_encoder_is_taken_where_there_is_one() -> None:
    assert RowEncoder(ColumnSettings(), receiver=1).is_native == IS_BUILT
    assert not RowEncoder(ColumnSettings(), receiver=1, is_native=False).is_native


@pytest.mark.parametrize("path", ["a.b" * 20, "a\\x", "a\0"])
def test_a_path_that_it_does_not_take_goes_to_the_plain_one(path: str) -> None:
    columns = ColumnSettings(service_keys=(path,))
    encoder = RowEncoder(columns, receiver=1)
    assert not encoder.is_native
    (part,) = parts_of(m.entry({"a": 1}), encoder=encoder)
    assert part.rows == 1
