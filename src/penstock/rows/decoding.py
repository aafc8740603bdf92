"""Rows again, of the binary COPY tuples that they were written as.

It owns how a tuple's fields are found, and their values; only what is asked for is
decoded, as all rows pass by here while somebody looks at them. It must not write any.
"""

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

    def __init__(self, data: bytes, start: int, fields: tuple[int, ...]) -> None:
        """Be the row of the tuple that begins at `start`.

        Args:
            fields: where tag, level, service, host, message and attributes begin,
                their lengths included, and where the tuple ends.
        """
        self._data = data
        self._start = start
        self._fields = fields

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

    @property
    def tuple_bytes(self) -> bytes:
        """Return the tuple."""
        return self._data[self._start : self._fields[-1]]

    def raw(self, column: str) -> bytes | None:
        """Return the UTF-8 of tag, level, service, host or message; None for null."""
        place = _PLACES[column]
        data, begin = self._data, self._fields[place]
        if data[begin] & _SIGN:
            return None
        return data[begin + 4 : self._fields[place + 1]]

    def text(self, column: str) -> str | None:
        """Return the text of tag, level, service, host or message; None for null."""
        raw = self.raw(column)
        return None if raw is None else raw.decode()

    @property
    def attributes(self) -> bytes:
        """Return the JSON text of the attributes, an object."""
        return self._data[self._fields[5] + 4 + _VERSION_BYTES : self._fields[6]]


def stored_rows(data: bytes) -> Iterator[StoredRow]:
    """Yield the rows of tuples that stand one behind the other."""
    start, end = 0, len(data)
    length_at = _unpack_length_from
    while start < end:
        tag = start + _FIRST_BYTES
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
        next_start = attributes + 4 + length_at(data, attributes)[0]
        fields = (tag, level, service, host, message, attributes, next_start)
        yield StoredRow(data, start, fields)
        start = next_start
