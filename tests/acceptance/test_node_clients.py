"""What the two Node.js clients send, in every mode they have, is stored as it was.

`@fluent-org/logger` has all four modes, `fluent-logger` has no Forward mode. Both are
run by the scripts in node/, which report for each event what the client was told.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.acceptance.penstock_process import Penstock, Row

NODE = Path(__file__).parent / "node"
CLIENT_SECONDS = 100.0

ORG, CLASSIC = "fluent_org_logger.mjs", "fluent_logger.mjs"
# As the clients name the modes, and as our metrics do.
MODES = {
    "Message": "message",
    "Forward": "forward",
    "PackedForward": "packed_forward",
    "CompressedPackedForward": "compressed_packed_forward",
}
ORG_MODES = tuple(MODES)
CLASSIC_MODES = ("Message", "PackedForward", "CompressedPackedForward")

with_and_without_ack = pytest.mark.parametrize(
    "ack", [False, True], ids=["no ack", "ack"]
)

T, NANOSECONDS = 1_700_000_000, 123_456_789
SECONDS_US, MILLISECONDS_US = T * 1_000_000, T * 1_000_000 + 123_000
MICROSECONDS_US = T * 1_000_000 + 123_456

# A key that fills a column each, and what JavaScript has that is no trouble.
RECORD: dict[str, Any] = {
    "message": "GET /cart \u2192 500 \U0001f6d2",
    "level": 50,
    "service": "shop",
    "host": "web-1",
    "fraction": 0.1,
    "negative": -(2**40),
    "largest_safe": 2**53 - 1,
    "yes": True,
    "nothing": None,
    "list": [1, [2, []], {"three": 3}],
    "map": {"\ub85c\uadf8": {"empty": {}}, "": "empty key"},
    "text": 'quotes " and \\, a\ttab, a NUL-less \x01',
    "bytes": {"$buffer": "636166c3a9"},
    "no_text": {"$buffer": "00ff10"},
}
ATTRIBUTES: dict[str, Any] = {
    **{key: RECORD[key] for key in list(RECORD)[4:-2]},
    "bytes": "caf\u00e9",
    "no_text": "data:;base64,AP8Q",
}


class Traffic(NamedTuple):
    """Frames by mode and acks, as /metrics counts them."""

    frames: dict[str, float]
    acks: float

    @classmethod
    def of(cls, penstock: Penstock) -> "Traffic":
        name = "penstock_received_frames_total"
        return cls(
            {
                mode: penstock.metric(f'{name}{{mode="{label}"}}')
                for mode, label in MODES.items()
            },
            penstock.metric("penstock_acks_total"),
        )

    def since(self, before: "Traffic") -> "Traffic":
        frames = {mode: self.frames[mode] - before.frames[mode] for mode in MODES}
        return Traffic(
            {mode: count for mode, count in frames.items() if count},
            self.acks - before.acks,
        )


def send(script: str, job: dict[str, Any]) -> list[str | None]:
    """Run a client's script; return for each event None or what went wrong."""
    node = shutil.which("node")
    if node is None:
        pytest.fail(
            "node is missing: the acceptance tests send with Node.js clients. Debian"
            " and Ubuntu: apt-get install nodejs npm; macOS: brew install node",
            pytrace=False,
        )
    if not (NODE / "node_modules" / "fluent-logger").is_dir():
        pytest.fail(
            "the Node.js clients are missing: `make test` fetches them, and so does"
            f" (cd {NODE} && npm ci --ignore-scripts)",
            pytrace=False,
        )
    done = subprocess.run(
        [node, script],
        cwd=NODE,
        input=json.dumps(job),
        capture_output=True,
        text=True,
        timeout=CLIENT_SECONDS,
    )
    assert done.returncode == 0 and done.stdout, done.stderr
    outcomes = json.loads(done.stdout)
    assert type(outcomes) is list
    return outcomes


def event(number: int, kind: str) -> dict[str, Any]:
    return {
        "record": RECORD | {"n": number},
        "time": {"kind": kind, "seconds": T, "nanoseconds": NANOSECONDS},
    }


def row(ts: int, tag: str, number: int, **more: Any) -> Row:
    attributes = ATTRIBUTES | {"n": number} | more
    return Row(ts, tag, "ERROR", "shop", "web-1", RECORD["message"], attributes)


def burst(events: int) -> list[dict[str, Any]]:
    return [
        {
            "record": {"n": number, "message": f"event {number}"},
            "time": {"kind": "EventTime", "seconds": T, "nanoseconds": number * 1000},
        }
        for number in range(events)
    ]


def burst_rows(tag: str, events: int) -> list[Row]:
    return [
        Row(SECONDS_US + n, tag, None, None, None, f"event {n}", {"n": n})
        for n in range(events)
    ]


@with_and_without_ack
@pytest.mark.parametrize("mode", ORG_MODES)
def test_fluent_org_logger_is_understood_in_every_mode(
    penstock: Penstock, tag: str, mode: str, ack: bool
) -> None:
    kinds = ("number", "Date", "EventTime")
    before = Traffic.of(penstock)
    outcomes = send(
        ORG,
        {
            "port": penstock.port,
            "tag": tag,
            "mode": mode,
            "ack": ack,
            "events": [event(number, kind) for number, kind in enumerate(kinds)],
        },
    )
    assert outcomes == [None, None, None]
    assert penstock.wait_for_rows(tag, 3) == [
        row(SECONDS_US, tag, 0),
        row(SECONDS_US, tag, 1),
        row(MICROSECONDS_US, tag, 2),
    ]
    traffic = Traffic.of(penstock).since(before)
    assert list(traffic.frames) == [mode]
    assert traffic.acks == (traffic.frames[mode] if ack else 0)


@pytest.mark.parametrize("mode", ORG_MODES)
def test_fluent_org_logger_with_milliseconds_keeps_them(
    penstock: Penstock, tag: str, mode: str
) -> None:
    kinds = ("number", "Date", "EventTime")
    outcomes = send(
        ORG,
        {
            "port": penstock.port,
            "tag": tag,
            "mode": mode,
            "ack": True,
            "milliseconds": True,
            "events": [event(number, kind) for number, kind in enumerate(kinds)],
        },
    )
    assert outcomes == [None, None, None]
    assert penstock.wait_for_rows(tag, 3) == [
        row(MILLISECONDS_US, tag, 0),
        row(MILLISECONDS_US, tag, 1),
        row(MICROSECONDS_US, tag, 2),
    ]


def test_a_date_in_a_record_is_stored_as_rfc_3339(penstock: Penstock, tag: str) -> None:
    # Sent as msgpack's Timestamp by this client; fluent-logger makes it an empty map.
    dated = {
        "record": {"at": {"$date": T * 1000 + 123}},
        "time": event(0, "Date")["time"],
    }
    outcomes = send(
        ORG,
        {
            "port": penstock.port,
            "tag": tag,
            "mode": "PackedForward",
            "ack": True,
            "events": [dated],
        },
    )
    assert outcomes == [None]
    (stored,) = penstock.wait_for_rows(tag, 1)
    assert stored.attributes == {"at": "2023-11-14T22:13:20.123000000Z"}


@with_and_without_ack
@pytest.mark.parametrize("mode", CLASSIC_MODES)
def test_fluent_logger_is_understood_in_every_mode(
    penstock: Penstock, tag: str, mode: str, ack: bool
) -> None:
    kinds = ("number", "Date", "EventTime")
    before = Traffic.of(penstock)
    outcomes = send(
        CLASSIC,
        {
            "port": penstock.port,
            "tag": tag,
            "mode": mode,
            "ack": ack,
            "events": [event(number, kind) for number, kind in enumerate(kinds)],
        },
    )
    assert outcomes == [None, None, None]
    assert penstock.wait_for_rows(tag, 3) == [
        row(SECONDS_US, tag, 0),
        row(SECONDS_US, tag, 1),
        row(MICROSECONDS_US, tag, 2),
    ]
    traffic = Traffic.of(penstock).since(before)
    assert list(traffic.frames) == [mode]
    if ack:
        assert traffic.acks == traffic.frames[mode]
    elif mode == "Message":
        assert traffic.acks == 0
    else:
        # Here it names a chunk also when it does not read the acks, so it may be gone
        # before they are written: at most one for each frame.
        assert 0 <= traffic.acks <= traffic.frames[mode]


@pytest.mark.parametrize("mode", CLASSIC_MODES)
def test_fluent_logger_with_milliseconds_in_the_place_of_seconds_keeps_them(
    penstock: Penstock, tag: str, mode: str
) -> None:
    outcomes = send(
        CLASSIC,
        {
            "port": penstock.port,
            "tag": tag,
            "mode": mode,
            "ack": True,
            "milliseconds": True,
            "events": [event(0, "Date"), event(1, "EventTime")],
        },
    )
    assert outcomes == [None, None]
    # A float64 of milliseconds on the wire; what was sent is kept beside the record.
    assert penstock.wait_for_rows(tag, 2) == [
        row(MILLISECONDS_US, tag, 0, _time=T * 1000 + 123),
        row(MICROSECONDS_US, tag, 1),
    ]


@pytest.mark.parametrize(
    ("script", "mode", "events"),
    [
        # This one waits for each ack before the next event.
        pytest.param(CLASSIC, "Message", 200, id="fluent-logger-Message"),
        *[
            pytest.param(CLASSIC, mode, 3000, id=f"fluent-logger-{mode}")
            for mode in CLASSIC_MODES[1:]
        ],
        # This one has all its acks outstanding at once.
        *[
            pytest.param(ORG, mode, 3000, id=f"@fluent-org-logger-{mode}")
            for mode in ORG_MODES
        ],
    ],
)
def test_an_acked_burst_is_stored_once_and_in_order(
    penstock: Penstock, tag: str, script: str, mode: str, events: int
) -> None:
    outcomes = send(
        script,
        {
            "port": penstock.port,
            "tag": tag,
            "mode": mode,
            "ack": True,
            "events": burst(events),
        },
    )
    # Acked, so it is there now: nothing to wait for.
    assert penstock.rows(tag) == burst_rows(tag, events)
    assert outcomes == [None] * events
