"""The compiled encoder at each border there is, and what it must not leave to others.

What tests/property/test_native_property.py tries by chance is here in full where it can
be told in full. `Twins` runs both encoders and asserts that they are equal.
"""

from collections.abc import Iterator
from itertools import product
from unittest import mock

import pytest

from penstock.rows import IS_BUILT, stream
from penstock.rows.columns import level_spellings
from penstock.rows.entries import read_entry
from penstock.settings import WireLimits
from penstock.wire.values import MAX_VALUES
from tests import msgpack_bytes as m
from tests import pure_core
from tests import twin_strategies as twin
from tests.pure_core import NOW, Twins, parts_of
from tests.twin_strategies import in_a_record

pytestmark = pytest.mark.skipif(not IS_BUILT, reason="there is only one encoder")


def carefully_read(entries: bytes, metadata: bytes | None = None) -> int:
    """Encode by the compiled one; count the entries it has left to the careful way."""
    counting = mock.Mock(side_effect=read_entry)
    with (
        mock.patch.object(stream, "read_entry", counting),
        mock.patch.object(pure_core, "encoders", (True,)),
    ):
        parts_of(entries, metadata=metadata)
    return counting.call_count


# --- each border


def test_each_number_at_the_end_of_what_holds_it() -> None:
    numbers = twin.written_in_each_form(twin.NEAR_ENDS)
    parts_of(b"".join(map(in_a_record, numbers)), encoder=Twins())
    parts_of(b"".join(in_a_record(m.fixmap((each, each))) for each in numbers))


def test_each_power_of_ten_and_of_two_as_a_float() -> None:
    numbers = [
        sign * scale * digits
        for scale in (
            *(10.0**n for n in range(-320, 308)),
            *(2.0**n for n in range(-1074, 1023)),
        )
        for digits in (1, 1.5, 9.999999999999999)
        for sign in (1, -1)
    ]
    for start in range(0, len(numbers), 1000):
        run = b"".join(map(m.float64, numbers[start : start + 1000]))
        parts_of(in_a_record(b"\xdc" + (len(run) // 9).to_bytes(2) + run))


def test_each_time_at_the_end_of_what_holds_it() -> None:
    times = twin.written_in_each_form(twin.edge_seconds)
    times += [m.float64(float(seconds)) for seconds in twin.edge_seconds]
    times += [m.float32(float(seconds)) for seconds in twin.edge_seconds]
    for seconds, nanoseconds in product(twin.edge_seconds, twin.NANOSECONDS):
        times += [
            m.event_time(seconds % 2**32, nanoseconds),
            m.fixext(-1, (nanoseconds % 2**30 << 34 | seconds % 2**34).to_bytes(8)),
            m.ext8(-1, nanoseconds.to_bytes(4) + (seconds % 2**64).to_bytes(8)),
        ]
    parts_of(b"".join(m.fixarray(time, m.pack({"a": 1})) for time in times))
    parts_of(b"".join(map(in_a_record, times)))


@pytest.mark.parametrize("length", range(36))
def test_each_sequence_of_utf_8_at_each_place(length: int) -> None:
    pieces = [*twin.SPECIAL, *twin.INVALID, *(text.encode() for text in twin.VALID)]
    texts = [
        b"a" * length + piece + b"b" * behind
        for piece in pieces
        for behind in (0, 1, 20)
    ]
    entries = [
        m.fixarray(
            b"\x01",
            m.fixmap((m.str8(text), b"\x01"), (m.fixstr(b"host"), m.str8(text))),
        )
        for text in texts
    ]
    parts_of(b"".join(entries) + b"".join(in_a_record(m.bin8(text)) for text in texts))
    for text in texts:  # and where all bytes end
        parts_of(m.fixarray(b"\x01", m.fixmap((m.fixstr(b"host"), m.str8(text)))))


def test_each_share_of_text_in_a_bin() -> None:
    bins = [
        b"a" * readable + other * unreadable
        for readable, unreadable in product(range(24), range(9))
        for other in (b"\x01", b"\xff", b"\0")
    ]
    parts_of(b"".join(in_a_record(m.bin8(raw)) for raw in bins))


@pytest.mark.parametrize("first", twin.TWICE, ids=bytes.hex)
def test_each_two_forms_of_a_key(first: bytes) -> None:
    pairs = [((first, b"\x01"), (other, b"\x02")) for other in twin.TWICE]
    entries = [m.fixarray(b"\x01", m.fixmap(*each)) for each in pairs]
    parts_of(
        b"".join(entries) + b"".join(in_a_record(m.fixmap(*each)) for each in pairs)
    )


@pytest.mark.parametrize("suffix", ["", "_", "__"])
@pytest.mark.parametrize("name", ["_metadata", "_group", "_time"])
def test_each_key_of_its_own_where_the_record_has_one_too(
    name: str, suffix: str
) -> None:
    keys = [m.str8((name + suffix[:end]).encode()) for end in range(len(suffix) + 1)]
    record = m.fixmap((m.fixstr(b"a"), b"\x01"), *[(key, b"\x02") for key in keys])
    times = (b"\x01", m.NIL, m.fixarray(b"\x01", m.pack({"m": 1})))
    entries = b"".join(m.fixarray(time, record) for time in times)
    group = m.fixarray(m.fixarray(m.event_time(0xFFFFFFFF), b"\x80"), m.pack({"g": 1}))
    for metadata in (None, b"\x80", m.pack({"m": 2})):
        parts_of(entries + group + entries, metadata=metadata)


@pytest.mark.parametrize("limit_bytes", range(1, 80, 3))
def test_each_limit_of_what_stands_beside(limit_bytes: int) -> None:
    group = m.fixarray(m.fixarray(m.event_time(0xFFFFFFFF), b"\x80"), m.pack({"g": 1}))
    own = m.fixarray(m.fixarray(b"\x01", m.pack({"own": 1})), b"\x80")
    entries = own * 2 + in_a_record(b"\x01") * 2 + group + own + in_a_record(b"\x01")
    limits = WireLimits(max_decompressed_bytes=limit_bytes)
    for metadata in (None, b"\x80", m.pack({"m": 2})):
        parts_of(entries * 3, metadata=metadata, encoder=Twins(limits=limits))
        with mock.patch.object(stream, "PART_BESIDE_BYTES", limit_bytes):
            parts_of(entries * 3, metadata=metadata)


@pytest.mark.parametrize("path", twin.DEFAULT_PATHS)
def test_each_path_that_leads_to_two_values(path: str) -> None:
    values = (b"\xa4info", b"\xa5error", b"\x01", b"\x80", m.bin8(b"\xff\x01"))
    froms = range(path.count(".") + 1)
    records = [
        m.fixmap(
            twin.under_path(path, first, one), twin.under_path(path, second, other)
        )
        for first, second in product(values, values)
        for one, other in product(froms, froms)
    ]
    if "." in path:
        records += [
            m.fixmap(twin.under_head(path, [(first, one), (second, other)]))
            for first, second in product(values, values)
            for one, other in product(froms, froms)
        ]
    parts_of(b"".join(m.fixarray(b"\x01", record) for record in records))


@pytest.mark.parametrize(
    "blank", [*twin.BLANKS, *twin.ODD_BLANKS, *twin.NO_BLANKS], ids=ascii
)
def test_each_level_beside_each_blank(blank: str) -> None:
    spellings = {str(name) for name in level_spellings()}
    texts = [
        before + case(spelling) + behind
        for spelling in spellings
        for case in (str.lower, str.upper, str.swapcase)
        for before, behind in (
            (blank, ""),
            ("", blank),
            (blank, blank),
            (" ", blank + " "),
        )
    ]
    levels = [m.str8(text.encode()) for text in texts]
    records = [m.fixmap((m.fixstr(b"level"), level)) for level in levels]
    parts_of(b"".join(m.fixarray(b"\x01", record) for record in records))


@pytest.mark.parametrize("count", [2, 32, 33, 200, 3_000])
@pytest.mark.parametrize("last", [b"other", b"a" * 40 + b"00000001" + b"b" * 12])
def test_keys_of_one_hash(count: int, last: bytes) -> None:
    keys = [*twin.colliding_keys(count), last]
    record = m.map16(*[(m.str8(key), b"\x01") for key in keys])
    parts_of(m.fixarray(b"\x01", record) + in_a_record(record), encoder=Twins())


@pytest.mark.parametrize("more", [-9, -6, -5, -4, 0])
@pytest.mark.parametrize("one", [b"\x01", b"\x81\x01\x01"])
def test_the_most_values_that_an_entry_may_have(more: int, one: bytes) -> None:
    count = (MAX_VALUES + more) // (3 if one[0] == 0x81 else 1)
    entry = in_a_record(m.array32(*[one] * count))
    with_metadata = m.fixarray(
        m.fixarray(b"\x01", m.fixmap((b"\x01", m.array32(*[one] * (count // 2))))),
        m.fixmap((b"\xa1a", m.array32(*[one] * (count // 2)))),
    )
    parts_of(entry + in_a_record(b"\x01"), encoder=Twins())
    parts_of(with_metadata + in_a_record(b"\x01"), encoder=Twins())


@pytest.mark.parametrize("is_nested", [False, True])
def test_long_keys_that_begin_alike_are_encoded_by_the_compiled_one(
    is_nested: bool,
) -> None:
    keys = [b"%d" % number for number in range(2000)]
    keys += twin.colliding_keys(200, more_bytes=10_000)
    record = m.map16(*[(m.bin16(key), b"\x01") for key in keys])
    entry = in_a_record(record) if is_nested else m.fixarray(b"\x01", record)
    assert carefully_read(entry) == 0
    parts_of(entry, encoder=Twins())


@pytest.mark.parametrize("key", [b"\xa1a", m.bin8(b"a"), m.str8(b"a")], ids=bytes.hex)
def test_a_key_that_comes_twice_is_encoded_by_the_compiled_one(key: bytes) -> None:
    record = m.fixmap((b"\xa1a", b"\x01"), (b"\xa1b", b"\x02"), (key, b"\x03"))
    assert carefully_read(m.fixarray(b"\x01", record) + in_a_record(record)) == 0


@pytest.mark.parametrize("key", [b"\x01", b"\xa1\xff", b"\x90", m.NIL], ids=bytes.hex)
def test_a_records_own_key_of_any_type_is_encoded_by_the_compiled_one(
    key: bytes,
) -> None:
    assert carefully_read(m.fixarray(b"\x01", m.fixmap((key, b"\x01")))) == 0


# --- keys that came before


def test_records_whose_keys_begin_as_those_of_others_have_all_their_columns() -> None:
    known = [b"a", b"level", b"service", b"host", b"message", b"kubernetes", b"_time"]
    values = [b"\x01", b"\xa4info", b"\xa1s", b"\xa1h", b"\xa1m"]
    values += [b"\x81\xa4host\xa1k", b"\xa1t"]
    pairs = list(zip(map(m.fixstr, known), values, strict=True))
    # Another last key, one that is missing, two that have changed places.
    shapes = [pairs[first:last] for first in range(7) for last in range(first, 8)]
    shapes += [[*each[:-1], (m.fixstr(b"x"), b"\x01")] for each in shapes if each]
    shapes += [
        [*each[:at], *each[at:][::-1]] for each in shapes for at in range(len(each))
    ]
    entries = [m.fixarray(b"\x01", m.fixmap(*each)) for each in shapes]
    for step in (1, 7, 31):
        others = [
            entries[number * step % len(entries)] for number in range(len(entries))
        ]
        for entry, other in zip(entries, others, strict=True):
            parts_of(entry * 3 + other + entry + other * 3 + entry)


def test_a_map_like_one_that_the_record_holds_twice_does_not_change_the_first() -> None:
    first = m.fixmap((b"\xa1a", b"\x01"), (b"\xa1c", b"\x02"))
    second = m.fixmap((b"\xa1a", b"\x01"), (b"\xa1b", b"\x02"))
    for values in ([first] * 3, [first, first, second, second, first, second, second]):
        parts_of(in_a_record(m.fixarray(*values)) * 4)
        parts_of((in_a_record(first) * 3 + in_a_record(m.fixarray(*values))) * 4)


def _map(**values: bytes) -> bytes:
    return m.fixmap(*((m.fixstr(key.encode()), each) for key, each in values.items()))


def test_a_map_like_one_that_it_is_in_does_not_change_that_one() -> None:
    text = m.fixstr(b"x" * 20)
    entries = [
        # The inner one is kept behind the outer one's keys, before its last, and
        # before one that is none of either.
        [_map(id=text, left=b"\x05"), _map(id=text, left=_map(id=text, right=b"\x03"))],
        [
            _map(k=b"\x01", mm=text, ooo=text),
            _map(
                k=b"\x01",
                mm=m.fixarray(*[_map(k=b"\x01", zzzz=text, ooo=b"\x03")] * 2),
                ooo=text,
            ),
        ],
        [
            _map(k=b"\x01", mm=text, ooo=text),
            _map(
                k=b"\x01",
                mm=m.fixarray(*[_map(k=b"\x01", zzzz=text, ooo=b"\x03")] * 2),
                a=text,
            ),
        ],
    ]
    for known, outer in entries:
        for write in (in_a_record, lambda record: m.fixarray(m.uint32(m.T), record)):
            parts_of(write(known) * 3 + write(outer) * 4, encoder=Twins())


# --- it is the compiled one that writes what is usual


def _usual_values() -> Iterator[bytes]:
    yield from (m.NIL, m.TRUE, m.FALSE, b"\x90", b"\x80", m.fixext(5, b"a"))
    yield from twin.written_in_each_form([-(2**63), -1, 0, 1, 2**63, 2**64 - 1])
    for number in (0.5, 1e300, 5e-324, 0.1 + 0.2, -0.0, float("nan"), float("-inf")):
        yield from (m.float64(number), m.float32(0.1 if number > 1e38 else number))
    for raw in (
        b"a",
        b"a\0b",
        b"\xff",
        b"\xe2\x82",
        "日本".encode(),
        b'"\\\n\x01',
        b"x" * 300,
    ):
        yield from (m.str16(raw), m.bin16(raw))
    yield m.bin8(bytes(range(256))[:255])
    yield from (m.event_time(m.T, 5), m.fixext(-1, bytes(4)), m.ext8(-1, bytes(12)))
    for key in twin.TWICE:
        yield m.fixmap((key, b"\x01"))
    yield m.map16(*[(m.uint16(number), b"\x01") for number in range(1000)])
    yield b"\x91" * 300 + b"\x90"
    yield b"\x81\xa1a" * 300 + b"\x90"


@pytest.mark.parametrize(
    "value", list(_usual_values()), ids=lambda value: value[:20].hex()
)
def test_each_type_of_value_and_of_nested_key_is_encoded_by_the_compiled_one(
    value: bytes,
) -> None:
    assert carefully_read(in_a_record(value)) == 0
    beside = m.fixarray(m.fixarray(b"\x01", m.fixmap((m.fixstr(b"k"), value))), b"\x80")
    assert carefully_read(beside) == 0
    assert carefully_read(in_a_record(b"\x01"), m.fixmap((m.fixstr(b"k"), value))) == 0


@pytest.mark.parametrize(
    "time",
    [
        *(
            m.NIL,
            b"\x00",
            m.uint32(m.T),
            m.int64(-5),
            m.uint64(NOW),
            m.uint64(1000 * NOW),
        ),
        *(m.float64(1.5), m.float64(0.0), m.float32(1e9), m.float64(NOW / 1e3)),
        *(m.event_time(0), m.event_time(m.T, 5), m.ext8(0, m.time_payload(m.T, 5))),
        *(m.fixext(-1, m.T.to_bytes(4)), m.fixext(-1, m.T.to_bytes(8))),
        m.ext8(-1, bytes(4) + (-5).to_bytes(8, signed=True)),
    ],
    ids=bytes.hex,
)
def test_each_form_of_a_time_is_encoded_by_the_compiled_one(time: bytes) -> None:
    record = m.pack({"a": 1, "level": "info", "kubernetes": {"host": "h"}})
    assert carefully_read(m.fixarray(time, record)) == 0
    with_metadata = m.fixarray(m.fixarray(time, m.pack({"m": [1, {"n": 2}]})), record)
    assert carefully_read(with_metadata) == 0
    assert carefully_read(m.fixarray(time, record), m.pack({"m": 1})) == 0
    group = m.fixarray(m.fixarray(m.event_time(0xFFFFFFFF), b"\x80"), m.pack({"g": 1}))
    assert carefully_read(group + m.fixarray(time, record) * 3) == 1, "the marker"


@pytest.mark.parametrize("path", twin.DEFAULT_PATHS)
def test_each_column_is_taken_by_the_compiled_one(path: str) -> None:
    for whole_from in range(path.count(".") + 1):
        for value in (b"\xa4info", m.bin8(b"\xffinfo"), m.str16(b" Warning "), b"\x03"):
            key, under = twin.under_path(path, value, whole_from)
            entry = m.fixarray(
                m.uint32(m.T), m.fixmap((key, under), (b"\xa1k", b"\x01"))
            )
            assert carefully_read(entry * 2) == 0
