"""Hypothesis strategies for msgpack bytes: every type, every width, good and bad.

They make bytes, not Python values, because what a value looks like on the wire is
what the core has to cope with: str that is no UTF-8, keys of any type, headers that
are longer than needed.
"""

import gzip
import json
import math
from collections.abc import Callable
from typing import Any

import zstandard
from hypothesis import strategies as st

from tests import msgpack_bytes as m

Bytes = st.SearchStrategy[bytes]


Form = Callable[[Any], bytes]
_widths = st.integers(0, 3)


def _written_as(*forms: tuple[int, Form]) -> Callable[[Any, int], bytes]:
    """Write something in one of the forms that have room for it, by number."""

    def write(content: Any, width: int) -> bytes:
        fitting = [form for room, form in forms if len(content) <= room]
        return fitting[width % len(fitting)](content)

    return write


_str = _written_as((31, m.fixstr), (255, m.str8), (65535, m.str16), (2**32, m.str32))
_bin = _written_as((255, m.bin8), (65535, m.bin16), (2**32, m.bin32))
_array = _written_as(
    (15, lambda items: m.fixarray(*items)),
    (65535, lambda items: m.array16(*items)),
    (2**32, lambda items: m.array32(*items)),
)
_map = _written_as(
    (15, lambda pairs: m.fixmap(*pairs)),
    (65535, lambda pairs: m.map16(*pairs)),
    (2**32, lambda pairs: m.map32(*pairs)),
)


def _strs(raws: Bytes) -> Bytes:
    return st.builds(_str, raws, _widths)


def _bins(raws: Bytes) -> Bytes:
    return st.builds(_bin, raws, _widths)


def _arrays(items: st.SearchStrategy[Any]) -> Bytes:
    return st.builds(_array, items, _widths)


def _maps(pairs: st.SearchStrategy[list[tuple[bytes, bytes]]]) -> Bytes:
    return st.builds(_map, pairs, _widths)


nils: Bytes = st.just(m.NIL)
bools: Bytes = st.sampled_from([m.TRUE, m.FALSE])
ints: Bytes = st.one_of(
    st.integers(0, 0x7F).map(lambda number: bytes([number])),
    st.integers(0xE0, 0xFF).map(lambda first: bytes([first])),
    *(
        st.integers(-(2**bits // 2), 2**bits // 2 - 1).map(form)
        for bits, form in ((8, m.int8), (16, m.int16), (32, m.int32), (64, m.int64))
    ),
    *(
        st.integers(0, 2**bits - 1).map(form)
        for bits, form in ((8, m.uint8), (16, m.uint16), (32, m.uint32), (64, m.uint64))
    ),
)
floats: Bytes = st.one_of(
    st.floats(width=32).map(m.float32),
    st.floats().map(m.float64),
    st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 1.0, 0.0]).map(m.float64),
)
# Text that looks like what the encoder has to take care of.
_TRICKY = ["\0", "\\u0000", "\\\\u0000", "null", "NaN", "\\x00", "\x7f", "\ufeff", "🎉"]
texts = st.one_of(
    st.text(max_size=20),
    st.lists(st.sampled_from(_TRICKY) | st.text(max_size=4), max_size=5).map("".join),
)
raws: Bytes = st.one_of(texts.map(str.encode), st.binary(max_size=40))
strs: Bytes = _strs(raws)
bins: Bytes = _bins(raws)
event_times: Bytes = st.builds(
    lambda form, seconds, nanoseconds: form(0, m.time_payload(seconds, nanoseconds)),
    st.sampled_from([m.fixext, m.ext8, m.ext16, m.ext32]),
    st.integers(0, 2**32 - 3) | st.sampled_from([0, 1, m.T]),
    st.integers(0, 999_999_999) | st.integers(0, 2**32 - 1),
)
exts: Bytes = st.one_of(
    event_times,
    st.builds(
        lambda form, code, data: form(code, data),
        st.sampled_from([m.ext8, m.ext16, m.ext32]),
        st.integers(-128, 127) | st.sampled_from([-1, 0]),
        st.binary(max_size=20),
    ),
    st.builds(
        lambda code, data, size: m.fixext(code, data[:size]),
        st.integers(-128, 127) | st.sampled_from([-1, 0]),
        st.binary(min_size=16, max_size=16),
        st.sampled_from([1, 2, 4, 8, 16]),
    ),
)
scalars: Bytes = st.one_of(nils, bools, ints, floats, strs, bins, exts)

# Keys that fill columns, and those we add ourselves.
KNOWN_KEYS = [
    *("level", "severity", "log.level", "log", "service", "service.name", "host"),
    *("hostname", "message", "msg", "kubernetes", "container_name", "name", "labels"),
    *("_metadata", "_group", "_time", "_time_", "a", "b"),
]
known_keys: Bytes = _strs(st.sampled_from(KNOWN_KEYS).map(str.encode))
_KNOWN_VALUES = ["info", "ERROR", " warn", "loud", "30", "\0", "x", "api"]
known_values: Bytes = st.one_of(
    _strs(st.sampled_from(_KNOWN_VALUES).map(str.encode)),
    st.sampled_from([b"\x00", b"\x03", b"\x1e", b"\x3c", b"\x19"]),
)
_keys: Bytes = st.one_of(
    known_keys, strs, scalars, st.just(b"\x90"), st.just(b"\x81\1\2")
)


def _maps_of(values: Bytes) -> Bytes:
    return _maps(st.lists(st.tuples(_keys, values), max_size=5))


values: Bytes = st.recursive(
    scalars | known_values,
    lambda children: _arrays(st.lists(children, max_size=4)) | _maps_of(children),
    max_leaves=8,
)
# Deeper than orjson, PostgreSQL or msgpack are asked to go.
_deep_values: Bytes = st.builds(
    lambda opening, levels, inner: opening * levels + inner,
    st.sampled_from([b"\x91", b"\x81\xa1a", b"\xdc\x00\x01"]),
    st.integers(240, 270) | st.sampled_from([1020, 1021, 1022, 1023, 1024, 1025, 2000]),
    st.sampled_from([b"\x90", b"\x80", b"\x05", m.fixstr(b"\xff")]),
)
deep_maps: Bytes = _deep_values.map(lambda value: m.fixmap((m.fixstr(b"a"), value)))
maps: Bytes = _maps_of(values)
# What a well-behaved sender's record is made of.
_plain_values: Bytes = st.one_of(
    known_values,
    _strs(texts.map(str.encode)),
    ints,
    bools,
    nils,
    st.floats(allow_nan=False, allow_infinity=False).map(m.float64),
    st.just(m.pack({"name": "n", "level": "info"})),
)
plain_maps: Bytes = _maps(st.lists(st.tuples(known_keys, _plain_values), max_size=5))
# More of the plain ones, and few deep ones: they are long.
records: Bytes = st.one_of(plain_maps, maps)

times: Bytes = st.one_of(
    st.just(m.uint32(m.T)), event_times, ints, floats, nils, bools, strs, exts
)
heads: Bytes = st.one_of(
    times,
    _arrays(st.tuples(times)),
    _arrays(st.tuples(times, maps | plain_maps | scalars)),
    _arrays(st.tuples(times, nils, values)),
)
# An entry as it should be but for its time and its record's values.
entries: Bytes = st.one_of(
    _arrays(st.tuples(st.just(m.uint32(m.T)) | event_times, plain_maps)),
    _arrays(st.tuples(heads, records)),
    _arrays(st.tuples(heads, records, values)),
)
deep_entries: Bytes = _arrays(
    st.one_of(
        st.tuples(st.just(m.uint32(m.T)), deep_maps),
        st.tuples(
            _arrays(st.tuples(st.just(m.uint32(m.T)), deep_maps)), st.just(b"\x80")
        ),
    )
)
markers: Bytes = st.builds(
    lambda seconds, metadata, body: m.fixarray(
        m.fixarray(m.event_time(seconds), metadata), body
    ),
    st.sampled_from([0xFFFFFFFF, 0xFFFFFFFE]),
    plain_maps,
    plain_maps | maps,
)
# Arrays that are no entries, and values that are no arrays.
odd_entries: Bytes = st.one_of(
    _arrays(st.tuples(heads)),
    _arrays(st.tuples(heads, scalars)),
    st.just(b"\x90"),
    scalars,
    maps,
)


@st.composite
def mutated(draw: st.DrawFn, originals: Bytes) -> bytes:
    """Damage bytes in a few places, as a bad network card or a bad sender would."""
    data = bytearray(draw(originals))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["set", "flip", "insert", "delete", "cut"])):
            case "set" if at < len(data):
                data[at] = draw(st.sampled_from([0xC1, 0xDD, 0xDF, 0xC0, 0xFF, 0x92]))
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=5))
            case "delete":
                del data[at : at + draw(st.integers(1, 5))]
            case _:
                del data[at:]
    return bytes(data)


# --- messages

_tags: Bytes = st.one_of(st.just(m.fixstr(b"t")), strs, bins, nils)
_option_keys: Bytes = st.sampled_from(
    [
        form(key)
        for key in (b"chunk", b"compressed", b"fluent_signal", b"metadata", b"size")
        for form in (m.fixstr, m.bin8)
    ]
)
_option_values: Bytes = st.one_of(
    scalars,
    maps,
    st.sampled_from([m.fixstr(b"gzip"), m.fixstr(b"zstd"), b"\x00", b"\x01"]),
)
_options: Bytes = st.one_of(
    nils,
    st.just(b"\x80"),
    maps,
    _maps(st.lists(st.tuples(_option_keys, _option_values), max_size=4)),
)
blobs: Bytes = st.lists(entries | odd_entries | markers, max_size=4).map(b"".join)


def _gzip(piece: bytes) -> bytes:
    return gzip.compress(piece, 1, mtime=0)


def _zstd(piece: bytes) -> bytes:
    """Write a frame that does not say its size, as Fluentd's do."""
    return zstandard.ZstdCompressor(write_content_size=False).compress(piece)


def _compressed(blob: bytes, compress: Form, piece_bytes: int) -> bytes:
    """Write a blob as members or frames of so many bytes, one behind the other."""
    starts = range(0, max(len(blob), 1), piece_bytes)
    return b"".join(compress(blob[start : start + piece_bytes]) for start in starts)


compressed_blobs: Bytes = st.builds(
    _compressed,
    blobs,
    st.sampled_from([_gzip, _zstd, zstandard.ZstdCompressor().compress]),
    st.sampled_from([1, 7, 50, 10_000]),
)
_bodies: st.SearchStrategy[tuple[bytes, ...]] = st.one_of(
    st.tuples(times, records),
    st.tuples(_arrays(st.lists(entries | odd_entries, max_size=4))),
    st.tuples(_strs(blobs) | _bins(blobs)),
    st.tuples(_strs(compressed_blobs) | _bins(compressed_blobs)),
)
messages: Bytes = _arrays(
    st.builds(
        lambda tag, body, options: (tag, *body, *options),
        _tags,
        _bodies,
        st.lists(_options, max_size=1),
    )
)

# --- the same in JSON

_json_texts = st.text(max_size=8) | st.sampled_from(_TRICKY) | st.just("\ud800")
_json_keys = st.sampled_from(KNOWN_KEYS) | _json_texts
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | _json_texts
    | st.sampled_from(_KNOWN_VALUES),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(KNOWN_KEYS) | _json_texts, children, max_size=3
        )
    ),
    max_leaves=6,
)
json_records = st.dictionaries(_json_keys, json_values, max_size=4)
_json_times = st.integers(0, 2**40) | st.floats() | json_values
_json_bodies: st.SearchStrategy[tuple[Any, ...]] = st.one_of(
    st.tuples(_json_times, json_records),
    st.tuples(st.lists(st.tuples(_json_times, json_records | json_values), max_size=3)),
    st.tuples(json_values),
)
_json_options = st.dictionaries(
    st.sampled_from(["chunk", "size", "metadata", "compressed", "fluent_signal"]),
    json_values | st.sampled_from(["c", "gzip"]),
    max_size=3,
)


def _json_bytes(value: Any, is_ascii: bool, behind: str) -> bytes:
    text = json.dumps(value, ensure_ascii=is_ascii) + behind
    return text.encode("utf-8", "surrogatepass")


json_messages: Bytes = st.builds(
    lambda tag, body, options, is_ascii, behind: _json_bytes(
        [tag, *body, *options], is_ascii, behind
    ),
    st.just("t") | _json_texts | st.none(),
    _json_bodies,
    st.lists(_json_options, max_size=1),
    st.booleans(),
    st.sampled_from(["", "\n", " \t\r\n"]),
)

# --- connections

connections: Bytes = st.one_of(
    st.lists(messages | st.just(m.NIL), min_size=1, max_size=3).map(b"".join),
    st.lists(json_messages, min_size=1, max_size=3).map(b"".join),
)
