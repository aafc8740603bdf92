"""Chunks of records as messages of the forward protocol, made before the clock starts.

Owns what goes over the wire: the carrier mode, the compression, who is to be acked.
Sends nothing. Frames with equal entries share their bytes, so a long run costs little
memory; only the head and the option are a frame's own.
"""

import functools
import gzip
import random
import struct
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import msgpack
import zstandard

from benchmarks.records import Chunk

MODES: Final = ("packed_forward", "forward", "message")
COMPRESSIONS: Final = ("off", "gzip", "zstd")

# Fluent Bit's and Fluentd's own: zlib's default, and zstd's.
GZIP_LEVEL: Final = 6
ZSTD_LEVEL: Final = 3

# Of messages that want no ack so many go into one write. A system call for each would
# make the sender as dear as the server; and where the server is the slower side they
# meet in the socket's buffer anyhow.
MESSAGES_PER_WRITE: Final = 8

_ARRAY_OF_3: Final = b"\x93"
_ARRAY_OF_4: Final = b"\x94"
_ARRAY_32: Final = struct.Struct(">BI")
_BIN_32: Final = _ARRAY_32
# An entry is 0x92, then an EventTime of ten bytes, then the record; see records.py.
_TIME_END: Final = 11


@dataclass(frozen=True, slots=True)
class Form:
    """How chunks become messages; without acks only each connection's last has one."""

    mode: str = "packed_forward"
    compression: str = "off"
    acks: bool = True


@dataclass(frozen=True, slots=True)
class Frame:
    """One message in parts, or some in one; `ack` is empty where none is asked for."""

    parts: tuple[bytes, ...]
    ack: bytes
    events: int


def frames(
    chunks: list[Chunk], run: str, form: Form | None = None, connections: int = 1
) -> list[Frame]:
    """Wrap chunks as `form` says; `run` makes the chunk ids unlike other runs'.

    Where no acks are wanted the last frame of each connection asks for one all the
    same, so that a sender can tell when the server has come so far.

    Args:
        connections: of the sender, who sends frame i on connection i modulo this.
    """
    form = form or Form()
    make = _maker(form)
    rng = random.Random(run)
    left = sum(make.count(chunk) for chunk in chunks)
    made: list[Frame] = []
    for chunk in chunks:
        for index in range(make.count(chunk)):
            is_acked = form.acks or left <= connections
            made.append(make.frame(chunk, index, _chunk_id(rng) if is_acked else ""))
            left -= 1
    return made


def _chunk_id(rng: random.Random) -> str:
    return b64encode(rng.randbytes(16)).decode()


def _ack(chunk_id: str) -> bytes:
    # The ack is {"ack": chunk}, the chunk echoed byte for byte (specification v1,
    # "Response"), so it can be told in advance and compared without a parser.
    if not chunk_id:
        return b""
    ack: bytes = msgpack.packb({"ack": chunk_id})
    return ack


@dataclass(frozen=True, slots=True)
class _Maker:
    """How many frames a chunk makes, and each of them."""

    count: Callable[[Chunk], int]
    frame: Callable[[Chunk, int, str], Frame]


def _maker(form: Form) -> _Maker:
    if form.mode == "message":
        if form.compression != "off":
            raise ValueError("Message mode knows no compression")
        events = 1 if form.acks else MESSAGES_PER_WRITE
        return _Maker(
            lambda chunk: -(-chunk.events // events),
            lambda chunk, index, chunk_id: _message(chunk, index, events, chunk_id),
        )
    return _Maker(
        lambda chunk: 1, lambda chunk, index, chunk_id: _packed(chunk, form, chunk_id)
    )


def _packed(chunk: Chunk, form: Form, chunk_id: str) -> Frame:
    option: dict[str, str | int] = {"size": chunk.events}
    if chunk_id:
        option["chunk"] = chunk_id
    head = _ARRAY_OF_3 + msgpack.packb(chunk.tag)
    entries = chunk.entries
    if form.mode == "forward":
        # Specification v1, "Forward Mode": an array of the same entries.
        head += _ARRAY_32.pack(0xDD, chunk.events)
    else:
        if form.compression != "off":
            option["compressed"] = form.compression
            entries = _compressed(chunk, form.compression)
        head += _BIN_32.pack(0xC6, len(entries))
    return Frame((head, entries, msgpack.packb(option)), _ack(chunk_id), chunk.events)


@functools.cache
def _compressed(chunk: Chunk, compression: str) -> bytes:
    if compression == "gzip":
        return gzip.compress(chunk.entries, GZIP_LEVEL, mtime=0)
    return zstandard.compress(chunk.entries, ZSTD_LEVEL)


def _message(chunk: Chunk, index: int, events: int, chunk_id: str) -> Frame:
    group, last = _messages(chunk, events)[index]
    count = min(events, chunk.events - index * events)
    if not chunk_id:
        return Frame((group,), b"", count)
    # The last of them, now with an option.
    parts = (
        group[: len(group) - len(last)],
        _ARRAY_OF_4 + last[1:],
        msgpack.packb({"chunk": chunk_id}),
    )
    return Frame(tuple(part for part in parts if part), _ack(chunk_id), count)


@functools.cache
def _messages(chunk: Chunk, events: int) -> list[tuple[bytes, bytes]]:
    """The chunk as messages, so many events joined, and the last of each by itself."""
    head = _ARRAY_OF_3 + msgpack.packb(chunk.tag)
    single = [head + entry[1:] for entry in _entries(chunk.entries)]
    groups = (single[n : n + events] for n in range(0, len(single), events))
    return [(b"".join(group), group[-1]) for group in groups]


def _entries(packed: bytes) -> Iterator[bytes]:
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    unpacker.feed(packed)
    start = 0
    while start < len(packed):
        unpacker.skip()
        end = unpacker.tell()
        assert packed[start] == 0x92
        assert end > start + _TIME_END
        yield packed[start:end]
        start = end
