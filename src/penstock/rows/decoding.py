"""Rows again, of the binary COPY tuples that they were written as.

It owns how tuples and their fields are found, and their values; only what is asked for
is decoded, as all rows pass by here while somebody looks. It must not write
any.
"""

import re
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from penstock.rows.copy_format import COLUMNS
from penstock.rows.times import MICROSECONDS, PG_EPOCH_MICROSECONDS

# The number of fields; id and ts, each behind its length.
_HEAD = struct.Struct(">hiqiq")
_ID_AT = struct.calcsize(">hi")
_TS_AT = struct.calcsize(">hiqi")
_unpack_number_from = struct.Struct(">q").unpack_from
_unpack_length_from = struct.Struct(">i").unpack_from
# A tuple's head. Nothing else in a tuple has these bytes: texts and JSON have no NUL,
# and a length that ends with an 8, or has one before zeros, stands before that many
# bytes of them. Only within an id and a time may they be, which are passed over.
_HEADS = re.compile(rb"\0\x08\0\0\0\x08.{8}\0\0\0\x08.{8}", re.DOTALL)
# Of a length's first byte: a null's is -1.
_SIGN = 0x80
# Where `tag` begins, the first field whose length varies.
_FIRST_BYTES = _HEAD.size
# The fields from tag on, without attributes, by their place among those that vary.
_PLACES = {name: place for place, name in enumerate(COLUMNS[2:-1])}
# jsonb_recv's version byte, before the JSON text.
_VERSION_BYTES = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class StoredRow:
    """One row of `logs`, as its tuple has it."""

    __slots__ = ("_data", "_fields", "_start")

    def __init__(self, data: bytes, start: int) -> None:
        """Be the row of the tuple that begins at `start`."""
        self._data = data
        self._start = start
        self._fields: tuple[int, ...] | None = None

    @property
    def id(self) -> int:
        """Return the id."""
        row_id: int = _unpack_number_from(self._data, self._start + _ID_AT)[0]
        return row_id

    @property
    def microseconds(self) -> int:
        """Return the time, in microseconds since 1970."""
        since: int = _unpack_number_from(self._data, self._start + _TS_AT)[0]
        return since + PG_EPOCH_MICROSECONDS

    @property
    def ts(self) -> datetime | str:
        """Return the time; of a year past 9999, which Python has not, its seconds."""
        try:
            return _EPOCH + timedelta(microseconds=self.microseconds)
        except OverflowError:
            return str(self.microseconds // MICROSECONDS)

    def raw(self, column: str) -> bytes | None:
        """Return the UTF-8 of tag, level, service, host or message; None for null."""
        place = _PLACES[column]
        data, fields = self._data, self._fields or self._find_fields()
        begin = fields[place]
        if data[begin] & _SIGN:
            return None
        return data[begin + 4 : fields[place + 1]]

    def text(self, column: str) -> str | None:
        """Return the text of tag, level, service, host or message; None for null."""
        raw = self.raw(column)
        return None if raw is None else raw.decode()

    @property
    def attributes(self) -> bytes:
        """Return the JSON text of the attributes, an object."""
        fields = self._fields or self._find_fields()
        return self._data[fields[5] + 4 + _VERSION_BYTES : fields[6]]

    def _find_fields(self) -> tuple[int, ...]:
        """Find where tag and all behind it begin, lengths included, and the end."""
        data, length_at = self._data, _unpack_length_from
        tag = self._start + _FIRST_BYTES
        # A null's length is -1, and tag and attributes are never null.
        level = tag + 4 + length_at(data, tag)[0]
        length = length_at(data, level)[0]
        service = level + 4 + length if length > 0 else level + 4
        length = length_at(data, service)[0]
        host = service + 4 + length if length > 0 else service + 4
        length = length_at(data, host)[0]
        message = host + 4 + length if length > 0 else host + 4
        length = length_at(data, message)[0]
        attributes = message + 4 + length if length > 0 else message + 4
        end = attributes + 4 + length_at(data, attributes)[0]
        self._fields = (tag, level, service, host, message, attributes, end)
        return self._fields


def row_starts(data: bytes) -> list[int]:
    """Return where each of some tuples begins that stand one behind the other."""
    return [found.start() for found in _HEADS.finditer(data)]


def stored_rows(data: bytes) -> Iterator[StoredRow]:
    """Yield the rows of tuples that stand one behind the other."""
    for start in row_starts(data):
        yield StoredRow(data, start)
