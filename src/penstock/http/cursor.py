"""A cursor: where the next page of a search begins, as a text for whoever turns pages.

It owns what is in it: the last row's key, the window that was meant by the first page,
however long ago, and what tells whether it is the same search. It is no secret, and
holds nothing that its bearer has not seen or asked for.
"""

import base64
import hashlib
import struct
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from penstock.http.answers import ApiError
from penstock.search.filters import Filter
from penstock.search.spelling import spell
from penstock.search.statements import Key, Order
from penstock.search.times import Window

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_packed = struct.Struct(">qqqq8s")
_DIGEST_BYTES = 8
NOT_OURS = "the cursor is none that a page had as its `next`"


class Cursor(NamedTuple):
    """The window of a search, and the key that its next page begins after."""

    window: Window
    after: Key


def write_cursor(cursor: Cursor, filter: Filter, order: Order) -> str:
    """Return a cursor as text."""
    window, after = cursor
    packed = _packed.pack(
        _microseconds(window.start),
        _microseconds(window.end),
        _microseconds(after.ts),
        after.id,
        _digest(filter, order),
    )
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def read_cursor(text: str, filter: Filter, order: Order) -> Cursor:
    """Read a cursor.

    Raises:
        ApiError: it is none, or of another search.
    """
    try:
        packed = base64.b64decode(
            text + "=" * (-len(text) % 4), altchars=b"-_", validate=True
        )
        start, end, ts, row_id, digest = _packed.unpack(packed)
        cursor = Cursor(Window(_time(start), _time(end)), Key(_time(ts), row_id))
    except (ValueError, OverflowError, struct.error):
        raise ApiError(400, NOT_OURS) from None
    if digest != _digest(filter, order):
        raise ApiError(400, "the cursor is of a search with another q or order")
    return cursor


def _digest(filter: Filter, order: Order) -> bytes:
    spelled = f"{order} {spell(filter)}".encode()
    return hashlib.sha256(spelled).digest()[:_DIGEST_BYTES]


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _time(microseconds: int) -> datetime:
    return _EPOCH + microseconds * _MICROSECOND
