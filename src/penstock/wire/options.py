"""A message's options: which of them matter, and how much of them is looked at.

Beside `messages`. Forward specification v1.5, "Option": a map at the end of a message.
It must not know what becomes of them, nor of the rest of a message.
"""

from typing import NamedTuple

from penstock.errors import ProtocolError
from penstock.wire.frames import Frame
from penstock.wire.values import (
    Header,
    Kind,
    TooManyValuesError,
    length_of,
    read_bytes,
    read_header,
    skip_value,
)

# Longer than any client's name for a chunk (36 bytes, protocol facts 3.2). It is
# sent back whole, and clients read an ack into 256 to 512 bytes.
MAX_CHUNK_BYTES = 200
# Clients send five at most (protocol facts, 2); each costs a look, and so do the bytes
# of one: metadata, which stands beside one record, is the only one of some size.
MAX_OPTIONS = 64
MAX_OPTION_BYTES = 256 * 1024
# And so do the values within one, 5 us each until they are rows. Clients send no others
# than metadata that hold any; it may hold as many as keys are allowed in a record.
MAX_OPTION_VALUES = 64
MAX_METADATA_VALUES = 10_000


class Options(NamedTuple):
    """What the options of a message say; `chunk` and `metadata` are msgpack."""

    chunk: bytes | None = None
    compressed: bytes | None = None
    signal: int = 0
    metadata: bytes | None = None
    is_fluent_bit: bool = False


NO_OPTIONS = Options()


def options_of(frame: Frame) -> Options:
    """Read the options of a message that is not looked at otherwise.

    Raises:
        ProtocolError: as `read_options`.
    """
    data, starts = frame.data, frame.starts
    if len(starts) < 3:
        return NO_OPTIONS
    payload = read_header(data, starts[1]).kind
    is_event = payload not in (Kind.ARRAY, Kind.STR, Kind.BIN)
    return read_options(data, starts, 3 if is_event else 2)


def read_options(
    data: bytes | bytearray, starts: tuple[int, ...], index: int
) -> Options:
    """Read the option map at element `index`; missing, nil and empty mean none.

    A value of the wrong type is as good as absent: the events are worth more than
    the option.

    Raises:
        ProtocolError: there is too much of them.
    """
    if len(starts) < index + 2 or data[starts[index]] in (0x80, 0xC0):
        return NO_OPTIONS
    header = read_header(data, starts[index])
    if header.kind is not Kind.MAP:
        return NO_OPTIONS
    option_bytes = starts[index + 1] - starts[index]
    if length_of(header) > MAX_OPTIONS or option_bytes > MAX_OPTION_BYTES:
        raise _too_many_options()
    found: dict[bytes, tuple[Header, bytes]] = {}
    offset = header.body
    try:
        for _ in range(length_of(header)):
            key = read_header(data, offset)
            is_named = key.kind is Kind.STR or key.kind is Kind.BIN
            name = read_bytes(data, key) if is_named else b""
            value_start = skip_value(data, offset, MAX_OPTION_VALUES)
            is_metadata = name == b"metadata" and name not in found
            most = MAX_METADATA_VALUES if is_metadata else MAX_OPTION_VALUES
            offset = skip_value(data, value_start, most)
            if is_named:
                value = read_header(data, value_start)
                found[name] = (value, bytes(data[value_start:offset]))
    except TooManyValuesError as error:
        raise _too_many_options() from error
    chunk = _of_kind(found.get(b"chunk"), Kind.STR, Kind.BIN, Kind.INT)
    if chunk is not None and len(chunk) > MAX_CHUNK_BYTES:
        raise chunk_too_long()
    return Options(
        chunk=chunk,
        compressed=_payload(found.get(b"compressed")),
        signal=_signal(found.get(b"fluent_signal")),
        metadata=_of_kind(found.get(b"metadata"), Kind.MAP),
        is_fluent_bit=b"fluent_signal" in found,
    )


def _too_many_options() -> ProtocolError:
    return ProtocolError(
        "too_many_options",
        f"a message with more than {MAX_OPTIONS} options, {MAX_OPTION_BYTES} bytes of"
        f" them, {MAX_METADATA_VALUES} values in its metadata, or {MAX_OPTION_VALUES}"
        " in another",
    )


def chunk_too_long() -> ProtocolError:
    """Return the error of a name that is too long to be sent back."""
    return ProtocolError(
        "invalid_chunk", f"a chunk's name of more than {MAX_CHUNK_BYTES} bytes"
    )


def _of_kind(option: tuple[Header, bytes] | None, *kinds: Kind) -> bytes | None:
    return option[1] if option is not None and option[0].kind in kinds else None


def _payload(option: tuple[Header, bytes] | None) -> bytes | None:
    raw = _of_kind(option, Kind.STR, Kind.BIN)
    return None if raw is None else read_bytes(raw, read_header(raw, 0))


def _signal(option: tuple[Header, bytes] | None) -> int:
    if option is None or option[0].kind is not Kind.INT:
        return 0
    assert isinstance(option[0].argument, int)
    return option[0].argument
