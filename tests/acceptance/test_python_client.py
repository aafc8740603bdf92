"""What `fluent-logger`, the Python client from PyPI, sends is stored as it was."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import pytest
from fluent import asyncsender, handler, sender
from fluent.sender import EventTime

from tests.acceptance.penstock_process import Penstock, Row

T = 1_700_000_000
# By default it gives up after three, which is soon on a busy machine.
SOCKET_SECONDS = 30.0

# A record without keys that fill a column: all of it is found in `attributes`.
NESTED: dict[str, Any] = {
    "text": "plain",
    "empty": "",
    "number": 42,
    "negative": -7,
    "beyond_32_bits": 2**40,
    "beyond_63_bits": 2**64 - 1,
    "fraction": 0.1,
    "yes": True,
    "no": False,
    "nothing": None,
    "list": [1, "two", [3.5, None], {"four": 4}],
    "map": {"a": {"b": {"c": ["deep", {"er": "still"}]}}, "empty": {}, "none": []},
}


@contextmanager
def fluent_sender(
    penstock: Penstock, tag: str | None, **options: Any
) -> Iterator[sender.FluentSender]:
    """Yield the client; closed in the end, which sends what it still holds."""
    client = sender.FluentSender(
        tag, host="127.0.0.1", port=penstock.port, timeout=SOCKET_SECONDS, **options
    )
    try:
        yield client
    finally:
        client.close()


def row(
    ts: int,
    tag: str,
    attributes: dict[str, Any],
    *,
    level: str | None = None,
    service: str | None = None,
    host: str | None = None,
    message: str | None = None,
) -> Row:
    return Row(ts, tag, level, service, host, message, attributes)


def test_a_nested_record_is_stored_as_it_was_sent(penstock: Penstock, tag: str) -> None:
    with fluent_sender(penstock, tag) as client:
        assert client.emit_with_time("nested", T, NESTED)
    (stored,) = penstock.wait_for_rows(f"{tag}.nested", 1)
    assert stored == row(T * 1_000_000, f"{tag}.nested", NESTED)
    # In Python 1 == True == 1.0, in JSON they differ.
    assert json.dumps(stored.attributes, sort_keys=True) == json.dumps(
        NESTED, sort_keys=True
    )


def test_keys_that_fill_a_column_leave_the_attributes(
    penstock: Penstock, tag: str
) -> None:
    record = {
        "message": "connection refused",
        "level": "warning",
        "service": "checkout",
        "host": "web-1",
        "port": 5432,
    }
    with fluent_sender(penstock, tag) as client:
        assert client.emit_with_time(None, T, record)
    assert penstock.wait_for_rows(tag, 1) == [
        row(
            T * 1_000_000,
            tag,
            {"port": 5432},
            level="WARN",
            service="checkout",
            host="web-1",
            message="connection refused",
        )
    ]


def test_an_event_without_a_time_has_the_time_of_sending(
    penstock: Penstock, tag: str
) -> None:
    before = time.time_ns() // 1000
    with fluent_sender(penstock, tag, nanosecond_precision=True) as client:
        assert client.emit(None, {"a": 1})
    after = time.time_ns() // 1000
    (stored,) = penstock.wait_for_rows(tag, 1)
    assert before <= stored.ts <= after
    assert stored.attributes == {"a": 1}


def test_nanosecond_precision_keeps_the_microseconds(
    penstock: Penstock, tag: str
) -> None:
    with fluent_sender(penstock, tag, nanosecond_precision=True) as client:
        assert client.emit_with_time(None, EventTime(T, 123_456_789), {"n": 0})
        assert client.emit_with_time(None, EventTime(T, 999_999_999), {"n": 1})
        assert client.emit_with_time(None, T + 0.25, {"n": 2})  # the client converts it
        assert client.emit_with_time(None, T, {"n": 3})
    assert penstock.wait_for_rows(tag, 4) == [
        row(T * 1_000_000 + 123_456, tag, {"n": 0}),
        row(T * 1_000_000 + 999_999, tag, {"n": 1}),
        row(T * 1_000_000 + 250_000, tag, {"n": 2}),
        row(T * 1_000_000, tag, {"n": 3}),
    ]


def test_a_float_time_keeps_the_microseconds_it_was_written_with(
    penstock: Penstock, tag: str
) -> None:
    with fluent_sender(penstock, tag) as client:
        for number, fraction in enumerate((0.5, 0.123456, 0.000001, 0.999999)):
            assert client.emit_with_time(None, T + fraction, {"n": number})
    assert penstock.wait_for_rows(tag, 4) == [
        row(T * 1_000_000 + 500_000, tag, {"n": 0}),
        row(T * 1_000_000 + 123_456, tag, {"n": 1}),
        row(T * 1_000_000 + 1, tag, {"n": 2}),
        row(T * 1_000_000 + 999_999, tag, {"n": 3}),
    ]


def test_bytes_are_stored_as_text_or_as_a_data_url(
    penstock: Penstock, tag: str
) -> None:
    record = {"text": "caf\u00e9".encode(), "raw": b"\x00\xff\x10", "list": [b"x"]}
    with fluent_sender(penstock, tag) as client:
        assert client.emit_with_time(None, T, record)
    assert penstock.wait_for_rows(tag, 1) == [
        row(
            T * 1_000_000,
            tag,
            {"text": "caf\u00e9", "raw": "data:;base64,AP8Q", "list": ["x"]},
        )
    ]


def test_text_of_every_script_is_stored_to_the_letter(
    penstock: Penstock, tag: str
) -> None:
    texts = [
        "caf\u00e9",  # two bytes
        "\ub85c\uadf8 \uba54\uc2dc\uc9c0",  # Korean
        "\U0001f9ea\U0001f468\u200d\U0001f4bb",  # outside the basic plane, joined
        "\u202eright to left\u202c",
        "e\u0301",  # two characters that look like one stay two
        'quotes " and \\ backslashes \\u0000 and \\x00',
        "tab\tline\r\nnext\x1b[31mred\x7f",
        "\ufeff\ufffd\uffff",
    ]
    with fluent_sender(penstock, f"{tag}.\ub85c\uadf8") as client:
        for text in texts:
            assert client.emit_with_time(None, T, {"message": text, text: text})
    stored = penstock.wait_for_rows(f"{tag}.\ub85c\uadf8", len(texts))
    assert [each.message for each in stored] == texts
    assert [each.attributes for each in stored] == [{text: text} for text in texts]


def test_a_nul_which_postgresql_refuses_costs_no_record(
    penstock: Penstock, tag: str
) -> None:
    with fluent_sender(penstock, tag) as client:
        assert client.emit_with_time(None, T, {"message": "a\0b", "k\0": "\0", "n": 1})
        assert client.emit_with_time(None, T, {"message": "next", "n": 2})
    assert penstock.wait_for_rows(tag, 2) == [
        row(T * 1_000_000, tag, {"k\\x00": "\\x00", "n": 1}, message="a\\x00b"),
        row(T * 1_000_000, tag, {"n": 2}, message="next"),
    ]


@pytest.mark.parametrize("nanosecond_precision", [False, True])
def test_a_burst_is_stored_once_and_in_order(
    penstock: Penstock, tag: str, nanosecond_precision: bool
) -> None:
    events = 10_000
    with fluent_sender(
        penstock, tag, nanosecond_precision=nanosecond_precision
    ) as client:
        for number in range(events):
            assert client.emit_with_time(
                None, T + number, {"n": number, "message": f"event {number}"}
            )
    stored = penstock.wait_for_rows(tag, events)
    assert stored == [
        row((T + n) * 1_000_000, tag, {"n": n}, message=f"event {n}")
        for n in range(events)
    ]


def test_the_asynchronous_sender_loses_nothing_when_it_is_closed(
    penstock: Penstock, tag: str
) -> None:
    events = 2_000
    client = asyncsender.FluentSender(
        tag,
        host="127.0.0.1",
        port=penstock.port,
        timeout=SOCKET_SECONDS,
        nanosecond_precision=True,
    )
    for number in range(events):
        assert client.emit_with_time(None, EventTime(T, number * 1000), {"n": number})
    client.close()
    stored = penstock.wait_for_rows(tag, events)
    assert stored == [row(T * 1_000_000 + n, tag, {"n": n}) for n in range(events)]


def test_what_msgpack_kwargs_change_on_the_wire_is_understood(
    penstock: Penstock, tag: str
) -> None:
    # The old msgpack: bytes are raw, the type that text has too, and not always UTF-8.
    with fluent_sender(penstock, tag, msgpack_kwargs={"use_bin_type": False}) as client:
        long = "x" * 40  # raw16; str8 did not exist
        record = {"n": 0, "text": b"caf\xc3\xa9", "latin": b"caf\xe9", "long": long}
        assert client.emit_with_time(None, T, record)
    with fluent_sender(
        penstock, tag, msgpack_kwargs={"use_single_float": True, "default": str}
    ) as client:
        assert client.emit_with_time(
            None, T, {"n": 1, "half": 0.5, "day": date(2024, 2, 29)}
        )
    with fluent_sender(
        penstock, tag, msgpack_kwargs={"unicode_errors": "surrogateescape"}
    ) as client:
        assert client.emit_with_time(None, T, {"n": 2, "path": "caf\udce9"})
    stored = penstock.wait_for_rows(tag, 3)
    # Three connections: their order of arrival is not given.
    assert sorted(stored, key=lambda each: each.attributes["n"]) == [
        row(
            T * 1_000_000,
            tag,
            {"n": 0, "text": "caf\u00e9", "latin": "caf\\xe9", "long": long},
        ),
        row(T * 1_000_000, tag, {"n": 1, "half": 0.5, "day": "2024-02-29"}),
        row(T * 1_000_000, tag, {"n": 2, "path": "caf\\xe9"}),
    ]


def test_a_record_the_client_cannot_pack_arrives_as_its_error(
    penstock: Penstock, tag: str
) -> None:
    with fluent_sender(penstock, tag) as client:
        assert client.emit_with_time(None, T, {"what": object()})
    (stored,) = penstock.wait_for_rows(tag, 1)
    assert (stored.level, stored.message) == ("FATAL", "Can't output to log")
    assert "TypeError" in stored.attributes["traceback"]


def test_the_logging_handler_fills_the_columns(penstock: Penstock, tag: str) -> None:
    fluent = handler.FluentHandler(
        tag,
        host="127.0.0.1",
        port=penstock.port,
        timeout=SOCKET_SECONDS,
        nanosecond_precision=True,
    )
    fluent.setFormatter(
        handler.FluentRecordFormatter(
            {
                "host": "web-1",
                "level": "%(levelname)s",
                "logger": "%(name)s",
                "trace": "%(exc_text)s",
            }
        )
    )
    logger = logging.Logger("checkout")
    logger.addHandler(fluent)
    before = time.time_ns() // 1000
    logger.info("paid %s", "42.00")
    logger.warning({"message": "slow", "seconds": 1.5})
    try:
        raise ValueError("no such card")
    except ValueError:
        logger.exception("failed")
    fluent.close()
    after = time.time_ns() // 1000
    paid, slow, failed = penstock.wait_for_rows(tag, 3)
    assert paid[2:6] == ("INFO", None, "web-1", "paid 42.00")
    assert paid.attributes == {"logger": "checkout", "trace": "None"}
    assert slow[2:6] == ("WARN", None, "web-1", "slow")
    assert slow.attributes["seconds"] == 1.5
    assert (failed.level, failed.host) == ("ERROR", "web-1")
    assert failed.message is not None and failed.message.startswith("failed\nTraceback")
    assert "no such card" in failed.attributes["trace"]
    # The client cuts a float's last digits: a microsecond either way.
    assert before - 1 <= paid.ts <= slow.ts <= failed.ts <= after
