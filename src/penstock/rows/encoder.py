"""Where encoding begins: one encoder for a process, one stream for a message.

It owns which of the two encoders of plain entries is taken. It must not encode.
"""

from penstock.rows import native
from penstock.rows.copy_format import RowWriter
from penstock.rows.part import Part
from penstock.rows.reference import ReferenceRows
from penstock.rows.stream import PlainRows, Reach, RowStream
from penstock.settings import ColumnSettings, WireLimits


class RowEncoder:
    """Encodes entries; one for each process, shared by its connections.

    `limits` hold for the messages that are started from then on. The compiled encoder
    is taken where there is one, unless `is_native` says which.

    Raises:
        ValueError: the compiled encoder is asked for, and there is none.
    """

    def __init__(
        self,
        columns: ColumnSettings,
        *,
        receiver: int,
        limits: WireLimits | None = None,
        is_native: bool | None = None,
    ) -> None:
        self._writer = RowWriter(columns, receiver=receiver)
        self.limits = WireLimits() if limits is None else limits
        self._native = None
        if is_native and not native.IS_BUILT:
            raise ValueError("the compiled encoder is not built")
        if native.IS_BUILT and is_native is not False:
            try:
                self._native = native.native_encoder(
                    columns, max_field_bytes=self._writer.max_field_bytes
                )
            except ValueError:
                if is_native:
                    raise

    @property
    def is_native(self) -> bool:
        """Tell whether plain entries are encoded by the compiled encoder."""
        return self._native is not None

    def begin_part(self, now_microseconds: int) -> Part:
        """Begin rows of several messages, each of which writes its own."""
        return Part(self._writer, tag="", now_microseconds=now_microseconds)

    def start(
        self, entries: bytes, *, tag: str, metadata: bytes | None = None
    ) -> RowStream:
        """Begin to encode one message's entries.

        `metadata` is a msgpack map that stands for every entry's own metadata.
        """
        plain = self._plain(entries)
        return RowStream(self._writer, plain, entries, tag, metadata, self.limits)

    def write_plain(self, part: Part, entries: bytes) -> bool:
        """Write a small message's rows behind those of others, if all are plain.

        If not, some of them may have been written.
        """
        size = len(entries)
        reach = Reach(size, 0, part.events_left, None, None, size, size)
        return self._plain(entries).encode(part, 0, reach).offset == size

    def _plain(self, entries: bytes) -> PlainRows:
        if self._native is None:
            return ReferenceRows(entries, self.limits)
        return native.NativeRows(self._native, entries, self.limits)
