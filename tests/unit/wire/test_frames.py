"""Cutting a connection's bytes into frames: resumable, linear, bounded."""

from types import SimpleNamespace
from typing import Any

import msgpack
import pytest

from penstock.errors import ProtocolError
from penstock.settings import WireLimits
from penstock.wire import frames
from penstock.wire.frames import Frame, FrameReader
from penstock.wire.values import Header, read_header
from tests import msgpack_bytes as m
from tests.pure_core import NEXT_FRAME, WAYS, arriving, frames_of

TAG = m.fixstr(b"t")
TIME = m.uint32(m.T)
RECORD = m.pack({"a": 1})
ENTRIES = m.entry({"a": 1}) + m.entry({"a": 2})
GZIP_LIKE = b"\x1f\x8b\x08\x00\xff\xfe\xfd" * 9

# Elements of one frame of each kind. What a frame means is no matter here.
ELEMENTS: dict[str, list[bytes]] = {
    "message": [TAG, TIME, RECORD],
    "message, empty option": [TAG, m.int32(m.T), RECORD, b"\x80"],
    "message, nil option": [TAG, m.event_time(m.T, 5), RECORD, m.NIL],
    "message, float time": [TAG, m.float64(m.T + 0.25), RECORD],
    "message, ext8 time": [TAG, m.ext8(0, m.time_payload(m.T)), RECORD],
    "message, empty record": [TAG, TIME, b"\x80"],
    "forward": [TAG, m.fixarray(m.entry({"a": 1}), m.entry({"a": 2}))],
    "forward, option": [TAG, m.array32(m.entry({})), m.map32((TAG, TIME))],
    "forward, no entries": [TAG, b"\x90"],
    "forward, array16 of none": [TAG, m.array16()],
    "packed, fixstr": [TAG, m.fixstr(ENTRIES)],
    "packed, str8": [TAG, m.str8(ENTRIES)],
    "packed, str16": [TAG, m.str16(ENTRIES)],
    "packed, str32": [TAG, m.str32(ENTRIES), RECORD],
    "packed, bin8": [TAG, m.bin8(ENTRIES)],
    "packed, bin16": [TAG, m.bin16(ENTRIES)],
    "packed, bin32": [TAG, m.bin32(GZIP_LIKE), RECORD],
    "packed, empty": [TAG, b"\xa0"],
    "one element": [TAG],
    "no element": [],
    "sixteen elements": [m.NIL] * 16,
    "all kinds of scalars": [m.NIL, m.TRUE, b"\x05", b"\xff", m.float32(1.0)],
    "ext values": [m.fixext(5, b"x"), m.ext16(1, b"ab"), m.ext32(-1, b"abc")],
    "nil elements": [m.NIL, m.NIL],
    "map32 of none": [TAG, m.map32()],
    "str that is no UTF-8 in a map": [TAG, TIME, m.fixmap((TAG, m.fixstr(b"\xff")))],
    "unhashable key": [TAG, TIME, m.fixmap((m.fixarray(), m.NIL))],
    "bad timestamp within": [TAG, TIME, m.fixmap((TAG, m.fixext(-1, b"ab")))],
}


def framed(elements: list[bytes]) -> bytes:
    return m.fixarray(*elements) if len(elements) < 16 else m.array16(*elements)


def elements_of(frame: Frame) -> list[bytes]:
    return [
        bytes(frame.data[start:end])
        for start, end in zip(frame.starts, frame.starts[1:], strict=False)
    ]


@pytest.mark.parametrize("name", ELEMENTS)
def test_a_frame_is_cut_whole_with_its_elements(name: str) -> None:
    elements = ELEMENTS[name]
    for data in (framed(elements), m.array16(*elements), m.array32(*elements)):
        for way in WAYS:
            found = list(frames_of(arriving(way, data)))
            if way == "next frame glued on":
                assert found.pop().data == NEXT_FRAME
            (frame,) = found
            assert frame.data == data
            assert elements_of(frame) == elements
            assert frame.starts[0] == len(data) - sum(map(len, elements))


def test_frames_come_out_in_order_whatever_the_pieces_are() -> None:
    sent = [framed(elements) for elements in ELEMENTS.values()]
    stream = b"".join(sent)
    for size in (1, 2, 3, 7, 64, 1000):
        pieces = [stream[i : i + size] for i in range(0, len(stream), size)]
        assert [frame.data for frame in frames_of(pieces)] == sent


@pytest.mark.parametrize("way", ["whole", "byte by byte"])
def test_nil_between_frames_is_a_heartbeat(way: str) -> None:
    one, two = framed(ELEMENTS["message"]), framed(ELEMENTS["forward"])
    stream = m.NIL * 3 + one + m.NIL + two + m.NIL * 2
    assert [frame.data for frame in frames_of(arriving(way, stream))] == [one, two]


def test_heartbeats_are_not_kept() -> None:
    reader = FrameReader(max_frame_bytes=1024)
    for _ in range(5000):
        reader.receive_data(m.NIL)
        assert reader.next_frame() is None
        assert reader.buffered_bytes == 0


def test_a_lone_heartbeat_and_no_bytes_at_all_are_no_frame() -> None:
    assert list(frames_of([m.NIL])) == []
    assert list(frames_of([b""])) == []
    assert list(frames_of([])) == []


@pytest.mark.parametrize("name", ELEMENTS)
def test_a_frame_cut_short_waits_for_its_last_byte(name: str) -> None:
    data = m.array32(*ELEMENTS[name])
    reader = FrameReader(max_frame_bytes=1024)
    reader.receive_data(data[:-1])
    assert reader.next_frame() is None
    assert reader.next_frame() is None, "asked again, it waits still"
    assert reader.buffered_bytes == len(data) - 1
    reader.receive_data(data[-1:])
    frame = reader.next_frame()
    assert frame is not None and frame.data == data
    assert reader.buffered_bytes == 0


def test_a_frame_does_not_change_when_more_bytes_come() -> None:
    reader = FrameReader(max_frame_bytes=1024)
    one, two = framed(ELEMENTS["message"]), framed(ELEMENTS["forward"])
    reader.receive_data(one + two[:5])
    frame = reader.next_frame()
    reader.receive_data(two[5:])
    assert reader.next_frame() == Frame(two, frames_starts(two))
    assert frame is not None and frame.data == one


def frames_starts(data: bytes) -> tuple[int, ...]:
    (frame,) = frames_of([data])
    return frame.starts


# --- bounds


def refusal_of(pieces: list[bytes], max_frame_bytes: int) -> ProtocolError:
    with pytest.raises(ProtocolError) as raised:
        list(frames_of(pieces, max_frame_bytes=max_frame_bytes))
    return raised.value


@pytest.mark.parametrize("behind", [b"", b"\xc0", b"\x93\xa1t", bytes(50_000)])
@pytest.mark.parametrize("before", [b"", b"\xc0\xc0"])
@pytest.mark.parametrize("size_bytes", [60_000, 70_000, 300_000])
def test_a_large_frame_is_as_a_small_one_whatever_stands_around_it(
    size_bytes: int, before: bytes, behind: bytes
) -> None:
    one = framed([m.fixstr(b"t"), m.pack(bytes(size_bytes)), m.fixmap()])
    two = framed([m.fixstr(b"u"), m.pack(b"x" * size_bytes), m.fixmap()])
    reader = FrameReader(max_frame_bytes=1 << 20)
    reader.receive_data(before + one + two + one[:-1])
    first = reader.next_frame()
    assert first == Frame(one, frames_starts(one))
    assert reader.next_frame() == Frame(two, frames_starts(two))
    assert reader.next_frame() is None
    assert reader.buffered_bytes == len(one) - 1
    reader.receive_data(one[-1:] + behind)
    assert reader.next_frame() == Frame(one, frames_starts(one))
    assert reader.buffered_bytes == len(behind)
    assert first == Frame(one, frames_starts(one)), "nothing reaches back into it"


@pytest.mark.parametrize("name", [name for name in ELEMENTS if ELEMENTS[name]])
def test_a_frame_of_the_limit_is_taken_and_one_byte_more_is_not(name: str) -> None:
    data = framed(ELEMENTS[name])
    (frame,) = frames_of([data], max_frame_bytes=len(data))
    assert frame.data == data
    for way in ("whole", "byte by byte"):
        refusal = refusal_of(arriving(way, data), len(data) - 1)
        assert refusal.reason == "frame_too_large"


def test_the_limit_is_a_frames_not_the_connections() -> None:
    data = framed(ELEMENTS["forward"])
    stream = m.NIL * 100 + data * 50
    assert len(list(frames_of([stream], max_frame_bytes=len(data)))) == 50
    assert len(list(frames_of(arriving("byte by byte", stream)))) == 50


@pytest.mark.parametrize(
    "announcement",
    [
        m.str32(b"")[:1] + b"\xff\xff\xff\xff",
        m.bin32(b"")[:1] + b"\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x00",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdf\x00\x00\x02\x01",  # 513 pairs take 1,026 bytes at least
        b"\xdd\x00\x00\x04\x01",
        b"\xda\x04\x01",
        b"\xc5\x04\x01",
        b"\xdc\x04\x01",
    ],
    ids=bytes.hex,
)
def test_a_length_past_the_limit_is_refused_before_its_bytes_come(
    announcement: bytes,
) -> None:
    reader = FrameReader(max_frame_bytes=1024)
    reader.receive_data(b"\x92" + TAG + announcement)
    with pytest.raises(ProtocolError) as raised:
        reader.next_frame()
    assert raised.value.reason == "frame_too_large"


@pytest.mark.parametrize(
    "announcement", [b"\xdb\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff"]
)
def test_a_length_announced_deeper_down_is_not_waited_for_past_the_limit(
    announcement: bytes,
) -> None:
    reader = FrameReader(max_frame_bytes=1024)
    reader.receive_data(b"\x93" + TAG + TIME + b"\x81\xa1a" + announcement)
    assert reader.next_frame() is None
    received = reader.buffered_bytes
    with pytest.raises(ProtocolError) as raised:
        while received < 5000:
            reader.receive_data(m.NIL * 100)
            received += 100
            assert reader.next_frame() is None
    assert raised.value.reason == "frame_too_large"
    assert received <= 1024 + 100


def test_the_refusal_names_the_setting_that_mends_it() -> None:
    refusal = refusal_of([b"\x92" + TAG + b"\xdb\xff\xff\xff\xff"], 65536)
    assert "PENSTOCK_MAX_FRAME_BYTES" in str(refusal)
    assert "65536" in str(refusal)
    assert "max_frame_bytes" in WireLimits.__dataclass_fields__


def test_more_elements_than_a_message_can_have_are_refused_from_the_header() -> None:
    for header in (m.array16(*[m.NIL] * 17)[:3], b"\xdd\xff\xff\xff\xff"):
        assert refusal_of([header], 1024).reason == "not_forward"


def test_nesting_without_end_is_refused_and_does_not_crash() -> None:
    deep = b"\x93" + TAG + TIME + b"\x81\xa1a" + m.nested_arrays(2000)
    for way in ("whole", "byte by byte"):
        refusal = refusal_of(arriving(way, deep), 1 << 20)
        assert refusal.reason == "malformed_msgpack"


def test_nesting_within_a_packed_blob_is_not_looked_at() -> None:
    deep = m.nested_arrays(100_000)
    (frame,) = frames_of([m.fixarray(TAG, m.bin32(deep))])
    assert elements_of(frame)[1] == m.bin32(deep)


@pytest.mark.parametrize(
    "data",
    [
        b"\x93" + m.NEVER_USED,
        b"\x93" + TAG + m.NEVER_USED,
        b"\x93" + TAG + TIME + b"\x81" + m.NEVER_USED,
        b"\x92" + TAG + b"\x92\x92" + m.NEVER_USED,
        m.NEVER_USED,
    ],
    ids=bytes.hex,
)
def test_the_byte_that_is_never_used_ends_the_connection(data: bytes) -> None:
    for way in ("whole", "byte by byte"):
        assert refusal_of(arriving(way, data), 1024).reason == "malformed_msgpack"


def test_frames_before_a_broken_one_are_handed_out() -> None:
    reader = FrameReader(max_frame_bytes=1024)
    good = framed(ELEMENTS["message"])
    reader.receive_data(good + good + m.NEVER_USED)
    assert [reader.next_frame(), reader.next_frame()] == [
        Frame(good, frames_starts(good))
    ] * 2
    with pytest.raises(ProtocolError):
        reader.next_frame()


# --- what is no forward protocol


@pytest.mark.parametrize(
    "value",
    [
        *(m.uint32(m.T), b"\x05", b"\xff", m.TRUE, m.FALSE, m.float64(1.0)),
        *(RECORD, m.map32(), b"\xa0", m.str8(b"x"), m.bin8(b"x"), m.fixext(0, b"x")),
    ],
    ids=bytes.hex,
)
def test_a_top_level_value_that_is_no_array_is_refused(value: bytes) -> None:
    for way in WAYS:
        assert refusal_of(arriving(way, value), 1024).reason == "not_forward"


@pytest.mark.parametrize(
    ("first_bytes", "name"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP"),
        (b"POST /logs HTTP/1.1\r\n", "HTTP"),
        (b"HEAD / HTTP/1.0\r\n", "HTTP"),
        (bytes.fromhex("1603010200010001fc"), "TLS"),
        (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", "PROXY"),
        (bytes.fromhex("0d0a0d0a000d0a515549540a"), "PROXY"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
        (b"<34>1 2015-09-07T01:23:04Z host su - - - x", "syslog"),
    ],
)
def test_a_foreign_protocol_is_named(first_bytes: bytes, name: str) -> None:
    refusal = refusal_of([m.NIL + first_bytes], 1024)
    assert refusal.reason == "not_forward"
    assert name in str(refusal)


def test_a_refusal_does_not_quote_the_peer() -> None:
    refusal = refusal_of([b"GET /?password=hunter2 HTTP/1.1\r\n"], 1024)
    assert "hunter2" not in str(refusal)


# --- work


class CountingUnpacker:
    """msgpack's Unpacker, counting what it is fed."""

    fed_bytes = 0
    feeds = 0

    def __init__(self, **options: Any) -> None:
        self._unpacker = msgpack.Unpacker(**options)

    def feed(self, data: memoryview) -> None:
        CountingUnpacker.fed_bytes += len(data)
        CountingUnpacker.feeds += 1
        self._unpacker.feed(data)

    def skip(self) -> None:
        self._unpacker.skip()

    def tell(self) -> int:
        position: int = self._unpacker.tell()
        return position


@pytest.fixture
def skipper(monkeypatch: pytest.MonkeyPatch) -> type[CountingUnpacker]:
    """Count what the C skipper is given."""
    counting = SimpleNamespace(
        Unpacker=CountingUnpacker,
        OutOfData=msgpack.OutOfData,
        UnpackException=msgpack.UnpackException,
    )
    monkeypatch.setattr(frames, "msgpack", counting)
    CountingUnpacker.fed_bytes = CountingUnpacker.feeds = 0
    return CountingUnpacker


def test_a_container_that_comes_byte_by_byte_is_skipped_once(
    skipper: type[CountingUnpacker],
) -> None:
    data = m.fixarray(TAG, TIME, m.pack({"a": ["x" * 50] * 500}))
    assert len(data) > 25_000
    (frame,) = frames_of(arriving("byte by byte", data))
    assert frame.data == data
    assert skipper.fed_bytes <= len(data)


def test_a_blob_that_comes_byte_by_byte_costs_a_look_at_its_header_each_time(
    monkeypatch: pytest.MonkeyPatch, skipper: type[CountingUnpacker]
) -> None:
    reads = 0

    def counting(data: bytes, offset: int) -> Header:
        nonlocal reads
        reads += 1
        return read_header(data, offset)

    monkeypatch.setattr(frames, "read_header", counting)
    data = m.fixarray(TAG, m.bin32(b"x" * 20_000))
    (frame,) = frames_of(arriving("byte by byte", data))
    assert frame.data == data
    assert reads <= len(data) + 3
    assert skipper.fed_bytes == 0


def test_a_large_container_in_one_piece_is_fed_to_the_skipper_once(
    skipper: type[CountingUnpacker],
) -> None:
    data = m.fixarray(TAG, TIME, m.pack({"a": ["x" * 50] * 20_000}))
    assert len(list(frames_of([data]))) == 1
    assert skipper.fed_bytes <= len(data)
    assert skipper.feeds <= 16, "windows grow"


def test_a_small_container_costs_little_though_megabytes_stand_behind_it(
    skipper: type[CountingUnpacker],
) -> None:
    data = framed(ELEMENTS["message"]) * 500
    tail = m.fixarray(TAG, m.bin32(bytes(2 * 1024 * 1024)))
    assert len(list(frames_of([data + tail]))) == 501
    assert skipper.fed_bytes <= 500 * frames.SKIP_WINDOW_BYTES


def test_the_skippers_window_grows_by_what_came_not_by_how_often_it_came(
    skipper: type[CountingUnpacker],
) -> None:
    # 5,000 bytes of a record one at a time, then its end with a megabyte behind it.
    record = m.pack({"a": "x" * 6000})
    data = m.fixarray(TAG, TIME, record)
    tail = m.fixarray(TAG, m.bin32(bytes(1024 * 1024)))
    pieces = [data[i : i + 1] for i in range(5000)] + [data[5000:] + tail]
    assert len(list(frames_of(pieces))) == 2
    assert skipper.fed_bytes <= 2 * len(record) + frames.SKIP_WINDOW_BYTES


def test_what_was_handed_out_is_not_kept() -> None:
    reader = FrameReader(max_frame_bytes=1 << 20)
    frame_bytes = m.fixarray(TAG, m.bin16(bytes(1000)))
    reader.receive_data(frame_bytes * 1000)
    for left in range(999, -1, -1):
        assert reader.next_frame() is not None
        assert reader.buffered_bytes == left * len(frame_bytes)
        # What is dead is never more than what is alive, and some more for a piece.
        assert len(reader._buffer) <= 2 * reader.buffered_bytes + len(frame_bytes)
