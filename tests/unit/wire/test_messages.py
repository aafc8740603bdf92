"""From frames to messages: the mode by element 1, the options, the ack to the byte."""

import base64
import gzip
from typing import Any

import pytest
import zstandard

from penstock.errors import ProtocolError
from penstock.settings import WireLimits
from penstock.wire.messages import (
    TOGETHER_BYTES,
    Message,
    MessageReader,
    Mode,
    parse_message,
)
from penstock.wire.options import MAX_OPTIONS
from tests import msgpack_bytes as m
from tests.pure_core import MAX_DECOMPRESSED_BYTES, frames_of, messages_of

MAX_TAG_BYTES = WireLimits().max_tag_bytes
TAG = m.fixstr(b"t")
TIME = m.uint32(m.T)
RECORD = m.pack({"a": 1})
ENTRY = m.entry({"a": 1})
ENTRIES = ENTRY + m.entry({"a": 2})
CHUNK = m.fixstr(b"chunk")
# Each kind of sender's own shape of the same option.
GZIP = gzip.compress(ENTRIES, mtime=0)
ZSTD = zstandard.ZstdCompressor(write_content_size=False).compress(ENTRIES)


def parsed(*elements: bytes, limit: int = MAX_DECOMPRESSED_BYTES) -> Message:
    (frame,) = frames_of([m.fixarray(*elements)])
    return parse_message(frame, WireLimits(max_decompressed_bytes=limit))


def option(**values: Any) -> bytes:
    return m.pack(values)


# --- modes


@pytest.mark.parametrize(
    ("element", "mode"),
    [
        (m.fixarray(ENTRY), Mode.FORWARD),
        (m.array16(ENTRY), Mode.FORWARD),
        (m.array32(ENTRY), Mode.FORWARD),
        (b"\x90", Mode.FORWARD),
        *(
            (packed(ENTRIES), Mode.PACKED_FORWARD)
            for packed in (m.fixstr, m.str8, m.str16, m.str32, m.bin8, m.bin16, m.bin32)
        ),
        (b"\xa0", Mode.PACKED_FORWARD),
        (m.bin8(b""), Mode.PACKED_FORWARD),
        (m.fixstr(b"2024-01-01"), Mode.PACKED_FORWARD),
        (m.str32(GZIP), Mode.COMPRESSED_PACKED_FORWARD),
        (m.bin8(ZSTD), Mode.COMPRESSED_PACKED_FORWARD),
        *(
            (time, Mode.MESSAGE)
            for time in (
                *(TIME, m.uint8(1), m.uint16(1), m.uint64(1), b"\x05", b"\xfb"),
                *(m.int8(-1), m.int16(-1), m.int32(m.T), m.int64(m.T)),
                *(m.float32(1.5), m.float64(1.5), m.NIL, m.TRUE, m.FALSE),
                *(m.event_time(m.T), m.ext8(0, bytes(8)), m.ext16(0, bytes(8))),
                *(m.ext32(0, bytes(8)), m.fixext(-1, bytes(4))),
                *(b"\x80", m.fixmap((TAG, TAG)), m.map16(), m.map32()),
            )
        ),
    ],
)
def test_element_1_alone_tells_the_mode(element: bytes, mode: Mode) -> None:
    # An option says nothing about the mode, nor does its being there.
    for rest in ([RECORD], [RECORD, RECORD], [m.NIL]):
        assert parsed(TAG, element, *rest).mode is mode


@pytest.mark.parametrize("header", [m.fixarray, m.array16, m.array32])
def test_forward_entries_are_what_stands_within_the_array(header: Any) -> None:
    message = parsed(TAG, header(ENTRY, m.entry({"a": 2})))
    assert message == Message(Mode.FORWARD, "t", ENTRIES)


@pytest.mark.parametrize(
    "blob", [m.fixstr, m.str8, m.str16, m.str32, m.bin8, m.bin16, m.bin32]
)
def test_packed_entries_are_taken_as_str_and_as_bin_of_every_width(blob: Any) -> None:
    for rest in ([], [m.NIL], [b"\x80"], [option(size=2, compressed="text")]):
        message = parsed(TAG, blob(ENTRIES), *rest)
        assert message == Message(Mode.PACKED_FORWARD, "t", ENTRIES)


@pytest.mark.parametrize("blob", [m.str8, m.str16, m.str32, m.bin8, m.bin16, m.bin32])
@pytest.mark.parametrize(("codec", "compressed"), [("gzip", GZIP), ("zstd", ZSTD)])
def test_compressed_entries_are_taken_as_str_and_as_bin_of_every_width(
    codec: str, compressed: bytes, blob: Any
) -> None:
    message = parsed(TAG, blob(compressed), option(compressed=codec, size=2))
    assert message == Message(Mode.COMPRESSED_PACKED_FORWARD, "t", ENTRIES)


@pytest.mark.parametrize("time", [TIME, m.int32(m.T), m.event_time(m.T), m.NIL])
def test_a_message_mode_event_is_one_entry_of_the_same_time_and_record(
    time: bytes,
) -> None:
    for rest in ([], [b"\x80"], [m.NIL], [option(size=1)]):
        message = parsed(TAG, time, RECORD, *rest)
        assert message.mode is Mode.MESSAGE
        assert message.entries == m.fixarray(time, RECORD)


def test_elements_past_a_messages_own_are_passed_over() -> None:
    assert parsed(TAG, TIME, RECORD, option(chunk="c"), TAG, TAG).ack is not None
    assert parsed(TAG, m.fixarray(ENTRY), b"\x80", TAG).entries == ENTRY
    assert parsed(TAG, *[TIME] * 14).entries == m.fixarray(TIME, TIME)


@pytest.mark.parametrize("elements", [[], [TAG], [m.fixarray(ENTRY)]])
def test_fewer_than_two_elements_are_no_event_and_no_crash(
    elements: list[bytes],
) -> None:
    message = parsed(*elements)
    # Handed on as an entry without a record, which the row encoder rejects, so that
    # its bytes are kept.
    assert message == Message(Mode.MESSAGE, "", m.fixarray(*elements))


def test_two_elements_with_a_time_are_an_entry_without_a_record() -> None:
    assert parsed(TAG, TIME) == Message(Mode.MESSAGE, "t", m.fixarray(TIME))


# --- the tag


@pytest.mark.parametrize(
    "raw",
    [b"", b"t", b"kube.var.log.containers.x", "로그".encode(), b"a" * MAX_TAG_BYTES],
)
def test_a_tag_is_taken_as_str_and_as_bin_of_every_width(raw: bytes) -> None:
    forms = [m.str16, m.str32, m.bin16, m.bin32]
    forms += [m.fixstr] if len(raw) < 32 else []
    forms += [m.str8, m.bin8] if len(raw) < 256 else []
    for form in forms:
        assert parsed(form(raw), TIME, RECORD).tag == raw.decode()


def test_a_nil_tag_is_the_empty_one() -> None:
    assert parsed(m.NIL, TIME, RECORD).tag == ""


def test_a_tags_bad_bytes_are_written_out() -> None:
    assert parsed(m.fixstr(b"f\x93\xa7f"), TIME, RECORD).tag == "f\\x93\\xa7f"
    assert parsed(m.fixstr(b"a\0b"), TIME, RECORD).tag == "a\\x00b"


@pytest.mark.parametrize(
    "tag", [b"\x05", TIME, m.TRUE, m.float64(1.0), b"\x90", b"\x80", m.fixext(1, b"t")]
)
def test_a_tag_that_is_no_string_ends_the_connection(tag: bytes) -> None:
    with pytest.raises(ProtocolError) as raised:
        parsed(tag, TIME, RECORD)
    assert raised.value.reason == "invalid_tag"


@pytest.mark.parametrize(
    "raw",
    [
        b"t" * (MAX_TAG_BYTES + 1),
        b"t" * 200_000,
        "로".encode() * 342,
        b"\xff" * 257,  # four characters for each byte
        b"\0" * 1024,
        b"\xff" * 204 + "🎉".encode() * 204,  # few characters, many bytes
        "🎉".encode() * 300,
    ],
    ids=["one more", "200 kB", "3-byte", "no UTF-8", "NUL", "mixed", "4-byte"],
)
def test_a_long_tag_is_cut_and_stays_itself(raw: bytes) -> None:
    tag = parsed(m.str32(raw), TIME, RECORD).tag
    assert 950 < len(tag.encode()) <= MAX_TAG_BYTES
    assert tag == parsed(m.bin32(raw), TIME, RECORD).tag
    other = parsed(m.str32(raw + b"x"), TIME, RECORD).tag
    assert other != tag
    assert other[:200] == tag[:200]


# --- options

OPTION_POSITIONS: list[list[bytes]] = [
    [TAG, TIME, RECORD],
    [TAG, m.fixarray(ENTRY)],
    [TAG, m.bin8(ENTRIES)],
    [TAG, m.str32(GZIP)],
]


@pytest.mark.parametrize("event", OPTION_POSITIONS)
def test_missing_nil_and_empty_options_are_none(event: list[bytes]) -> None:
    for rest in ([], [m.NIL], [b"\x80"], [m.map16()], [m.map32()]):
        message = parsed(*event, *rest)
        assert (message.chunk, message.ack, message.metadata) == (None, None, None)
        assert message.rejection is None


@pytest.mark.parametrize(
    "wrong", [TIME, m.TRUE, m.fixstr(b"x"), m.fixarray(CHUNK), m.fixext(0, b"x")]
)
def test_options_that_are_no_map_are_as_good_as_absent(wrong: bytes) -> None:
    for event in OPTION_POSITIONS:
        with_wrong, without = parsed(*event, wrong), parsed(*event)
        assert with_wrong.ack is None
        assert (with_wrong.mode, with_wrong.tag) == (without.mode, without.tag)


@pytest.mark.parametrize("header", [m.fixmap, m.map16, m.map32])
@pytest.mark.parametrize("key", [m.fixstr, m.str8, m.str32, m.bin8])
def test_the_chunk_is_found_in_any_form_of_the_option_map(
    header: Any, key: Any
) -> None:
    value = m.str8(b"c1")
    unknown = [
        (m.fixstr(b"CHUNK"), m.fixstr(b"x")),
        (m.NIL, m.fixmap((m.NIL, m.NIL))),
        (b"\x05", m.fixarray(m.NIL)),
        (m.fixarray(key(b"chunk")), TIME),
        (m.fixext(1, b"x"), m.fixext(2, b"y")),
        (m.fixstr(b"size"), m.fixstr(b"2")),
        (m.fixstr(b"eventEntryDataSize"), b"\x14"),
    ]
    pair = (key(b"chunk"), value)
    for pairs in ([pair, *unknown], [*unknown, pair], [pair]):
        for event in OPTION_POSITIONS:
            assert parsed(*event, header(*pairs)).chunk == value


def test_the_options_of_message_mode_stand_behind_the_record() -> None:
    # A record has no say in the protocol, whatever its keys.
    record = option(chunk="mine", fluent_signal=1, compressed="gzip", metadata={"a": 1})
    message = parsed(TAG, TIME, record)
    assert message == Message(Mode.MESSAGE, "t", m.fixarray(TIME, record))
    packed = parsed(TAG, m.bin8(ENTRIES), b"\x80", option(chunk="c"))
    assert packed.chunk is None


# --- the ack

CHUNKS = {
    "Fluentd, 24 characters and a newline": m.fixstr(
        base64.encodebytes(bytes(range(16)))
    ),
    "Perl, str8": m.str8(base64.encodebytes(bytes(16))),
    "Fluent Bit, hex": m.str8(b"47d92c1ebd2bd7f5f1ef8e613093c966"),
    "Fluent Bit, base64": m.fixstr(base64.b64encode(bytes(range(16)))),
    "a longer header than needed": m.str32(b"c"),
    "str16": m.str16(b"c" * 40),
    "empty": m.fixstr(b""),
    "no UTF-8": m.fixstr(b"\xff\xfe\x00"),
    "bin8": m.bin8(b"ab"),
    "bin32": m.bin32(b"ab"),
    "fixint": b"\x05",
    "int": m.uint64(7),
    "negative": m.int8(-7),
}


@pytest.mark.parametrize("name", CHUNKS)
def test_an_ack_is_a_map_of_one_pair_with_the_chunk_to_the_byte(name: str) -> None:
    chunk = CHUNKS[name]
    for event in OPTION_POSITIONS:
        options = m.fixmap((m.fixstr(b"size"), b"\x02"), (CHUNK, chunk))
        message = parsed(*event, options)
        assert message.chunk == chunk
        assert message.ack == b"\x81\xa3ack" + chunk


def test_the_ack_of_the_published_example_has_its_newline() -> None:
    chunk = base64.encodebytes(bytes(16)).decode()
    message = parsed(TAG, m.str32(ENTRIES), option(size=2, chunk=chunk))
    expected = "81a361636bb9414141414141414141414141414141414141414141413d3d0a"
    assert message.ack == bytes.fromhex(expected)


@pytest.mark.parametrize(
    "chunk",
    [m.NIL, m.TRUE, m.FALSE, m.float64(1.0), b"\x90", b"\x80", m.fixext(1, b"c")],
)
def test_a_chunk_that_is_no_name_asks_for_no_ack(chunk: bytes) -> None:
    for event in OPTION_POSITIONS:
        assert parsed(*event, m.fixmap((CHUNK, chunk))).ack is None


def test_of_two_chunks_the_last_counts() -> None:
    options = m.fixmap((CHUNK, m.fixstr(b"a")), (CHUNK, m.fixstr(b"b")))
    assert parsed(TAG, TIME, RECORD, options).chunk == m.fixstr(b"b")


# --- metadata and signals


@pytest.mark.parametrize("event", OPTION_POSITIONS)
def test_metadata_is_taken_from_the_options_as_it_stands(event: list[bytes]) -> None:
    metadata = m.map32((m.fixstr(b"k"), m.bin8(b"\xff")))
    options = m.map32((m.fixstr(b"metadata"), metadata))
    assert parsed(*event, options).metadata == metadata


@pytest.mark.parametrize("metadata", [m.NIL, b"\x90", m.fixstr(b"x"), TIME])
def test_metadata_that_is_no_map_is_none(metadata: bytes) -> None:
    options = m.fixmap((m.fixstr(b"metadata"), metadata))
    assert parsed(TAG, TIME, RECORD, options).metadata is None


@pytest.mark.parametrize(
    ("signal", "reason"),
    [
        (b"\x01", "signal_metrics"),
        (b"\x02", "signal_traces"),
        (b"\x03", "signal_other"),
        (m.uint64(1), "signal_metrics"),
        (m.int8(-1), "signal_other"),
        (m.uint64(2**64 - 1), "signal_other"),
    ],
)
@pytest.mark.parametrize("compressed", [None, "gzip"])
def test_metrics_and_traces_are_kept_undecoded_and_acked(
    signal: bytes, reason: str, compressed: str | None
) -> None:
    payload = m.pack({"meta": {}, "metrics": []})
    blob = gzip.compress(payload) if compressed else payload
    options = m.map32(
        (m.fixstr(b"compressed"), m.pack(compressed)),
        (m.fixstr(b"fluent_signal"), signal),
        (CHUNK, m.fixstr(b"c")),
    )
    message = parsed(TAG, m.bin8(blob), options)
    assert message.entries == b""
    assert message.rejection == (reason, blob)
    assert message.ack == b"\x81\xa3ack\xa1c"


def test_a_signal_in_forward_mode_is_kept_too() -> None:
    entry = m.fixarray(m.event_time(m.T), m.fixarray(m.pack({"meta": {}})))
    message = parsed(TAG, m.fixarray(entry), option(fluent_signal=1))
    assert message.rejection == ("signal_metrics", entry)
    assert message.mode is Mode.FORWARD


@pytest.mark.parametrize(
    "signal", [b"\x00", m.uint64(0), m.NIL, m.TRUE, m.fixstr(b"1")]
)
def test_signal_0_and_what_is_no_signal_are_logs(signal: bytes) -> None:
    options = m.fixmap((m.fixstr(b"fluent_signal"), signal))
    assert parsed(TAG, m.bin8(ENTRIES), options).entries == ENTRIES


# --- compression, labelled and not


@pytest.mark.parametrize("label", [None, "text", "lz4", "gzip", "zstd", 5, ["gzip"]])
def test_what_begins_like_a_codec_is_inflated_whatever_the_label(label: Any) -> None:
    options = m.NIL if label is None else option(compressed=label)
    for blob, times in ((GZIP, 1), (GZIP * 2, 2), (ZSTD, 1), (ZSTD * 3, 3)):
        message = parsed(TAG, m.str32(blob), options)
        assert message.mode is Mode.COMPRESSED_PACKED_FORWARD
        assert message.rejection is None
        assert message.entries == ENTRIES * times


@pytest.mark.parametrize("label", ["gzip", "zstd", "text", "lz4", "GZIP", ""])
def test_what_begins_like_an_entry_is_taken_as_entries_whatever_the_label(
    label: str,
) -> None:
    wider = m.array16(TIME, RECORD), m.array32(TIME, RECORD)
    for entries in (ENTRIES, *wider, b""):
        message = parsed(TAG, m.bin8(entries), option(compressed=label))
        assert message == Message(Mode.PACKED_FORWARD, "t", entries)


@pytest.mark.parametrize(
    ("blob", "label"),
    [
        (GZIP[:-1], "gzip"),
        (GZIP[:12], "gzip"),
        (GZIP[:2], "gzip"),
        (GZIP[:20] + b"\xff\xff" + GZIP[22:], "gzip"),
        (GZIP[:-8] + bytes(8), "gzip"),
        (GZIP + b"trailing", "gzip"),
        (ZSTD[:-1], "zstd"),
        (ZSTD[:5], "zstd"),
        (ZSTD[:6] + b"\xff\xff\xff" + ZSTD[9:], "zstd"),
        (ZSTD + b"trailing", "zstd"),
        (b"\x05\x06\x07", "gzip"),
        (b"\x05\x06\x07", "zstd"),
        (GZIP[:-1], "text"),
    ],
)
def test_a_damaged_blob_gives_no_row_is_kept_and_acked(blob: bytes, label: str) -> None:
    message = parsed(TAG, m.bin8(blob), option(compressed=label, chunk="c"))
    assert message.entries == b""
    assert message.rejection == ("decompression", blob)
    assert message.ack == b"\x81\xa3ack\xa1c"
    assert message.mode is Mode.COMPRESSED_PACKED_FORWARD


def test_a_blob_that_inflates_past_the_limit_is_kept_as_it_came() -> None:
    for blob in (GZIP, ZSTD):
        inside = parsed(TAG, m.bin8(blob), limit=len(ENTRIES))
        assert inside.entries == ENTRIES
        past = parsed(TAG, m.bin8(blob), option(chunk="c"), limit=len(ENTRIES) - 1)
        assert past.rejection == ("decompression_limit", blob)
        assert past.ack == b"\x81\xa3ack\xa1c"
        assert past.entries == b""


def test_a_string_time_makes_a_packed_message_by_the_rule() -> None:
    message = parsed(TAG, m.fixstr(b"2024-01-01"), option(a=1, chunk="c"))
    assert message == Message(
        Mode.PACKED_FORWARD, "t", b"2024-01-01", chunk=m.fixstr(b"c")
    )


# --- events that come one by one


def event(n: int, *, tag: bytes = TAG, option: list[bytes] | None = None) -> bytes:
    return m.fixarray(tag, TIME, m.pack({"n": n}), *(option or []))


def entries_of(*numbers: int) -> bytes:
    return b"".join(m.entry({"n": n}) for n in numbers)


@pytest.mark.parametrize("option", [[], [m.NIL], [b"\x80"]])
def test_events_of_one_tag_that_are_there_are_put_together(option: list[bytes]) -> None:
    stream = b"".join(event(n, option=option) for n in range(5))
    (message,) = messages_of([stream])
    assert message == Message(Mode.MESSAGE, "t", entries_of(*range(5)), frames=5)


def test_nobody_waits_for_an_event_that_is_not_there() -> None:
    stream = event(0) + event(1) + event(2)
    for cut in (len(event(0)), len(event(0)) + 3, len(stream) - 1):
        reader = MessageReader(WireLimits())
        reader.receive_data(stream[:cut])
        first = reader.next_message()
        assert first is not None
        assert reader.next_message() is None
        reader.receive_data(stream[cut:])
        second = reader.next_message()
        assert second is not None
        assert first.entries + second.entries == entries_of(0, 1, 2)
        assert first.frames + second.frames == 3
        assert reader.next_message() is None


@pytest.mark.parametrize(
    "other",
    [
        event(1, tag=m.fixstr(b"other")),
        event(1, option=[option(chunk="c")]),
        event(1, option=[option(metadata={})]),
        event(1, option=[option(fluent_signal=1)]),
        m.fixarray(TAG, m.fixarray(entries_of(1))),
        m.fixarray(TAG, m.bin8(entries_of(1))),
        m.fixarray(TAG, m.bin8(GZIP)),
        # The marker of a log group, as an EventTime and as a Timestamp.
        m.fixarray(TAG, b"\xd7\x00" + b"\xff" * 4 + b"\0" * 4, m.pack({"g": 1})),
        m.fixarray(TAG, b"\xc7\x0c\xff" + b"\0" * 8 + b"\xff" * 4, m.pack({"g": 1})),
    ],
    ids="tag chunk metadata signal forward packed compressed marker long".split(),
)
def test_nothing_else_is_put_together_and_all_come_in_order(other: bytes) -> None:
    (frame,) = frames_of([other])
    alone = parse_message(frame, WireLimits())
    lone = Message(Mode.MESSAGE, "t", entries_of(0, 2), frames=2)
    pair = event(0) + event(2)
    stream = (pair + other) * 2 + pair
    assert list(messages_of([stream])) == [lone, alone, lone, alone, lone]


def test_what_is_put_together_is_about_a_part() -> None:
    one = m.fixarray(TAG, TIME, m.pack({"text": "x" * 1000}))
    messages = list(messages_of([one * 1000]))
    assert sum(message.frames for message in messages) == 1000
    sizes = [len(message.entries) for message in messages]
    assert all(TOGETHER_BYTES <= size < TOGETHER_BYTES + 1100 for size in sizes[:-1])
    assert sizes[-1] < TOGETHER_BYTES + 1100


@pytest.mark.parametrize("broken", [m.NEVER_USED, b"\x05", m.fixarray(TIME, TIME)])
def test_what_came_before_broken_bytes_is_handed_out_first(broken: bytes) -> None:
    reader = MessageReader(WireLimits())
    reader.receive_data(event(0) + event(1) + broken)
    message = reader.next_message()
    assert message is not None
    assert message.entries == entries_of(0, 1)
    for _ in range(2):
        with pytest.raises(ProtocolError):
            reader.next_message()


def test_the_limits_are_those_of_the_settings() -> None:
    limits = WireLimits(max_frame_bytes=65536, max_decompressed_bytes=len(ENTRIES) - 1)
    reader = MessageReader(limits)
    reader.receive_data(m.fixarray(TAG, m.bin8(GZIP)))
    message = reader.next_message()
    assert message is not None and message.rejection is not None
    reader.receive_data(b"\x92" + TAG + b"\xdb\x00\x01\x00\x00")
    with pytest.raises(ProtocolError):
        reader.next_message()


# --- looked at and not taken


@pytest.mark.parametrize("chunk", [None, "c"])
@pytest.mark.parametrize(
    "elements",
    [
        [TAG, TIME, RECORD],
        [TAG, m.fixarray(ENTRY)],
        [TAG, m.bin8(ENTRIES)],
        [TAG, m.bin8(GZIP)],
    ],
    ids=["message", "forward", "packed", "compressed"],
)
def test_whether_an_ack_is_asked_for_is_seen_without_taking_the_message(
    elements: list[bytes], chunk: str | None
) -> None:
    named = [] if chunk is None else [option(chunk=chunk)]
    stream = m.fixarray(*elements, *named)
    reader = MessageReader(WireLimits())
    assert reader.is_empty
    reader.receive_data(stream[:-1])
    assert reader.asks_for_ack is None
    assert not reader.is_empty
    reader.receive_data(stream[-1:] + b"\x93")
    for _ in range(2):
        assert reader.asks_for_ack is (chunk is not None)
        assert reader.buffered_bytes == len(stream) + 1
    assert [reader.next_message()] == list(messages_of([stream]))
    assert reader.buffered_bytes == 1
    assert reader.asks_for_ack is None


def test_more_options_than_any_client_sends_are_not_looked_through() -> None:
    many = {f"option{n}": n for n in range(MAX_OPTIONS)}
    parsed(TAG, m.bin8(ENTRIES), m.pack(many))
    with pytest.raises(ProtocolError, match="options"):
        parsed(TAG, m.bin8(ENTRIES), m.pack({**many, "chunk": "c"}))
