"""Makes inputs of other inputs, seeded: bytes of which most are nearly right.

Damage alone seldom gets past the first header, and never past a checksum. So half of
what is made here is put together by the protocol's grammar, around pieces of the
corpus, and gzip and zstd are laid around what was damaged before.
"""

import gzip
import json
import random
from typing import TYPE_CHECKING, Any

import zstandard

from tests import msgpack_bytes as m

if TYPE_CHECKING:
    from collections.abc import Callable

# Longer ones are slow, and hold nothing that shorter ones do not.
MAX_INPUT_BYTES = 4 * 1024

# First bytes of each kind, and lengths that no bytes follow.
_BYTES = (
    *(b"\xc0", b"\xc1", b"\xc2", b"\x90", b"\x80", b"\x91", b"\x92", b"\x93", b"\x94"),
    *(b"\xd7\x00", b"\xd4\x01\x00", b"\xc7\x08\x00", b"\xff\xff\xff\xff", b"\xff"),
    *(b"\xdd\xff\xff\xff\xff", b"\xdb\x00\x01\x00\x00", b"\xde\xff\xff", b"\xca\x7f"),
    *(b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\0", b"[", b"]", b"{", b"}", b'"', b"\\", b"\\u"),
    *(b"\\ud800", b"NaN", b"1e400", b",", b":", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"),
    *(b"\xa5chunk", b"\xa8metadata", b"\xaacompressed", b"\xadfluent_signal"),
)
_TIMES = (
    *(m.uint32(m.T), m.NIL, m.TRUE, b"\x00", b"\xfb", m.uint64(2**64 - 1)),
    *(m.float64(1.5), m.float64(float("nan")), m.event_time(m.T, 5), m.int32(-1)),
    *(m.event_time(0xFFFFFFFF), m.event_time(0xFFFFFFFE), m.ext8(0, bytes(8))),
    *(m.fixext(-1, bytes(4)), m.ext8(-1, bytes(12)), m.ext16(0, bytes(3))),
)
_TEXTS = (
    *(b"", b"info", b"a\0b", b"\xff\xfe", "日本🎉".encode(), b"\\u0000", b"x" * 300),
)
_KEYS = (b"message", b"level", b"service", b"host", b"a", b"_metadata", b"_group")


class Mutator:
    """Makes inputs; the same seed and corpus make the same."""

    def __init__(self, corpus: list[bytes], seed: int) -> None:
        self._corpus = corpus or [b"\x93\xa1t\x01\x80"]
        self._rng = random.Random(seed)

    def new(self) -> bytes:
        """Return an input of the corpus, changed, or a new one."""
        rng = self._rng
        data = rng.choice(self._corpus)
        if rng.random() < 0.5:
            data = b"".join(self._message() for _ in range(rng.randint(1, 3)))
        if rng.random() < 0.2:
            data += rng.choice(self._corpus)
        return self.mutate(data)

    def new_entries(self) -> bytes:
        """Return entries, most of them nearly right."""
        rng = self._rng
        blob = b"".join(self._entry() for _ in range(rng.randint(1, 8)))
        if rng.random() < 0.2:
            blob += rng.choice(self._corpus)
        return self.mutate(blob)

    def mutate(self, data: bytes) -> bytes:
        """Return the input with some damage, or with none."""
        changed = bytearray(data[:MAX_INPUT_BYTES])
        for _ in range(self._rng.choice((0, 1, 1, 2, 3, 8))):
            self._damage(changed)
        return bytes(changed[:MAX_INPUT_BYTES])

    def _damage(self, data: bytearray) -> None:
        rng = self._rng
        at = rng.randint(0, len(data))
        match rng.randrange(8):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(data):
                data[at] = rng.randrange(256)
            case 2:
                data[at:at] = rng.choice(_BYTES)
            case 3:
                data[at : at + rng.randint(1, 8)] = rng.choice(_BYTES)
            case 4:
                del data[at : at + rng.randint(1, 16)]
            case 5:  # again, and perhaps often
                piece = bytes(data[at : at + rng.randint(1, 64)])
                data[at:at] = piece * rng.choice((1, 1, 2, 40, 1000))
            case 6:
                other = rng.choice(self._corpus)
                start = rng.randint(0, len(other))
                data[at:at] = other[start : start + rng.randint(1, 64)]
            case _:
                del data[at:]

    # By the grammar.

    def _message(self) -> bytes:
        rng = self._rng
        if rng.random() < 0.2:
            return self._json()
        tag = rng.choice((m.fixstr(b"t"), m.NIL, m.bin8(b"t"), m.str16(b"x" * 70)))
        kind = rng.randrange(4)
        if kind == 0:
            elements = [rng.choice(_TIMES), self._value(3)]
        elif kind == 1:
            entries = [self._entry() for _ in range(rng.randint(0, 6))]
            elements = [m.array16(*entries)]
        else:
            elements = [self._blob()]
        if rng.random() < 0.6:
            elements.append(self._options())
        return m.fixarray(tag, *elements)

    def _blob(self) -> bytes:
        rng = self._rng
        blob = b"".join(self._entry() for _ in range(rng.randint(0, 8)))
        blob *= rng.choice((1, 1, 1, 2, 200))
        if rng.random() < 0.2:
            blob = self.mutate(blob)
        codecs: list[Callable[[bytes], bytes]] = [
            lambda blob: blob,
            lambda blob: gzip.compress(blob, 1, mtime=0),
            zstandard.ZstdCompressor(write_content_size=False).compress,
            lambda blob: b"".join(
                gzip.compress(blob[i : i + 7], 1, mtime=0)
                for i in range(0, min(len(blob), 700), 7)
            ),
        ]
        return rng.choice((m.str32, m.bin32))(rng.choice(codecs)(blob))

    def _options(self) -> bytes:
        rng = self._rng
        pairs = []
        for _ in range(rng.randint(0, 4)):
            key = rng.choice(
                (b"chunk", b"compressed", b"fluent_signal", b"metadata", b"size")
            )
            value = rng.choice(
                (m.fixstr(b"gzip"), m.fixstr(b"c1"), m.fixstr(b""), b"\x00", b"\x01")
            )
            if rng.random() < 0.4:
                value = self._value(2)
            pairs.append((m.fixstr(key), value))
        return m.map32(*pairs)

    def _entry(self) -> bytes:
        rng = self._rng
        time = rng.choice(_TIMES)
        if rng.random() < 0.5:
            time = m.fixarray(time, *[self._value(2)] * rng.randint(0, 2))
        record = self._map(3) if rng.random() < 0.9 else self._value(1)
        return m.fixarray(time, record)

    def _map(self, depth: int) -> bytes:
        rng = self._rng
        pairs = []
        for _ in range(rng.randint(0, rng.choice((4, 4, 4, 40)))):
            key = m.fixstr(rng.choice(_KEYS))
            if rng.random() < 0.2:
                key = self._value(depth - 1)
            pairs.append((key, self._value(depth - 1)))
        return m.map16(*pairs)

    def _value(self, depth: int) -> bytes:
        rng = self._rng
        kind = rng.randrange(9)
        if depth > 0 and kind == 0:
            return self._map(depth)
        if depth > 0 and kind == 1:
            count = rng.randint(0, 3)
            return m.array16(*[self._value(depth - 1) for _ in range(count)])
        if kind == 2:
            return rng.choice(_TIMES)
        if kind == 3:
            levels = rng.choice((3, 250, 300, 1022, 1030))
            return rng.choice((b"\x91", b"\x81\xa1a")) * levels + m.NIL
        if kind == 4:
            return m.bin8(rng.randbytes(rng.randint(0, 12)))
        return m.str16(rng.choice(_TEXTS)) if kind < 8 else rng.choice(_BYTES)

    def _json(self) -> bytes:
        rng = self._rng
        values: tuple[Any, ...] = (
            1,
            -1,
            2**64,
            1.5,
            None,
            True,
            "x",
            "\ud800",
            "\0",
            [],
            {},
            [[]],
        )
        record = {
            rng.choice(("a", "level", "message", "é")): rng.choice(values)
            for _ in range(rng.randint(0, 4))
        }
        time = rng.choice((m.T, 0, None, 1.5, "abc", 10**30, -1))
        message: list[Any] = ["t", time, record]
        if rng.random() < 0.3:
            message = ["t", [[time, record]] * rng.randint(0, 3)]
        if rng.random() < 0.5:
            message.append({"chunk": rng.choice(("c", "é", 7, 2**70, None, "x" * 300))})
        text = json.dumps(message, ensure_ascii=rng.random() < 0.5)
        raw = text.encode("utf-8", "surrogatepass")
        return raw + rng.choice((b"", b"\n", b" ", b",", b"\xff"))
