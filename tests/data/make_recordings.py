"""Writes `recordings.json`: what real senders put on a connection, byte for byte.

The senders themselves are not run: their bytes are put together here from their
published sources, header by header, since what makes them worth recording is which of
msgpack's many forms they choose. `recordings.json` is committed and is what the tests
read; run this only to add to it:

    python -m tests.data.make_recordings

`source` says where the form comes from: a section of the protocol facts collected for
this project, and the source file of the sender where they name one.
"""

import gzip
import json
from base64 import b64encode, encodebytes
from pathlib import Path
from typing import Any

import zstandard

from tests import msgpack_bytes as m

PATH = Path(__file__).with_name("recordings.json")

# 2026-01-02T03:04:05Z and on; nanoseconds that do not end in zeros.
T = 1_767_323_045
NANOSECONDS = 123_456_789
UNIQUE_ID = bytes(range(0xF0, 0x100))

Entry = tuple[bytes, dict[str, Any]]


def s(text: str) -> bytes:
    """Write text in its shortest form, as most libraries do."""
    return m.pack(text)


def event_time(seconds_later: int = 0) -> bytes:
    return m.event_time(T + seconds_later, NANOSECONDS)


def ack(chunk: bytes) -> str:
    return (b"\x81\xa3ack" + chunk).hex()


def row(
    tag: str, record: dict[str, Any], *, seconds: int = 0, fraction: str = "123456"
) -> dict[str, Any]:
    """Write a row as it is expected; what of `record` is no column is an attribute."""
    columns: dict[str, Any] = {
        key: record.pop(key)
        for key in ("level", "service", "host", "message")
        if key in record
    }
    return {
        "ts": f"2026-01-02T03:04:{5 + seconds:02d}.{fraction}Z",
        "tag": tag,
        **columns,
        "attributes": record,
    }


RECORDINGS: list[dict[str, Any]] = []


def record(
    name: str,
    source: str,
    *frames: bytes,
    rows: list[dict[str, Any]],
    acks: list[str] | None = None,
    rejected: list[dict[str, str]] | None = None,
) -> None:
    RECORDINGS.append(
        {
            "name": name,
            "source": source,
            "hex": b"".join(frames).hex(),
            "rows": rows,
            "acks": acks or [],
            "rejected": rejected or [],
        }
    )


# --- Fluentd: out_forward.rb packs entries into str32 whatever their size, compressed
# or not; its options begin with the size and the codec; the chunk has a newline.

ACCESS = [
    (event_time(0), {"method": "GET", "path": "/", "code": 200, "size": 612}),
    (event_time(1), {"method": "GET", "path": "/favicon.ico", "code": 404, "size": 0}),
]
ACCESS_ROWS = [
    row("nginx.access", dict(content), seconds=i)
    for i, (_, content) in enumerate(ACCESS)
]


def packed(entries: list[Entry]) -> bytes:
    return b"".join(m.fixarray(time, m.pack(content)) for time, content in entries)


def fluentd(blob: bytes, compressed: str, chunk: bytes | None = None) -> bytes:
    option = [(s("size"), b"\x02"), (s("compressed"), s(compressed))]
    if chunk is not None:
        option.append((s("chunk"), chunk))
    return m.fixarray(s("nginx.access"), m.str32(blob), m.fixmap(*option))


FLUENTD_CHUNK = m.fixstr(encodebytes(UNIQUE_ID))
FLUENTD = "1.5, 1.6, 7; Fluentd out_forward.rb"

record(
    "Fluentd 1.16",
    FLUENTD,
    fluentd(packed(ACCESS), "text"),
    rows=ACCESS_ROWS,
)
record(
    "Fluentd 1.16, require_ack_response",
    FLUENTD,
    fluentd(packed(ACCESS), "text", FLUENTD_CHUNK),
    rows=ACCESS_ROWS,
    acks=[ack(FLUENTD_CHUNK)],
)
record(
    "Fluentd 1.16, time_as_integer",
    FLUENTD,
    fluentd(packed([(m.uint32(T), ACCESS[0][1])]), "text"),
    rows=[row("nginx.access", dict(ACCESS[0][1]), fraction="000000")],
)
record(
    "Fluentd 1.16, compress gzip",
    FLUENTD,
    fluentd(gzip.compress(packed(ACCESS), mtime=0), "gzip", FLUENTD_CHUNK),
    rows=ACCESS_ROWS,
    acks=[ack(FLUENTD_CHUNK)],
)
record(
    "Fluentd 1.16, compress gzip, a member for each append to its buffer",
    FLUENTD + ", extractor.rb",
    fluentd(
        b"".join(gzip.compress(packed([entry]), mtime=0) for entry in ACCESS), "gzip"
    ),
    rows=ACCESS_ROWS,
)
record(
    "Fluentd 1.19, compress zstd, streamed: no content size, a frame for each append",
    FLUENTD + ", extractor.rb",
    fluentd(
        b"".join(
            zstandard.ZstdCompressor(write_content_size=False).compress(packed([entry]))
            for entry in ACCESS
        ),
        "zstd",
        FLUENTD_CHUNK,
    ),
    rows=ACCESS_ROWS,
    acks=[ack(FLUENTD_CHUNK)],
)
record(
    "Fluentd 0.12",
    "1.5, 7; Fluentd v0.12.43 out_forward.rb",
    m.fixarray(s("nginx.access"), m.str32(packed([(m.uint32(T), ACCESS[0][1])]))),
    rows=[row("nginx.access", dict(ACCESS[0][1]), fraction="000000")],
)
record(
    "Fluentd 0.12, require_ack_response",
    "1.5, 7; Fluentd v0.12.43 out_forward.rb",
    m.fixarray(
        s("nginx.access"),
        m.str32(packed([(m.uint32(T), ACCESS[0][1])])),
        m.fixmap((s("chunk"), FLUENTD_CHUNK)),
    ),
    rows=[row("nginx.access", dict(ACCESS[0][1]), fraction="000000")],
    acks=[ack(FLUENTD_CHUNK)],
)
record(
    "fluent-cat, a frame for each line",
    "1.4; Fluentd command/cat.rb",
    *(
        m.fixarray(
            s("debug.cat"),
            m.fixarray(m.fixarray(event_time(i), m.pack({"message": t}))),
        )
        for i, t in enumerate(("one", "two"))
    ),
    rows=[
        row("debug.cat", {"message": "one"}),
        row("debug.cat", {"message": "two"}, seconds=1),
    ],
)
record(
    "Fluentd, nil between frames as a heartbeat",
    "5; SPEC, Fluentd in_forward.rb",
    m.NIL,
    fluentd(packed(ACCESS), "text"),
    m.NIL * 2,
    fluentd(packed(ACCESS), "text", FLUENTD_CHUNK),
    m.NIL,
    rows=ACCESS_ROWS * 2,
    acks=[ack(FLUENTD_CHUNK)],
)

# --- Fluent Bit: forward_format.c writes the option map as map32 with `chunk` first.

KUBE_TAG = "kube.var.log.containers.api-7d9f_prod_main-6f2b.log"
KUBE = {
    "stream": "stderr",
    "log": "connection refused",
    "kubernetes": {
        "pod_name": "api-7d9f",
        "namespace_name": "prod",
        "host": "node-1",
        "labels": {"app": "api", "tier": "web"},
    },
}
KUBE_ROW = row(
    KUBE_TAG,
    {
        "service": "api",
        "host": "node-1",
        "message": "connection refused",
        "stream": "stderr",
        "kubernetes": {
            "pod_name": "api-7d9f",
            "namespace_name": "prod",
            "labels": {"tier": "web"},
        },
    },
)
V1 = m.fixarray(event_time(), m.pack(KUBE))
V2 = m.fixarray(m.fixarray(event_time(), b"\x80"), m.pack(KUBE))
HEX_ID = m.str8(b"47d92c1ebd2bd7f5f1ef8e613093c966")
BASE64_ID = m.fixstr(b64encode(UNIQUE_ID))
SIGNAL = s("fluent_signal")
FLUENT_BIT = "1.4, 1.7, 2, 7; Fluent Bit out_forward/forward.c, forward_format.c"

record(
    "Fluent Bit before 2.1",
    FLUENT_BIT,
    m.fixarray(s(KUBE_TAG), m.fixarray(V1)),
    rows=[KUBE_ROW],
)
record(
    "Fluent Bit 2.1.2 to 5.0.4, require_ack_response: hex id",
    FLUENT_BIT,
    m.fixarray(
        s(KUBE_TAG),
        m.fixarray(V1),
        m.map32((s("chunk"), HEX_ID), (s("size"), b"\x01"), (SIGNAL, b"\x00")),
    ),
    rows=[KUBE_ROW],
    acks=[ack(HEX_ID)],
)
record(
    "Fluent Bit 5.0.5 and later: entries with metadata",
    FLUENT_BIT,
    m.fixarray(s(KUBE_TAG), m.fixarray(V2)),
    rows=[KUBE_ROW],
)
record(
    "Fluent Bit 5.0.5 and later, a metadata map that is not empty",
    FLUENT_BIT,
    m.fixarray(
        s("syslog"),
        m.fixarray(
            m.fixarray(
                m.fixarray(event_time(), m.pack({"otlp": {"severity_number": 17}})),
                m.pack({"severity": "err", "ident": "sshd", "message": "no"}),
            )
        ),
    ),
    rows=[
        row(
            "syslog",
            {
                "level": "ERROR",
                "service": "sshd",
                "message": "no",
                "_metadata": {"otlp": {"severity_number": 17}},
            },
        )
    ],
)
record(
    "Fluent Bit 5.0.9 and later, require_ack_response: base64 id, 20 entries",
    FLUENT_BIT,
    m.fixarray(
        s(KUBE_TAG),
        m.array16(*[V2] * 20),
        m.map32((s("chunk"), BASE64_ID), (s("size"), b"\x14"), (SIGNAL, b"\x00")),
    ),
    rows=[KUBE_ROW] * 20,
    acks=[ack(BASE64_ID)],
)
record(
    "Fluent Bit, send_options and add_option",
    FLUENT_BIT,
    m.fixarray(
        s(KUBE_TAG),
        m.fixarray(V1),
        m.map32((s("env"), s("prod")), (s("size"), b"\x01"), (SIGNAL, b"\x00")),
    ),
    rows=[KUBE_ROW],
)
record(
    "Fluent Bit 5.0.9 and later, compress gzip",
    FLUENT_BIT,
    m.fixarray(
        s(KUBE_TAG),
        m.bin8(gzip.compress(V2 * 2, mtime=0)),
        m.map32(
            (s("chunk"), BASE64_ID),
            (s("size"), b"\x02"),
            (s("compressed"), s("gzip")),
            (SIGNAL, b"\x00"),
        ),
    ),
    rows=[KUBE_ROW] * 2,
    acks=[ack(BASE64_ID)],
)
record(
    "Fluent Bit, a tag computed for each record: Message mode, an ack for each",
    "1.3, 3.2; Fluent Bit out_forward/forward_format.c",
    *(
        m.fixarray(
            s("app.web"),
            event_time(),
            m.pack({"log": text, "level": "info"}),
            m.map32(
                (s("chunk"), chunk),
                (s("size"), b"\x01"),
                (SIGNAL, b"\x00"),
                (s("metadata"), m.map32((s("source"), s("tail")))),
            ),
        )
        for text, chunk in (("one", BASE64_ID), ("two", HEX_ID))
    ),
    rows=[
        row(
            "app.web",
            {"level": "INFO", "message": text, "_metadata": {"source": "tail"}},
        )
        for text in ("one", "two")
    ],
    acks=[ack(BASE64_ID), ack(HEX_ID)],
)

RESOURCE = {
    "resource": {
        "attributes": {"service.name": "checkout", "host.name": "h1"},
        "dropped_attributes_count": 0,
        "schema_url": "",
    },
    "scope": {"name": "checkout.cart", "version": "1.2"},
}


def group_marker(seconds: int, metadata: dict[str, Any], body: Any) -> bytes:
    return m.fixarray(m.fixarray(m.event_time(seconds), m.pack(metadata)), m.pack(body))


GROUP_IDS = {"schema": "otlp", "resource_id": 0, "scope_id": 0}
GROUP_START = group_marker(0xFFFFFFFF, GROUP_IDS, RESOURCE)
GROUP_END = group_marker(0xFFFFFFFE, {}, {})
record(
    "Fluent Bit, log groups of in_opentelemetry",
    "1.8; Fluent Bit src/flb_log_event_encoder.c",
    m.fixarray(
        s("otlp"),
        m.fixarray(
            GROUP_START,
            m.fixarray(m.fixarray(event_time(), b"\x80"), m.pack({"log": "in"})),
            GROUP_END,
            m.fixarray(m.fixarray(event_time(1), b"\x80"), m.pack({"log": "out"})),
        ),
        m.map32((s("chunk"), BASE64_ID), (s("size"), b"\x04"), (SIGNAL, b"\x00")),
    ),
    rows=[
        row("otlp", {"message": "in", "_group": {**RESOURCE, "_metadata": GROUP_IDS}}),
        row("otlp", {"message": "out"}, seconds=1),
    ],
    acks=[ack(BASE64_ID)],
)
record(
    "Fluent Bit, a frame of nothing but group markers",
    "1.8; Fluent Bit src/flb_log_event_encoder.c",
    m.fixarray(
        s("otlp"),
        m.fixarray(GROUP_START, GROUP_END),
        m.map32((s("chunk"), BASE64_ID), (s("size"), b"\x02"), (SIGNAL, b"\x00")),
    ),
    rows=[],
    acks=[ack(BASE64_ID)],
)
METRICS = m.pack({"meta": {"cmetrics": {}}, "metrics": []})
TRACES = m.pack({"resourceSpans": []})
record(
    "Fluent Bit, metrics and traces amid logs",
    "1.9; Fluent Bit out_forward/forward.c",
    m.fixarray(
        s("metrics"),
        m.bin8(METRICS),
        m.map32((s("chunk"), BASE64_ID), (SIGNAL, b"\x01")),
    ),
    m.fixarray(s("traces"), m.bin8(TRACES), m.map32((SIGNAL, b"\x02"))),
    m.fixarray(s(KUBE_TAG), m.fixarray(V2)),
    rows=[KUBE_ROW],
    acks=[ack(BASE64_ID)],
    rejected=[
        {"reason": "signal_metrics", "hex": METRICS.hex()},
        {"reason": "signal_traces", "hex": TRACES.hex()},
    ],
)

# --- Docker's fluentd log driver, by fluent-logger-golang: signed int32 seconds, an
# option map with each line, every value a string.

DOCKER = {
    "container_id": "6f2b9a1c",
    "container_name": "/web",
    "source": "stdout",
    "log": "GET / HTTP/1.1 200",
}
DOCKER_TAG = "6f2b9a1c"
GOLANG_CHUNK = m.fixstr(b64encode(T.to_bytes(8, "little") + bytes(range(8))))
DOCKER_SOURCE = "1.3, 1.10, 7; fluent-logger-golang proto_gen.go, moby fluentd.go"


def docker(content: dict[str, Any], option: bytes, time: bytes) -> bytes:
    return m.fixarray(s(DOCKER_TAG), time, m.pack(content), option)


def docker_row(**changes: Any) -> dict[str, Any]:
    fraction = changes.pop("fraction", "000000")
    content = {
        "service": "/web",
        "message": "GET / HTTP/1.1 200",
        "container_id": "6f2b9a1c",
        "source": "stdout",
    }
    return row(DOCKER_TAG, content | changes, fraction=fraction)


record(
    "Docker",
    DOCKER_SOURCE,
    docker(DOCKER, b"\x80", m.int32(T)),
    rows=[docker_row()],
)
record(
    "Docker 18, nil option",
    "1.3; Fluent Bit in_forward/fw_prot.c",
    docker(DOCKER, m.NIL, m.int32(T)),
    rows=[docker_row()],
)
record(
    "Docker, fluentd-sub-second-precision and fluentd-request-ack",
    DOCKER_SOURCE,
    docker(DOCKER, m.fixmap((s("chunk"), GOLANG_CHUNK)), event_time()),
    rows=[docker_row(fraction="123456")],
    acks=[ack(GOLANG_CHUNK)],
)
PIECES = [
    {
        "partial_message": "true",
        "partial_id": "8b1d",
        "partial_ordinal": ordinal,
        "partial_last": last,
    }
    for ordinal, last in (("1", "false"), ("2", "true"))
]
record(
    "Docker, a long line in two pieces",
    "6.3, 7; moby fluentd.go",
    *(
        docker(DOCKER | piece | {"log": text}, b"\x80", m.int32(T))
        for piece, text in zip(PIECES, ("x" * 300, "the end"), strict=True)
    ),
    rows=[
        docker_row(message=text, **piece)
        for piece, text in zip(PIECES, ("x" * 300, "the end"), strict=True)
    ],
)

# --- the loggers that applications use

APP = {"level": "warn", "message": "slow query", "ms": 1250, "ok": False, "by": None}
APP_ROW = {
    "level": "WARN",
    "message": "slow query",
    "ms": 1250,
    "ok": False,
    "by": None,
}
ENTRY = m.fixarray(event_time(), m.pack(APP))
UUID = m.str8(b"6ba7b810-9dad-11d1-80b4-00c04fd430c8")
record(
    "fluency (Java): str of the least width, size in bytes, a UUID to ack",
    "1.5, 2, 3.2, 7; fluency FluentdIngester",
    m.fixarray(
        s("app"),
        m.str8(ENTRY),
        m.fixmap((s("size"), m.pack(len(ENTRY))), (s("chunk"), UUID)),
    ),
    rows=[row("app", dict(APP_ROW))],
    acks=[ack(UUID)],
)
record(
    "fluent-logger-java: msgpack of before 2013, raw16 from 32 bytes on, any bytes",
    "7; fluent-logger-java",
    m.fixarray(
        s("app"),
        m.uint32(T),
        m.fixmap(
            (s("message"), m.str16(b"m" * 40)),
            (s("raw"), m.fixstr("café".encode("latin-1"))),
            (s("long"), m.str16(b"x" * 300)),
        ),
    ),
    rows=[
        row(
            "app",
            {
                "message": "m" * 40,
                "raw": "caf\\xe9",
                "long": "x" * 300,
            },
            fraction="000000",
        )
    ],
)
PERL_CHUNKS = [m.fixstr(encodebytes(bytes([i]) * 16)) for i in (1, 2)]
record(
    "Fluent::Logger (Perl), two frames before the first ack, an empty tag",
    "1.3, 3.2, 7; fluent-logger-perl Logger.pm",
    *(
        m.fixarray(
            b"\xa0",
            m.uint32(T),
            m.pack({"message": text}),
            m.fixmap((s("chunk"), chunk)),
        )
        for text, chunk in zip(("one", "two"), PERL_CHUNKS, strict=True)
    ),
    rows=[row("", {"message": text}, fraction="000000") for text in ("one", "two")],
    acks=[ack(chunk) for chunk in PERL_CHUNKS],
)
record(
    "fluent-logger-python: Message mode without an option; a float time; no tag",
    "1.3, 1.10, 7; fluent-logger-python sender.py",
    m.fixarray(s("app"), m.uint32(T), m.pack(APP)),
    m.fixarray(s("app"), m.float64(T + 0.25), m.pack(APP)),
    m.fixarray(m.NIL, event_time(), m.pack(APP)),
    rows=[
        row("app", dict(APP_ROW), fraction="000000"),
        row("app", dict(APP_ROW), fraction="250000"),
        row("", dict(APP_ROW)),
    ],
)
record(
    "fluent-logger-ruby, nanosecond_precision",
    "1.3, 7; fluent-logger-ruby",
    m.fixarray(s("app"), event_time(), m.pack(APP)),
    rows=[row("app", dict(APP_ROW))],
)
NODE_CHUNK = m.fixstr(b64encode(bytes(range(16))))
NODE_ENTRY = m.fixarray(m.uint32(T), m.pack(APP))
record(
    "fluent-logger-node, PackedForward: size in bytes, a chunk asked for or not",
    "2, 3.2, 7; fluent-logger-node sender.js",
    m.fixarray(
        s("app"),
        m.bin8(NODE_ENTRY),
        m.fixmap(
            (s("size"), m.pack(len(NODE_ENTRY))),
            (s("chunk"), NODE_CHUNK),
            (s("compressed"), s("text")),
            (s("eventEntryDataSize"), m.pack(len(NODE_ENTRY))),
        ),
    ),
    rows=[row("app", dict(APP_ROW), fraction="000000")],
    acks=[ack(NODE_CHUNK)],
)
record(
    "fluent-logger-node, milliseconds: a float64 in the seconds' place",
    "1.10, 7; msgpack-lite write-type.js",
    m.fixarray(s("app"), m.float64(T * 1000 + 123), m.pack({"message": "m"})),
    rows=[
        row("app", {"message": "m", "_time": T * 1000.0 + 123}, fraction="123000"),
    ],
)
record(
    "@fluent-org/logger, PackedForward",
    "1.5, 7; fluent-logger-forward-node protocol.ts",
    m.fixarray(s("app"), m.bin8(ENTRY), m.fixmap((s("size"), b"\x01"))),
    rows=[row("app", dict(APP_ROW))],
)
record(
    "fluent-forward-go (IBM), compressed",
    "1.6, 7; IBM fluent-forward-go",
    m.fixarray(
        s("app"),
        m.bin8(gzip.compress(ENTRY, mtime=0)),
        m.fixmap(
            (s("size"), b"\x01"),
            (s("chunk"), NODE_CHUNK),
            (s("compressed"), s("gzip")),
        ),
    ),
    rows=[row("app", dict(APP_ROW))],
    acks=[ack(NODE_CHUNK)],
)


def written() -> str:
    """Write all recordings as JSON, a field a line."""
    return (
        "[\n"
        + ",\n".join(
            "  {\n"
            + ",\n".join(
                f"    {json.dumps(field)}: {json.dumps(value)}"
                for field, value in recording.items()
            )
            + "\n  }"
            for recording in RECORDINGS
        )
        + "\n]\n"
    )


if __name__ == "__main__":
    PATH.write_text(written())
