"""The pure core from end to end: a connection's bytes in, rows and acks out.

What `net` does around `wire` and `rows`, without a socket, a ring or a database.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from penstock.errors import ProtocolError
from penstock.model import EncodedRows, RejectedEvent
from penstock.rows import IS_BUILT, RowEncoder, RowStream
from penstock.settings import ColumnSettings, WireLimits
from penstock.wire.frames import Frame, FrameReader
from penstock.wire.messages import Message, MessageReader
from tests.copy_tuples import Row, decode_rows
from tests.msgpack_bytes import T, fixarray, fixmap, fixstr, pack, uint32

# The time of arrival in all tests: 2026-01-02T03:04:05.678901Z.
NOW = 1_767_323_045_678_901
MAX_FRAME_BYTES = 16 * 1024 * 1024
MAX_DECOMPRESSED_BYTES = 64 * 1024 * 1024

LIMITS = WireLimits(
    max_frame_bytes=MAX_FRAME_BYTES, max_decompressed_bytes=MAX_DECOMPRESSED_BYTES
)

# A good frame to stand behind another one. Its tag and chunk occur nowhere else.
NEXT_FRAME = fixarray(
    fixstr(b"glued.on"),
    uint32(T),
    pack({"n": "e"}),
    fixmap((fixstr(b"chunk"), fixstr(b"next"))),
)
NEXT_ACK = b"\x81\xa3ack\xa4next"
# The same where a connection speaks JSON.
NEXT_JSON = b'["glued.on",%d,{"n":"e"},{"chunk":"next"}]' % T
NEXT_JSON_ACK = b'{"ack":"next"}'

# The ways every case is run (house rule 13).
WAYS = ("whole", "byte by byte", "next frame glued on")


def arriving(way: str, data: bytes) -> list[bytes]:
    """Cut a connection's bytes as one of the `WAYS` says."""
    match way:
        case "whole":
            return [data]
        case "byte by byte":
            return [data[i : i + 1] for i in range(len(data))]
        case "next frame glued on":
            is_json = data.startswith((b"[", b"{"))
            return [data + (NEXT_JSON if is_json else NEXT_FRAME)]
        case _:
            raise AssertionError(way)


@dataclass
class Received:
    """What became of a connection's bytes."""

    messages: list[Message] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    rejected: list[RejectedEvent] = field(default_factory=list)
    acks: list[bytes] = field(default_factory=list)
    error: str | None = None

    def without_next_frame(self) -> "Received":
        """Take what `NEXT_FRAME` became off the end; it must be there."""
        message, row = self.messages.pop(), self.rows.pop()
        assert (message.tag, row.tag, row.attributes) == (
            "glued.on",
            "glued.on",
            {"n": "e"},
        )
        assert self.acks.pop() in (NEXT_ACK, NEXT_JSON_ACK)
        return self


# Which encoders encode what tests have encoded: the plain one, and the compiled one.
BOTH: tuple[bool, ...] = (False, True) if IS_BUILT else (False,)
encoders = BOTH


class Twins:
    """The plain encoder and the compiled one, side by side; they never differ."""

    def __init__(
        self,
        columns: ColumnSettings | None = None,
        *,
        receiver: int = 7,
        limits: WireLimits = LIMITS,
    ) -> None:
        columns = ColumnSettings() if columns is None else columns
        self._encoders = [
            RowEncoder(columns, receiver=receiver, limits=limits, is_native=is_native)
            for is_native in encoders
        ]

    def start(
        self, entries: bytes, *, tag: str, metadata: bytes | None = None
    ) -> "TwinStreams":
        return TwinStreams(
            [each.start(entries, tag=tag, metadata=metadata) for each in self._encoders]
        )


@dataclass
class TwinStreams:
    """One message encoded by both."""

    _streams: list[RowStream]

    @property
    def exhausted(self) -> bool:
        first, *others = (each.exhausted for each in self._streams)
        assert all(each == first for each in others)
        return first

    def next_part(self, now_microseconds: int) -> EncodedRows:
        first, *others = (each.next_part(now_microseconds) for each in self._streams)
        for each in others:
            assert each == first
        return first


Encoder = RowEncoder | Twins


def new_encoder(limits: WireLimits = LIMITS) -> Twins:
    return Twins(limits=limits)


def parts_of(
    entries: bytes,
    *,
    tag: str = "t",
    metadata: bytes | None = None,
    encoder: Encoder | None = None,
    now: int = NOW,
) -> list[EncodedRows]:
    """Encode a message's entries to their end."""
    stream = (encoder or new_encoder()).start(entries, tag=tag, metadata=metadata)
    parts = []
    while not stream.exhausted:
        parts.append(stream.next_part(now))
    return parts


def rows_and_rejected(
    entries: bytes,
    *,
    tag: str = "t",
    metadata: bytes | None = None,
    limits: WireLimits = LIMITS,
) -> tuple[list[Row], list[RejectedEvent]]:
    """Encode a message's entries and read the tuples back."""
    rows: list[Row] = []
    rejected: list[RejectedEvent] = []
    encoder = new_encoder(limits)
    for part in parts_of(entries, tag=tag, metadata=metadata, encoder=encoder):
        decoded = decode_rows(part.data)
        assert len(decoded) == part.rows
        assert {row.ts // 86_400_000_000 for row in decoded} == part.days
        rows += decoded
        rejected += part.rejected
    return rows, rejected


def frames_of(
    pieces: Iterable[bytes], *, max_frame_bytes: int = MAX_FRAME_BYTES
) -> Iterator[Frame]:
    """Cut pieces, as they came from the socket, into frames."""
    reader = FrameReader(max_frame_bytes=max_frame_bytes)
    for piece in pieces:
        reader.receive_data(piece)
        while (frame := reader.next_frame()) is not None:
            yield frame


def messages_of(
    pieces: Iterable[bytes], limits: WireLimits = LIMITS
) -> Iterator[Message]:
    """Cut pieces, as they came from the socket, into messages."""
    reader = MessageReader(limits)
    for piece in pieces:
        reader.receive_data(piece)
        while (message := reader.next_message()) is not None:
            yield message


def receive(pieces: Iterable[bytes], limits: WireLimits = LIMITS) -> Received:
    """Run a connection's bytes through the pure core, up to the first error."""
    received = Received()
    try:
        for message in messages_of(pieces, limits):
            received.messages.append(message)
            if message.rejection is not None:
                received.rejected.append(message.rejection)
            rows, rejected = rows_and_rejected(
                message.entries,
                tag=message.tag,
                metadata=message.metadata,
                limits=limits,
            )
            received.rows += rows
            received.rejected += rejected
            if message.ack is not None:
                received.acks.append(message.ack)
    except ProtocolError as error:
        received.error = error.reason
    return received


def written_time(microseconds: int) -> str:
    """Write a time as the expectations in `tests/data` do."""
    if microseconds == NOW:
        return "arrival"
    seconds, fraction = divmod(microseconds, 1_000_000)
    whole = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    return f"{whole.isoformat()}.{fraction:06d}Z"


def written_row(row: Row) -> dict[str, object]:
    """Write a row as the expectations in `tests/data` do: nulls are left out."""
    columns = {
        "ts": written_time(row.ts),
        "tag": row.tag,
        "level": row.level,
        "service": row.service,
        "host": row.host,
        "message": row.message,
        "attributes": row.attributes,
    }
    return {name: value for name, value in columns.items() if value is not None}
