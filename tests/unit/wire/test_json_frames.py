"""JSON instead of msgpack: the same messages, resumable, linear, bounded, acked."""

import json
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from penstock.errors import ProtocolError
from penstock.settings import WireLimits
from penstock.wire import json_frames
from penstock.wire.frames import Frame
from penstock.wire.json_frames import MAX_JSON_DEPTH, JsonFrameReader
from penstock.wire.messages import Message, MessageReader, Mode
from penstock.wire.options import MAX_CHUNK_BYTES
from tests import msgpack_bytes as m
from tests.pure_core import frames_of, messages_of, receive

LIMIT = 1 << 20
EVENT = b'["t",1441588984,{"a":1}]'
ENTRY = m.entry({"a": 1})


def pieces_of(data: bytes, size: int = 1) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def read(pieces: list[bytes], *, limit: int = LIMIT) -> Iterator[Frame]:
    reader = JsonFrameReader(max_frame_bytes=limit)
    for piece in pieces:
        reader.receive_data(piece)
        while (frame := reader.next_frame()) is not None:
            yield frame


def values_of(data: bytes) -> list[Any]:
    """Read JSON and return what its frames hold; it is the same in any pieces."""
    whole = list(read([data]))
    assert list(read(pieces_of(data))) == whole
    for frame in whole:
        ((data_again, starts, *_),) = frames_of([bytes(frame.data)])
        assert (data_again, starts) == (frame.data, frame.starts)
    return [msgpack.unpackb(frame.data) for frame in whole]


def refusal_of(data: bytes, *, limit: int = LIMIT) -> str:
    reasons = set()
    for pieces in ([data], pieces_of(data, 7)):
        with pytest.raises(ProtocolError) as raised:
            list(read(pieces, limit=limit))
        reasons.add(raised.value.reason)
    (reason,) = reasons
    return reason


def messages(data: bytes) -> list[Message]:
    return list(messages_of([data]))


# --- where values end


@pytest.mark.parametrize(
    "value",
    [
        *("[]", "[[]]", "[{}]", '[[],{"a":[{}]},[[[]]]]', '["]"]', '["[{"]', '["\\""]'),
        *('["\\\\"]', '["a\\\\\\"b"]', '["\\u005d\\u005b"]', '["héllo 日本 🎉"]'),
        *("[1,-2,3.5,1e5,true,false,null]", '[ "t" ,\n 1 ,\t{ "a" : [ 1 ] }\r\n]'),
        *('["' + "x" * 10_000 + '"]', '["' + '\\"' * 10_000 + '"]'),
        json.dumps([{"k": [["]", "\\"], {"}": "{"}]}, "\\\\"]),
    ],
    ids=lambda value: value[:30],
)
def test_a_value_ends_where_it_closes(value: str) -> None:
    data = value.encode()
    assert values_of(data) == [json.loads(value)]
    assert values_of(data * 3) == [json.loads(value)] * 3


@pytest.mark.parametrize("between", [b"", b"\n", b"\r\n", b" \t\n "])
def test_values_may_be_separated_or_not(between: bytes) -> None:
    assert (
        values_of(between.join([EVENT] * 3) + between)
        == [["t", 1441588984, {"a": 1}]] * 3
    )


def test_a_character_and_an_escape_may_be_cut_anywhere() -> None:
    data = '["日本🎉\\u00e9\\ud83c\\udf89\\\\\\n",1,{}]'.encode()
    for cut in range(len(data) + 1):
        (frame,) = read([data[:cut], data[cut:]])
        assert msgpack.unpackb(frame.data)[0] == "日本🎉é🎉\\\n"


def test_what_is_buffered_is_what_came_and_was_not_handed_out() -> None:
    reader = JsonFrameReader(max_frame_bytes=LIMIT)
    stream, taken = b"\n".join([EVENT] * 5), 0
    for came, byte in enumerate(pieces_of(stream), 1):
        reader.receive_data(byte)
        if reader.next_frame() is not None:
            taken = came
        in_between = stream[taken:came].strip() == b""
        assert reader.buffered_bytes == (
            0 if in_between else came - stream.find(b"[", taken)
        )


# --- what is no forward message in JSON


@pytest.mark.parametrize(
    "junk", [b"abc", b'{"a":1}', b"1", b'"t"', b"null", b"]", b"\0"]
)
def test_the_good_value_before_junk_is_handed_out(junk: bytes) -> None:
    reader = MessageReader(WireLimits())
    reader.receive_data(EVENT + junk)
    message = reader.next_message()
    assert message is not None and message.entries == ENTRY
    with pytest.raises(ProtocolError) as raised:
        reader.next_message()
    assert raised.value.reason == "not_forward"


def test_an_object_in_the_place_of_the_array_is_no_forward_message() -> None:
    received = receive([b'{"a":1}'])
    assert (received.error, received.rows) == ("not_forward", [])


@pytest.mark.parametrize(
    "value",
    [
        *(b"[}", b"[1,]", b"[,]", b"[1 2]", b'["t",1,{"a"}]', b'["t",1,{"a":}]'),
        *(b"[nul]", b"[01]", b"[1.]", b"['t']", b'["\\x"]', b'["\\u12"]', b"[\xff]"),
        *(b"[tru\xc3]", b"[+1]", b"[1e]", b"[--1]", b'["t" "u"]', b"[/*x*/]"),
    ],
)
def test_what_is_no_json_is_refused(value: bytes) -> None:
    assert refusal_of(value) == "malformed_json"


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_nesting_has_an_end(opening: bytes) -> None:
    closing = opening.translate(bytes.maketrans(b"[{", b"]}"), b'"a:')[::-1]

    def nested(levels: int) -> bytes:
        """Nest as deep as that within the array that a message is."""
        times = levels // len(closing)
        return b"[" + opening * times + b"1" + closing * times + b"]"

    (value,) = values_of(nested(MAX_JSON_DEPTH - 2))
    assert value
    assert refusal_of(nested(MAX_JSON_DEPTH + 2)) == "malformed_json"
    # Refused where it is too deep, and not looked for its end.
    assert refusal_of(b"[" * (MAX_JSON_DEPTH + 1)) == "malformed_json"


def test_a_parser_that_runs_out_of_stack_costs_the_connection_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json_frames, "MAX_JSON_DEPTH", 10**6)
    deep = b'["t",1,' + b"[" * 200_000 + b"]" * 200_000 + b"]"
    assert refusal_of(deep) in ("malformed_json", "too_many_values")


# --- limits


@pytest.mark.parametrize("size", [100, 10_000])
def test_a_message_may_be_as_large_as_allowed_and_no_larger(size: int) -> None:
    fits = b'["' + b"x" * (size - 4) + b'"]'
    for pieces in ([fits], pieces_of(fits, 99)):
        assert len(list(read(pieces, limit=size))) == 1
    assert refusal_of(b'["' + b"x" * (size - 3) + b'"]', limit=size) == (
        "frame_too_large"
    )
    for open_end in (b'["' + b"x" * size, b"[" + b"1" * size, b'["' + b"\\" * size):
        assert refusal_of(open_end, limit=size) == "frame_too_large"


def test_json_has_a_size_of_its_own_below_that_of_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json_frames, "MAX_JSON_BYTES", 1000)
    assert refusal_of(b'["' + b"x" * 1000 + b'"]') == "frame_too_large"


def test_values_are_counted_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json_frames, "MAX_VALUES", 1000)

    def numbers(count: int) -> bytes:
        return b'["t",1,{"a":[' + b",".join([b"1"] * count) + b"]}]"

    assert len(values_of(numbers(950))) == 1
    for too_many in (numbers(1001), b'["t",' + b"[]," * 1001 + b"1]"):
        assert refusal_of(too_many) == "too_many_values"
    # What stands in a text is no value.
    for text in (b",[{:" * 2000, b'\\",[{:' * 1000):
        assert len(values_of(b'["t",1,{"a":"' + text + b'"}]')) == 1


def test_the_work_on_a_message_in_pieces_is_linear(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_bytes = 0

    class Counting:
        def __init__(self, pattern: Any) -> None:
            self._pattern = pattern

        def _count(self, found: Any, data: bytearray, at: int) -> Any:
            nonlocal looked_bytes
            looked_bytes += (found.end() if found else len(data)) - at
            return found

        def match(self, data: bytearray, at: int) -> Any:
            return self._count(self._pattern.match(data, at), data, at)

        def search(self, data: bytearray, at: int) -> Any:
            return self._count(self._pattern.search(data, at), data, at)

    for name in ("_STRUCTURE", "_WITHIN_STRING"):
        monkeypatch.setattr(json_frames, name, Counting(getattr(json_frames, name)))
    for filler in (b'{"a":"x"},' * 1000, b'"' + b"x" * 10_000 + b'",'):
        looked_bytes = 0
        data = b'["t",1,[' + filler + b"1]]"
        assert len(list(read(pieces_of(data)))) == 1
        assert looked_bytes <= 2 * len(data)


# --- what a message becomes


def test_each_mode_that_makes_sense_is_what_it_is_in_msgpack() -> None:
    assert messages(EVENT) == [Message(Mode.MESSAGE, "t", ENTRY)]
    forward = b'["t",[[1441588984,{"a":1}],[1441588984,{"a":1}]],{"size":2}]'
    assert messages(forward) == [Message(Mode.FORWARD, "t", ENTRY * 2)]
    # A text in the place of the time is packed entries by rule. Nobody sends it so.
    (packed,) = messages(b'["t","abc",{"chunk":"c"}]')
    assert (packed.mode, packed.entries) == (Mode.PACKED_FORWARD, b"abc")
    assert packed.ack == b'{"ack":"c"}'


def test_go_has_an_option_with_each_event_and_php_has_none() -> None:
    for data in (EVENT, EVENT[:-1] + b",{}]", EVENT[:-1] + b",null]"):
        (message,) = messages(data)
        assert (message.mode, message.ack) == (Mode.MESSAGE, None)
        assert message.entries == ENTRY


def test_events_that_come_one_by_one_are_put_together() -> None:
    (message,) = messages(EVENT * 50)
    assert (message.frames, message.entries) == (50, ENTRY * 50)


def test_metadata_is_taken_from_the_options() -> None:
    received = receive([EVENT[:-1] + b',{"metadata":{"m":[1]}}]'])
    assert [row.attributes for row in received.rows] == [
        {"a": 1, "_metadata": {"m": [1]}}
    ]


@pytest.mark.parametrize("elements", [b"", b'"t"', b'"t",1'])
def test_too_few_elements_are_no_event_and_no_crash(elements: bytes) -> None:
    received = receive([b"[" + elements + b"]"])
    assert [event.reason for event in received.rejected] == ["no_record"]


def test_too_many_elements_are_no_forward_message() -> None:
    sixteen = b",".join([b"1"] * 13)
    assert len(messages(EVENT[:-1] + b"," + sixteen + b"]")) == 1
    assert refusal_of(EVENT[:-1] + b"," + sixteen + b",1]") == "not_forward"


def test_a_tag_that_is_no_string_ends_the_connection() -> None:
    assert receive([b'[1,1,{"a":1}]']).error == "invalid_tag"
    assert [row.tag for row in receive([b"[null" + EVENT[4:]]).rows] == [""]


# --- acks


@pytest.mark.parametrize(
    ("chunk", "echo"),
    [
        ('"c1"', '"c1"'),
        ('""', '""'),
        ('"p8=\\n"', '"p8=\\n"'),
        ('"a\\/b"', '"a/b"'),
        ('"é\\ud800"', '"\\u00e9\\ud800"'),
        ("7", "7"),
        ("-7", "-7"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
    ],
)
@pytest.mark.parametrize(
    "event", [EVENT[:-1], b'["t",[[1441588984,{"a":1}]]', b'["t",""']
)
def test_an_ack_is_json_on_one_line_without_an_end(
    event: bytes, chunk: str, echo: str
) -> None:
    (message,) = messages(event + b',{"chunk":' + chunk.encode() + b"}]")
    assert message.ack == b'{"ack":' + echo.encode() + b"}"
    assert message.chunk is not None
    assert json.loads(message.ack)["ack"] == json.loads(chunk)


@pytest.mark.parametrize("chunk", ["null", "true", "1.5", "[]", "{}", "NaN"])
def test_a_chunk_that_is_no_name_asks_for_no_ack(chunk: str) -> None:
    (message,) = messages(EVENT[:-1] + b',{"chunk":' + chunk.encode() + b"}]")
    assert message.ack is None


def test_an_ack_fits_into_what_clients_read() -> None:
    def named(chunk: str) -> bytes:
        return EVENT[:-1] + b',{"chunk":' + json.dumps(chunk).encode() + b"}]"

    (message,) = messages(named("c" * (MAX_CHUNK_BYTES - 3)))
    assert message.ack is not None and len(message.ack) < 256
    # A character of three bytes takes six in an ack.
    for chunk in ("c" * (MAX_CHUNK_BYTES + 1), "로" * 40):
        assert receive([named(chunk)]).error == "invalid_chunk"


def test_whether_an_ack_is_asked_for_is_seen_without_taking_the_message() -> None:
    reader = MessageReader(WireLimits())
    stream = EVENT[:-1] + b',{"chunk":"c"}]'
    reader.receive_data(stream + b"\n[")
    for _ in range(2):
        assert reader.asks_for_ack is True
        assert reader.buffered_bytes == len(stream) + 2
    assert reader.next_message() is not None
    assert reader.buffered_bytes == 2


# --- what JSON holds and msgpack, or jsonb, does not


def attributes_of(record: bytes) -> dict[str, Any]:
    received = receive([b'["t",1441588984,' + record + b"]"])
    (row,) = received.rows
    assert (received.error, received.rejected) == (None, [])
    return row.attributes


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"18446744073709551616", "18446744073709551616"),
        (b"-9223372036854775809", "-9223372036854775809"),
        (b"9" * 5000, "9" * 5000),
        (b"1e400", "Infinity"),
        (b"-1e400", "-Infinity"),
        (b"NaN", "NaN"),
        (b"Infinity", "Infinity"),
        (b"-Infinity", "-Infinity"),
        (b"-0.0", -0.0),
        (b'"\\ud800"', "\\ud800"),
        (b'"\\udc00\\ud800"', "\\udc00\\ud800"),
        (b'"\\ud83c\\udf89"', "🎉"),
        (b'"\\u0000"', "\\x00"),
        (b'"a\tb\nc\x01"', "a\tb\nc\x01"),
        (b'"caf\xe9!"', "caf\\xe9!"),
        (b'"\xed\xa0\x80"', "\\xed\\xa0\\x80"),
        (b'"\\\\\xff"', "\\\\xff"),
        (b'{"a":1,"b":2,"a":3}', {"a": 3, "b": 2}),
        (b'{"":{"\\ud800":1}}', {"": {"\\ud800": 1}}),
        (b"[]", []),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_value_is_stored_as_it_is_or_as_a_text(value: bytes, stored: Any) -> None:
    assert attributes_of(b'{"v":' + value + b"}") == {"v": stored}


def test_an_integer_that_is_no_time_is_none_wherever_it_stands() -> None:
    for event in (b'["t",%b,{"a":1}]', b'["t",[[%b,{"a":1}]]]'):
        for digits in (b"1" * 30, b"1" * 400):
            received = receive([event % digits])
            assert [each.reason for each in received.rejected] == ["invalid_time"]


# --- chosen by the first byte, for good


def test_a_connection_that_began_in_one_format_stays_with_it() -> None:
    msgpack_event = m.fixarray(m.fixstr(b"t"), m.uint32(m.T), m.pack({"a": 1}))
    assert receive([msgpack_event + EVENT]).error == "not_forward"
    assert receive([EVENT + msgpack_event]).error == "not_forward"
    # White space before it is no JSON (as Fluentd has it).
    assert receive([b"\n" + EVENT]).error == "not_forward"
