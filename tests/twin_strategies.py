"""Hypothesis strategies for what a compiled encoder may get wrong: borders, mostly.

Beside `msgpack_strategies`, which knows every type and width: here are texts where each
sequence of bytes that UTF-8 has a rule for stands at each place, numbers at the ends of
what holds them, times around the limits of timestamptz, keys that come twice or under
two forms, and the paths and levels that fill columns.
"""

import struct
from collections.abc import Callable, Iterable

from hypothesis import strategies as st

from penstock.rows.columns import level_spellings
from penstock.settings import ColumnSettings
from tests import msgpack_bytes as m
from tests import msgpack_strategies as some

Bytes = st.SearchStrategy[bytes]


def one_of_each(values: Iterable[bytes]) -> Bytes:
    return st.sampled_from(sorted(set(values)))


def any_of(*strategies: Bytes) -> Bytes:
    """Take each as often as the others; `one_of` counts what each is made of."""
    return st.sampled_from(strategies).flatmap(lambda each: each)


def in_a_record(value: bytes) -> bytes:
    """Write an entry whose record has this value."""
    return m.fixarray(m.uint32(m.T), m.fixmap((m.fixstr(b"k"), value)))


def joined(pieces: Bytes, most: int = 6) -> Bytes:
    return st.lists(pieces, max_size=most).map(b"".join)


# --- texts

# Valid ones of each length, at the ends of each row of Unicode's table 3-7.
VALID = [
    "é",
    "\u0080",
    "\u07ff",
    "\u0800",
    "\ud7ff",
    "\ue000",
    "\uffff",
    "𐀀",
    "\U0010ffff",
]
# A lone continuation, overlong forms, surrogates, past U+10FFFF, bytes that never are.
INVALID = [
    *(b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf"),
    *(b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf"),
    *(b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfe\xff"),
    # Cut short, by the end or by what follows.
    *(
        b"\xc3",
        b"\xe2",
        b"\xe2\x82",
        b"\xf0",
        b"\xf0\x9f",
        b"\xf0\x9f\x8e",
        b"\xf4\x8f",
    ),
]
SPECIAL = [bytes([c]) for c in (*range(32), *b'"\\/', 0x7F)]
# Around what is copied at once: 8 and 16 bytes.
_runs: Bytes = st.builds(
    lambda letter, length: letter * length,
    st.sampled_from([b"a", b" ", b"~"]),
    st.integers(0, 40) | st.sampled_from([7, 8, 9, 15, 16, 17, 31, 32, 33]),
)
raw_texts: Bytes = joined(
    st.one_of(
        _runs,
        _runs,
        st.sampled_from([text.encode() for text in VALID]),
        st.sampled_from(INVALID),
        st.sampled_from(SPECIAL),
        st.binary(max_size=3),
    )
)


@st.composite
def bins_at_three_quarters(draw: st.DrawFn) -> bytes:
    """Bytes that are text for about three quarters: one more or less decides."""
    unreadable = draw(st.integers(0, 6))
    readable = max(3 * unreadable + draw(st.integers(-2, 2)), 0)
    letters = [
        draw(st.sampled_from([b"a", b"\t", b"\n", b"\r", b"\x1b", b'"']))
    ] * readable
    others = [draw(st.sampled_from([b"\0", b"\x01", b"\xff", b"\x80", b"\x1f"]))]
    return b"".join(draw(st.permutations(letters + others * unreadable)))


texts: Bytes = st.one_of(
    st.builds(
        lambda form, raw: form(raw), st.sampled_from([m.str8, m.str16]), raw_texts
    ),
    raw_texts.map(lambda raw: m.fixstr(raw[:31])),
)
bins: Bytes = st.builds(
    lambda form, raw: form(raw),
    st.sampled_from([m.bin8, m.bin16, m.bin32]),
    raw_texts | bins_at_three_quarters() | st.binary(max_size=12),
)

# --- numbers

_ENDS = [0, 32, 64, 100, 128, *(2**bits for bits in (8, 15, 16, 31, 32, 53, 63, 64))]
NEAR_ENDS = [
    sign * end + near for sign in (1, -1) for end in _ENDS for near in (-1, 0, 1)
]
_FORMS: list[tuple[int, int, Callable[[int], bytes]]] = [
    (0, 127, lambda number: bytes([number])),
    (-32, -1, lambda number: bytes([number + 256])),
    *((0, 2**8 - 1, m.uint8), (0, 2**16 - 1, m.uint16)),
    *((0, 2**32 - 1, m.uint32), (0, 2**64 - 1, m.uint64)),
    *((-(2**7), 2**7 - 1, m.int8), (-(2**15), 2**15 - 1, m.int16)),
    *((-(2**31), 2**31 - 1, m.int32), (-(2**63), 2**63 - 1, m.int64)),
]


def written_in_each_form(numbers: Iterable[int]) -> list[bytes]:
    return [
        form(number)
        for number in numbers
        for low, high, form in _FORMS
        if low <= number <= high
    ]


ints: Bytes = one_of_each(written_in_each_form(NEAR_ENDS)) | some.ints
_decimals = st.builds(
    lambda digits, exponent, sign: sign * float(f"{digits}e{exponent}"),
    st.integers(0, 10**6) | st.integers(0, 10**17),
    st.integers(-22, 6) | st.integers(-340, 300),
    st.sampled_from([1, -1]),
)
_bits = st.integers(0, 2**64 - 1).map(
    lambda bits: struct.unpack(">d", bits.to_bytes(8))[0]
)
doubles = st.one_of(_decimals, _bits, st.floats(), st.floats(1e-6, 1e17))
floats: Bytes = st.one_of(doubles.map(m.float64), some.floats)

# --- times

_SECONDS = 1_767_323_045
_edges = [
    *(0, 1, -1, _SECONDS, 10**11, 10**14, 10**17),
    *(scale * _SECONDS + 7 for scale in (10**3, 10**6, 10**9)),
    # timestamptz: 4713 BC and 294276, in each unit.
    *(-210_866_803_200 * scale for scale in (1, 10**3, 10**6)),
    *(9_224_318_016_000 * scale for scale in (1, 10**3, 10**6)),
    *(2**32 - 2, 2**32 - 1, 2**42, -(2**42), 2**63 - 1, -(2**63), 2**64 - 1),
    # The years 1 and 9999.
    *(-62_135_596_800, 253_402_300_799, 253_402_300_791),
]
edge_seconds = sorted({edge + near for edge in _edges for near in (-1, 0, 1)})
NANOSECONDS = [
    0,
    1,
    999,
    1000,
    999_999_999,
    10**9,
    10**9 + 999,
    3 * 10**9,
    2**30 - 1,
    2**32 - 1,
]
_nanoseconds = st.sampled_from(NANOSECONDS)
_seconds = st.sampled_from(edge_seconds)
event_times: Bytes = st.builds(
    lambda form, seconds, nanoseconds: form(
        0, m.time_payload(seconds % 2**32, nanoseconds)
    ),
    st.sampled_from([m.fixext, m.ext8, m.ext16, m.ext32]),
    _seconds,
    _nanoseconds,
)
timestamps: Bytes = st.one_of(
    st.builds(lambda seconds: m.fixext(-1, (seconds % 2**32).to_bytes(4)), _seconds),
    st.builds(
        lambda seconds, nanoseconds: m.fixext(
            -1, (nanoseconds % 2**30 << 34 | seconds % 2**34).to_bytes(8)
        ),
        _seconds,
        _nanoseconds,
    ),
    st.builds(
        lambda seconds, nanoseconds: m.ext8(
            -1, nanoseconds.to_bytes(4) + (seconds % 2**64).to_bytes(8)
        ),
        _seconds,
        _nanoseconds,
    ),
)
times: Bytes = any_of(
    event_times,
    timestamps,
    one_of_each(written_in_each_form(edge_seconds)),
    st.sampled_from(edge_seconds).map(lambda seconds: m.float64(float(seconds))),
    st.builds(
        lambda number, scale: m.float64(number * scale),
        st.floats(-1e12, 1e12),
        st.sampled_from([1.0, 1e3, 1e6, 1e9]),
    ),
    doubles.map(m.float64),
    some.times,
)
usual_times: Bytes = st.sampled_from(
    [m.uint32(m.T), m.event_time(m.T, 5), m.event_time(_SECONDS, 999_999_999)]
)

# --- values, and keys of all types

scalars: Bytes = any_of(
    texts, bins, ints, floats, event_times, timestamps, some.exts, some.bools, some.nils
)
# The same text in several forms, and what becomes a text by being mended.
TWICE = [
    *(m.fixstr(b"a"), m.str8(b"a"), m.str16(b"a"), m.str32(b"a"), m.bin8(b"a")),
    *(b"\x01", m.uint8(1), m.int64(1), m.fixstr(b"1"), m.bin16(b"1")),
    *(
        m.NIL,
        m.fixstr(b"null"),
        m.TRUE,
        m.fixstr(b"true"),
        m.float64(1.0),
        m.fixstr(b"1.0"),
    ),
    *(m.float32(1.0), m.float64(float("nan")), m.fixstr(b"NaN"), m.fixstr(b'"')),
    *(m.fixstr(b"\0"), m.fixstr(b"\\x00"), m.fixstr(b"\xff"), m.fixstr(b"\\xff")),
    *(b"\x90", b"\x80", m.fixstr(b""), m.bin8(b""), m.fixstr(b"\\")),
    *(m.event_time(m.T), m.fixext(-1, m.T.to_bytes(4)), m.fixext(5, b"a")),
    m.str8(b"data:application/vnd.msgpack;base64,kA=="),
]
twice_keys: Bytes = st.sampled_from(TWICE)
keys: Bytes = any_of(some.known_keys, twice_keys, texts, scalars)
text_keys: Bytes = any_of(some.known_keys, some.known_keys, texts)


def maps_of(keys: Bytes, values: Bytes, most: int = 5) -> Bytes:
    pairs = st.lists(st.tuples(keys, values), max_size=most)
    return st.builds(
        lambda form, pairs: form(*pairs),
        st.sampled_from([m.fixmap, m.fixmap, m.map16, m.map32]),
        pairs,
    )


def arrays_of(values: Bytes, most: int = 4) -> Bytes:
    return st.builds(
        lambda form, items: form(*items),
        st.sampled_from([m.fixarray, m.array16, m.array32]),
        st.lists(values, max_size=most),
    )


values: Bytes = st.recursive(
    scalars,
    lambda inner: arrays_of(inner) | maps_of(keys, inner),
    max_leaves=8,
)
maps: Bytes = maps_of(keys, values)
# No key twice in the record itself: those of the compiled encoder's own.
records: Bytes = st.lists(
    st.tuples(text_keys, values), max_size=6, unique_by=lambda pair: pair[0]
).map(lambda pairs: m.map16(*pairs))
heads: Bytes = any_of(
    usual_times,
    usual_times,
    times,
    st.builds(m.fixarray, usual_times, maps),
    st.builds(m.fixarray, times, maps),
    st.builds(m.fixarray, usual_times, st.just(b"\x80")),
)
entries: Bytes = st.builds(
    lambda head, record: m.fixarray(head, record), heads, records
)

# --- columns

PARTS = [
    *("", "a", "b", "0", "1", "a b", "é", "_metadata", "_time", "_group", "_time_"),
    *("log", "level", "kubernetes", "labels", "host", "message", "service", "x" * 40),
]
paths = st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).map(".".join)
_columns = st.lists(paths, max_size=4).map(tuple)
odd_columns = st.builds(
    lambda level, service, host, message: ColumnSettings(
        level_keys=level, service_keys=service, host_keys=host, message_keys=message
    ),
    _columns,
    _columns,
    _columns,
    _columns,
)
DEFAULT_PATHS = sorted(
    {
        path
        for keys in (
            ColumnSettings().level_keys,
            ColumnSettings().service_keys,
            ColumnSettings().host_keys,
            ColumnSettings().message_keys,
        )
        for path in keys
    }
)
BLANKS = [" ", "\t", "\n", "\v", "\f", "\r", "\x1c", "\x1d", "\x1e", "\x1f"]
ODD_BLANKS = [
    "\x85",
    "\xa0",
    "\u1680",
    "\u2000",
    "\u200a",
    "\u2028",
    "\u202f",
    "\u205f",
]
NO_BLANKS = [
    "\0",
    "\u200b",
    "\ufeff",
    "\u180e",
    "\x08",
    "Â",
    "à",
    "\u212a",
    "\u017f",
    "İ",
    ".",
]
_beside_levels = st.lists(
    st.sampled_from([*BLANKS, *ODD_BLANKS, "\u3000"]) | st.sampled_from(NO_BLANKS),
    max_size=3,
).map("".join)
_spellings = st.sampled_from(sorted({str(name) for name in level_spellings()}))
_cases = st.sampled_from([str.lower, str.upper, str.title, str.swapcase])
levels: Bytes = any_of(
    st.builds(
        lambda form, before, spelling, case, behind: form(
            (before + case(spelling) + behind).encode()
        ),
        st.sampled_from([m.str8, m.bin8]),
        _beside_levels,
        _spellings,
        _cases,
        _beside_levels,
    ),
    one_of_each(written_in_each_form(range(-2, 66))),
    st.sampled_from(
        [m.float64(30.0), m.TRUE, m.NIL, m.fixstr(b"info\xff"), m.fixstr(b"")]
    ),
    st.builds(lambda spaces: m.str8(b" " * spaces + b"info"), st.integers(0, 70)),
)
column_values: Bytes = any_of(levels, texts, bins, scalars)


def under_path(path: str, value: bytes, whole_from: int) -> tuple[bytes, bytes]:
    """Write a value under a path, the parts from `whole_from` on as one key."""
    parts = path.split(".")
    heads, rest = parts[:whole_from], ".".join(parts[whole_from:])
    if not rest and heads:
        rest = heads.pop()
    key = m.str8(rest.encode())
    for head in reversed(heads):
        value, key = m.fixmap((key, value)), m.str8(head.encode())
    return key, value


def under_head(path: str, values: list[tuple[bytes, int]]) -> tuple[bytes, bytes]:
    """Write a map under a path's first part; each value is there under the others."""
    head, _, rest = path.partition(".")
    pairs = [under_path(rest, value, whole_from) for value, whole_from in values]
    return m.str8(head.encode()), m.map16(*pairs)


def records_with_paths(paths: st.SearchStrategy[str]) -> Bytes:
    """Make records of values under paths, of maps that have some of them, of others."""
    whole_from = st.integers(0, 4)
    inner = st.builds(under_path, paths, column_values, whole_from)
    pairs = st.sampled_from(
        [
            inner,
            st.builds(
                under_head,
                paths,
                st.lists(st.tuples(column_values, whole_from), max_size=3),
            ),
            st.builds(
                lambda key, pairs: (m.str8(key.encode()), m.map16(*pairs)),
                paths.map(lambda path: path.split(".")[0]),
                st.lists(inner | st.tuples(keys, column_values), max_size=4),
            ),
            st.tuples(
                paths.map(lambda path: m.str8(path.encode())), column_values | values
            ),
        ]
    ).flatmap(lambda each: each)
    return st.lists(pairs, max_size=6).map(lambda pairs: m.map16(*pairs))


def entries_with_paths(paths: st.SearchStrategy[str]) -> Bytes:
    return st.builds(
        lambda head, record: m.fixarray(head, record),
        usual_times | heads,
        records_with_paths(paths),
    )


# --- keys that meet


def colliding_keys(count: int, *, more_bytes: int = 0) -> list[bytes]:
    """Keys of one hash: `hash_bytes` looks at a text's ends and its middle."""
    return [
        b"a" * (40 + more_bytes) + b"%08d" % number + b"b" * 12
        for number in range(count)
    ]


def numbered_maps(counts: st.SearchStrategy[int]) -> Bytes:
    """Make maps of many keys, perhaps with one of them twice, far apart or near."""

    def build(count: int, again: int, pad: int, form: Callable[..., bytes]) -> bytes:
        names = [b"%0*d" % (pad, number) for number in range(count)]
        if again < count:
            names.append(names[again])
        return form(*[(m.str8(name), b"\x01") for name in names])

    return st.builds(
        build,
        counts,
        st.integers(0, 40) | st.just(10**6),
        st.integers(1, 30),
        st.sampled_from([m.map16, m.map32]),
    )
