"""The compiled encoder writes what the reference does, to the byte, whatever comes.

`tests.pure_core.Twins` runs both and asserts it of each part; here are the entries.
`--hypothesis-profile=long --timeout=0` tries 60 times as many, in some 20 minutes.
"""

from typing import Any
from unittest import mock

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.model import EncodedRows
from penstock.rows import IS_BUILT, stream
from penstock.settings import ColumnSettings, WireLimits
from tests import msgpack_bytes as m
from tests import msgpack_strategies as some
from tests import pure_core
from tests import twin_strategies as twin
from tests.copy_tuples import decode_rows
from tests.pure_core import LIMITS, NOW, Twins, parts_of
from tests.twin_strategies import in_a_record

pytestmark = pytest.mark.skipif(not IS_BUILT, reason="there is only one encoder")

SMALL = WireLimits(
    max_frame_bytes=LIMITS.max_frame_bytes,
    max_decompressed_bytes=2_000,
    max_chunk_entries=1_000,
    max_map_keys=100,
)


def cases(usual: int) -> settings:
    """Try so many examples, and 60 times as many in long runs."""
    is_long = settings.get_current_profile_name() == "long"
    return settings(
        max_examples=usual * (60 if is_long else 1),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


def parts(
    entries: bytes, metadata: bytes | None = None, **of: Any
) -> list[EncodedRows]:
    """Encode by both, as one part, in small parts, and where the tuples hold."""
    whole = parts_of(entries, metadata=metadata, encoder=Twins(**of))
    with mock.patch.object(stream, "PART_BYTES", 64):
        parts_of(entries, metadata=metadata, encoder=Twins(**of))
    for part in whole:
        assert len(decode_rows(part.data)) == part.rows
    return whole


# --- values


@cases(75)
@given(st.lists(twin.texts, max_size=8))
def test_texts(texts: list[bytes]) -> None:
    parts(b"".join(map(in_a_record, texts)))


@cases(25)
@given(st.lists(twin.bins, max_size=8))
def test_bins(bins: list[bytes]) -> None:
    parts(b"".join(map(in_a_record, bins)))


@cases(50)
@given(st.lists(twin.ints | twin.floats, max_size=20))
def test_numbers(numbers: list[bytes]) -> None:
    parts(b"".join(map(in_a_record, numbers)))


@cases(25)
@given(st.lists(twin.doubles, min_size=50, max_size=50))
def test_floats_have_the_digits_that_orjson_writes(numbers: list[float]) -> None:
    finite = [number for number in numbers if abs(number) < float("inf")]
    packed = m.array16(*map(m.float64, finite))
    with mock.patch.object(pure_core, "encoders", (True,)):
        (part,) = parts_of(in_a_record(packed))
    assert part.data.endswith(b'{"k":' + orjson.dumps(finite) + b"}")


@cases(75)
@given(st.lists(twin.entries, max_size=5), st.none() | twin.maps)
def test_records_of_all_types(entries: list[bytes], metadata: bytes | None) -> None:
    parts(b"".join(entries), metadata)


@cases(37)
@given(st.lists(twin.maps_of(twin.twice_keys, twin.scalars, 15), max_size=4))
def test_keys_that_are_one_key_in_two_forms(maps: list[bytes]) -> None:
    parts(b"".join(map(in_a_record, maps)))


@cases(25)
@given(st.lists(twin.maps_of(twin.twice_keys | twin.keys, twin.values, 8), max_size=4))
def test_keys_of_the_record_itself_that_are_one_key(maps: list[bytes]) -> None:
    parts(b"".join(m.fixarray(m.uint32(m.T), record) for record in maps))


# --- times, and what stands beside a record


@cases(75)
@given(st.lists(twin.heads | twin.times, max_size=8), st.integers(-(10**15), 2 * NOW))
def test_times(heads: list[bytes], now: int) -> None:
    entries = b"".join(m.fixarray(head, m.pack({"a": 1})) for head in heads)
    parts_of(entries, encoder=Twins(), now=now)
    parts(b"".join(map(in_a_record, heads)))


@cases(15)
@given(st.lists(st.integers(0, 200), min_size=60, max_size=200))
def test_many_days(days: list[int]) -> None:
    entries = [m.fixarray(m.uint32(1 + 86_400 * day), b"\x80") for day in days]
    (part,) = parts_of(b"".join(entries), encoder=Twins())
    assert part.days == set(days)


_own_keys = twin.one_of_each(
    m.fixstr(key)
    for key in (b"_time", b"_time_", b"_metadata", b"_metadata_", b"_group", b"_group_")
)


@cases(50)
@given(
    st.lists(
        twin.any_of(
            some.markers,
            twin.entries,
            st.builds(m.fixarray, twin.heads, twin.maps_of(_own_keys, twin.scalars, 2)),
        ),
        max_size=6,
    ),
    st.none() | twin.maps | some.plain_maps | st.just(b"\x80"),
)
def test_metadata_and_groups(entries: list[bytes], metadata: bytes | None) -> None:
    parts(b"".join(entries), metadata)
    parts(b"".join(entries), metadata, limits=SMALL)


# --- columns


@cases(50)
@given(
    st.lists(twin.entries_with_paths(st.sampled_from(twin.DEFAULT_PATHS)), max_size=4)
)
def test_columns_by_the_default_paths(entries: list[bytes]) -> None:
    parts(b"".join(entries))


@cases(75)
@given(
    twin.odd_columns,
    st.lists(twin.entries_with_paths(twin.paths) | some.markers, max_size=4),
    st.none() | some.plain_maps,
)
def test_columns_by_odd_paths(
    columns: ColumnSettings, entries: list[bytes], metadata: bytes | None
) -> None:
    parts(b"".join(entries), metadata, columns=columns)


@cases(37)
@given(st.lists(twin.levels, max_size=12))
def test_levels(levels: list[bytes]) -> None:
    records = [m.fixmap((m.fixstr(b"level"), level)) for level in levels]
    parts(b"".join(m.fixarray(m.uint32(m.T), record) for record in records))


# --- many keys, and deep ones


@cases(15)
@given(
    twin.numbered_maps(
        st.sampled_from([0, 1, 15, 16, 31, 32, 33, 34, 63, 64, 65, 100, 101, 1000])
    ),
    st.booleans(),
)
def test_many_keys(record: bytes, is_nested: bool) -> None:
    record = m.fixmap((m.fixstr(b"k"), record)) if is_nested else record
    entry = m.fixarray(m.uint32(m.T), record)
    parts_of(entry * 2, encoder=Twins())
    parts_of(entry * 2, encoder=Twins(limits=SMALL))


@cases(15)
@given(some.deep_entries, st.integers(0, 3))
def test_deep_records(entry: bytes, behind: int) -> None:
    parts_of(entry + in_a_record(b"\x01") * behind, encoder=Twins())


def _with_keys(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Maps of few keys, most of which begin with the same one; arrays of such."""
    keys = st.permutations([b"\xa1b", b"\xa2cc", b"\xa3ddd", b"\xa5level"])
    maps = st.builds(
        lambda keys, values: m.fixmap(*zip([b"\xa1a", *keys], values, strict=False)),
        keys,
        st.lists(values, min_size=2, max_size=3),
    )
    return maps | st.lists(maps, max_size=3).map(lambda each: m.fixarray(*each))


@cases(40)
@given(
    st.lists(
        st.tuples(
            st.recursive(
                st.sampled_from([b"\x01", m.fixstr(b"x" * 20)]),
                _with_keys,
                max_leaves=12,
            ),
            st.booleans(),
            st.integers(1, 3),
        ),
        max_size=8,
    )
)
def test_maps_within_maps_like_them(records: list[tuple[bytes, bool, int]]) -> None:
    entries = [
        (
            m.fixarray(m.uint32(m.T), value)
            if value[0] & 0xF0 == 0x80 and not is_nested
            else in_a_record(value)
        )
        * times
        for value, is_nested, times in records
    ]
    parts_of(b"".join(entries) * 2, encoder=Twins())


def _nested(
    levels: int, opening: list[bytes], inner: bytes, before: list[bytes]
) -> bytes:
    """Nest maps and arrays; some of them hold something before what they hold."""
    data = b"".join(opening[level % len(opening)] for level in range(levels))
    return in_a_record(m.fixarray(*before, data + inner))


@cases(15)
@given(
    st.integers(245, 260),
    st.lists(
        st.sampled_from(
            [
                b"\x91",
                b"\x92\x01",
                b"\x81\xa1a",
                b"\x82\xa1a\x01\xa1b",
                b"\x82\x01\xc0\x02",
            ]
        ),
        min_size=1,
        max_size=4,
    ),
    twin.values,
    st.lists(twin.values, max_size=2),
)
def test_depths_around_what_orjson_writes(
    levels: int, opening: list[bytes], inner: bytes, before: list[bytes]
) -> None:
    parts_of(_nested(levels, opening, inner, before), encoder=Twins())


# --- entries that are too much, or broken, or lie at the border of a window


@cases(25)
@given(
    st.lists(
        twin.entries | some.entries | some.markers | some.odd_entries, max_size=12
    ),
    st.sampled_from([1, 2, 7, 16, 33, 100, 1000]),
    st.none() | some.plain_maps,
)
def test_windows_of_any_size(
    entries: list[bytes], part_bytes: int, metadata: bytes | None
) -> None:
    with mock.patch.object(stream, "PART_BYTES", part_bytes):
        parts_of(b"".join(entries), metadata=metadata, encoder=Twins())


@cases(15)
@given(
    st.lists(twin.entries | some.markers | some.odd_entries, min_size=1, max_size=6),
    st.integers(1, 40),
    st.none() | some.plain_maps,
    st.integers(1, 500),
    st.integers(1, 3000),
)
def test_what_stands_beside_and_how_many_entries_are_limited(
    entries: list[bytes],
    times: int,
    metadata: bytes | None,
    part_beside_bytes: int,
    beside_bytes: int,
) -> None:
    limits = WireLimits(
        max_chunk_entries=50, max_decompressed_bytes=beside_bytes, max_map_keys=3
    )
    with mock.patch.object(stream, "PART_BESIDE_BYTES", part_beside_bytes):
        parts_of(
            b"".join(entries) * times, metadata=metadata, encoder=Twins(limits=limits)
        )


@cases(100)
@given(
    st.one_of(
        some.mutated(st.lists(twin.entries, min_size=1, max_size=4).map(b"".join)),
        some.mutated(some.blobs),
        st.binary(max_size=80).map(lambda data: b"\x92\x01" + data),
        st.binary(max_size=80).map(lambda data: b"\x92\x01\x81\xa1a" + data),
        st.binary(max_size=80),
    ),
    st.none() | twin.maps,
)
def test_damaged_and_random_bytes(data: bytes, metadata: bytes | None) -> None:
    parts(data, metadata)


@cases(15)
@given(twin.entries)
def test_an_entry_cut_short_anywhere(entry: bytes) -> None:
    entry = entry[:120]
    for end in range(len(entry)):
        # A copy each: what stands behind is another's memory.
        parts_of(bytes(bytearray(entry[:end])), encoder=Twins())
