"""The compiled encoder, where there is one, as what `stream` asks for.

It owns whether there is one. It must not know what a row is: `_native` does, and writes
what `reference` defines.
"""

from penstock.rows.part import Part
from penstock.rows.stream import Reach, Reached
from penstock.settings import ColumnSettings, WireLimits

try:
    from penstock.rows import _native
except ImportError:  # no C compiler when Penstock was installed: slower, and the same
    IS_BUILT = False
else:
    IS_BUILT = True


class NativeRows:
    """Encodes the plain entries of one message; see `stream.PlainRows`."""

    __slots__ = ("_encode", "_entries", "_max_map_keys")

    def __init__(
        self, encoder: "_native.Encoder", entries: bytes, limits: WireLimits
    ) -> None:
        self._encode = encoder.encode
        self._entries = entries
        self._max_map_keys = limits.max_map_keys

    def encode(self, part: Part, offset: int, reach: Reach) -> Reached:
        """Write rows from `offset` on, up to the first entry that is not plain."""
        data, rows, days, offset, end, beside_bytes, window_end = self._encode(
            self._entries,
            offset,
            reach.window_end,
            reach.step_bytes,
            reach.most,
            part.tag_field,
            part.next_id,
            part.now_microseconds,
            reach.metadata,
            reach.group,
            reach.beside_left_bytes,
            reach.part_beside_left_bytes,
            self._max_map_keys,
        )
        part.take_rows(data, rows, days)
        return Reached(offset, end, beside_bytes, window_end)


def native_encoder(
    columns: ColumnSettings, *, max_field_bytes: int
) -> "_native.Encoder":
    """Return the compiled encoder for a mapping of columns.

    Raises:
        ValueError: a path that only the reference takes.
    """
    return _native.Encoder(
        (
            columns.level_keys,
            columns.service_keys,
            columns.host_keys,
            columns.message_keys,
        ),
        max_field_bytes,
    )
