"""The metrics: named by the Prometheus conventions, counting what they say."""

import re
from collections.abc import Iterable
from pathlib import Path

import prometheus_client.registry
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

import penstock
from penstock import __version__
from penstock.buffer.books import Books
from penstock.buffer.ring import Ring
from penstock.errors import PermanentSinkError, TransientSinkError, UnknownSinkError
from penstock.model import (
    Batch,
    Delivery,
    EncodedRows,
    Outcome,
    RejectedEvent,
    Segment,
    SourceId,
)
from penstock.telemetry.metrics import CONTENT_TYPE, Metrics
from penstock.wire.messages import Mode

# https://prometheus.io/docs/practices/naming/, "Base units".
BASE_UNITS = {"seconds", "bytes", "ratio", "info"}
NO_UNITS = r"_(milli|micro|nano)seconds|_(ms|us|ns)(_|$)|_(kilo|mega|kibi|mebi)bytes"
# What the issue that made them asks for.
PROMISED = {
    "penstock_connections",
    "penstock_received_frames",
    "penstock_received_events",
    "penstock_received_bytes",
    "penstock_ring_bytes",
    "penstock_ring_events",
    "penstock_ring_capacity_bytes",
    "penstock_copy_batches",
    "penstock_copy_rows",
    "penstock_copy_bytes",
    "penstock_copy_duration_seconds",
    "penstock_commit_to_ack_seconds",
    "penstock_receive_to_commit_seconds",
    "penstock_acks",
    "penstock_database_reconnects",
    "penstock_paused_connections",
    "penstock_build_info",
}


class FullSpool:
    size_bytes, max_bytes, is_failing = 7, 8, True


def new_ring() -> Ring:
    return Ring(
        max_bytes=1 << 20,
        max_rows=1000,
        on_waiting=lambda: None,
        on_drained=lambda: None,
    )


@pytest.fixture
def ring() -> Ring:
    return new_ring()


@pytest.fixture
def metrics(ring: Ring) -> Metrics:
    made = Metrics()
    made.watch_ring(ring)
    made.http.serves(("/api/search",))
    return made


def families(metrics: Metrics) -> dict[str, Metric]:
    """Read the exposition as Prometheus would."""
    text = metrics.exposition().decode()
    return {each.name: each for each in text_string_to_metric_families(text)}


def values(metrics: Metrics) -> dict[str, float]:
    return {
        sample.name + "".join(f",{value}" for value in sample.labels.values()): (
            sample.value
        )
        for family in families(metrics).values()
        for sample in family.samples
    }


def everything_happened(metrics: Metrics) -> None:
    """Let each metric with labels have a sample."""
    metrics.receive.connected()
    for mode in Mode:
        metrics.receive.received_frames(mode, 1)
        metrics.receive.encoded(mode, EncodedRows(b"", 1, frozenset()))
    metrics.receive.encoded(Mode.FORWARD, EncodedRows(b"", 0, frozenset(), (REJECTED,)))
    metrics.receive.broke_protocol("not_forward")
    for error in (TransientSinkError(""), PermanentSinkError("")):
        metrics.sink.failed(error)
    metrics.http.answered("/api/search", 200, 0.1)


REJECTED = RejectedEvent("no_record", b"hunter2 of a record")


def delivery() -> Delivery:
    return Delivery(SourceId(1), "", "t", None, None, 0.0, lambda done: None)


def batch_of(*encoded: EncodedRows) -> Batch:
    segments = tuple(Segment(each, delivery()) for each in encoded)
    size_bytes = sum(each.size_bytes for each in segments)
    return Batch(segments, size_bytes, sum(each.rows for each in encoded))


# --- names


def test_the_promised_metrics_are_there(metrics: Metrics) -> None:
    assert set(families(metrics)) >= PROMISED


def test_every_name_says_whose_it_is(metrics: Metrics) -> None:
    everything_happened(metrics)
    for name in families(metrics):
        assert re.fullmatch(r"penstock(_[a-z]+)+", name)


def test_counters_end_in_total_and_nothing_else_does(metrics: Metrics) -> None:
    everything_happened(metrics)
    for family in families(metrics).values():
        for sample in family.samples:
            is_counter = family.type == "counter"
            assert sample.name.endswith("_total") == is_counter, sample.name
        assert family.type in ("counter", "gauge", "histogram")


def test_units_are_base_units(metrics: Metrics) -> None:
    for name, family in families(metrics).items():
        assert not re.search(NO_UNITS, name)
        if family.type == "histogram":
            assert name.endswith(("_seconds", "_rows", "_bytes")), name
        if "second" in family.documentation.lower():
            assert name.endswith("_seconds"), name


def test_every_metric_is_explained(metrics: Metrics) -> None:
    explained = [family.documentation for family in families(metrics).values()]
    for text in explained:
        assert len(text) > 10
        assert text[0].isupper() and text.endswith(".")
    assert len(set(explained)) == len(explained)


def test_labels_come_from_small_sets(metrics: Metrics) -> None:
    everything_happened(metrics)
    labels = {
        family.name: set(sample.labels) - {"le"}
        for family in families(metrics).values()
        for sample in family.samples
        if set(sample.labels) - {"le"}
    }
    assert labels == {
        "penstock_build_info": {"version", "python"},
        "penstock_copy_failures": {"kind"},
        "penstock_http_api_answers": {"path", "status"},
        "penstock_http_api_seconds": {"path"},
        "penstock_http_connections_refused": {"reason"},
        "penstock_http_unauthorized": {"reason"},
        "penstock_protocol_errors": {"reason"},
        "penstock_connections_refused": {"reason"},
        "penstock_login_failures": {"reason"},
        "penstock_tls_failures": {"reason"},
        "penstock_received_events": {"mode"},
        "penstock_received_frames": {"mode"},
        "penstock_rejected_events": {"reason"},
        "penstock_tail_missed_rows": {"reason"},
    }


def test_every_mode_and_kind_is_there_before_it_first_happens(metrics: Metrics) -> None:
    """A rate over a series that has not begun yet misses the first of it."""
    found = values(metrics)
    for mode in Mode:
        assert found[f"penstock_received_frames_total,{mode}"] == 0
        assert found[f"penstock_received_events_total,{mode}"] == 0
    for kind in ("data", "transient"):
        assert found[f"penstock_copy_failures_total,{kind}"] == 0


def test_only_telemetry_knows_prometheus_client() -> None:
    source = Path(penstock.__file__).parent
    knows = [
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if "prometheus_client" in path.read_text(encoding="utf-8")
    ]
    assert {path.partition("/")[0] for path in knows} == {"telemetry"}


# --- the exposition


def test_it_is_text_that_prometheus_reads(metrics: Metrics) -> None:
    everything_happened(metrics)
    text = metrics.exposition()
    assert CONTENT_TYPE.startswith("text/plain; version=")
    assert text.endswith(b"\n")
    assert b"_created" not in text, "when it began is no metric of ours"
    assert len(families(metrics)) >= len(PROMISED)


def test_nothing_of_a_record_is_in_it(metrics: Metrics) -> None:
    everything_happened(metrics)
    assert REJECTED.raw not in metrics.exposition()


def test_two_servers_in_one_process_count_apart() -> None:
    one, two = Metrics(), Metrics()
    one.receive.connected()
    assert values(one)["penstock_connections"] == 1
    assert values(two)["penstock_connections"] == 0
    assert not list(registered("penstock"))


def registered(prefix: str) -> Iterable[str]:
    """Return what is in prometheus_client's own registry of the process."""
    for metric in prometheus_client.registry.REGISTRY.collect():
        if metric.name.startswith(prefix):
            yield metric.name


def test_the_build_is_told(metrics: Metrics) -> None:
    (sample,) = families(metrics)["penstock_build_info"].samples
    assert sample.value == 1
    assert sample.labels["version"] == __version__


# --- what is counted


def test_what_the_sessions_tell(metrics: Metrics) -> None:
    told = metrics.receive
    for _ in range(3):
        told.connected()
    told.disconnected()
    told.received_bytes(100)
    told.received_bytes(20)
    told.received_frames(Mode.FORWARD, 1)
    told.received_frames(Mode.MESSAGE, 7)
    told.encoded(Mode.FORWARD, EncodedRows(b"x", 5, frozenset(), (REJECTED,) * 2))
    told.encoded(Mode.FORWARD, EncodedRows(b"x", 1, frozenset()))
    told.broke_protocol("not_forward")
    told.committed(0.2)
    told.acked(0.001)
    told.closed_late()
    found = values(metrics)
    expected = {
        "penstock_connections": 2,
        "penstock_connections_accepted_total": 3,
        "penstock_received_bytes_total": 120,
        "penstock_received_frames_total,forward": 1,
        "penstock_received_frames_total,message": 7,
        "penstock_received_events_total,forward": 8,
        "penstock_rejected_events_total,no_record": 2,
        "penstock_protocol_errors_total,not_forward": 1,
        "penstock_receive_to_commit_seconds_count": 1,
        "penstock_receive_to_commit_seconds_sum": 0.2,
        "penstock_commit_to_ack_seconds_count": 1,
        "penstock_commit_to_ack_seconds_sum": 0.001,
        "penstock_acks_total": 1,
        "penstock_late_ack_closes_total": 1,
    }
    assert {name: found[name] for name in expected} == expected


def test_what_the_flusher_tells(metrics: Metrics) -> None:
    told = metrics.sink
    told.reconnecting()
    told.failed(TransientSinkError("away"))
    told.failed(PermanentSinkError("bad"))
    told.failed(PermanentSinkError("bad"))
    rows = EncodedRows(b"x" * 900, 5, frozenset())
    rejected = EncodedRows(b"", 0, frozenset(), (REJECTED,))
    told.failed(UnknownSinkError("why"))
    outcome = Outcome(7, 1, 2, 5, 1)
    told.stored(batch_of(rows, rows, rejected), outcome, 0.25)
    found = values(metrics)
    expected = {
        "penstock_database_reconnects_total": 1,
        "penstock_copy_failures_total,transient": 1,
        "penstock_copy_failures_total,data": 2,
        "penstock_copy_batches_total": 1,
        "penstock_copy_failures_total,unknown": 1,
        "penstock_copy_rows_total": 7,
        "penstock_copy_rejected_events_total": 3,
        "penstock_refused_events_total": 2,
        "penstock_duplicate_chunks_total": 1,
        "penstock_duplicate_events_total": 5,
        "penstock_copy_bytes_total": 1800,
        "penstock_copy_duration_seconds_count": 1,
        "penstock_copy_duration_seconds_sum": 0.25,
        "penstock_copy_batch_rows_sum": 10,
    }
    assert {name: found[name] for name in expected} == expected


def test_the_rings_levels_are_read_when_they_are_asked_for(
    metrics: Metrics, ring: Ring
) -> None:
    assert values(metrics)["penstock_ring_capacity_bytes"] == 1 << 20
    segment = Segment(EncodedRows(b"x" * 5000, 3, frozenset()), delivery())
    ring.append(segment)
    ring.wait_for_room(SourceId(7), lambda: None)
    found = values(metrics)
    assert found["penstock_ring_bytes"] == segment.size_bytes
    assert found["penstock_ring_events"] == 3
    assert found["penstock_paused_connections"] == 1
    batch = ring.take(1)
    assert batch is not None
    assert values(metrics)["penstock_ring_events"] == 3, "taken is not committed"
    ring.release(batch)
    found = values(metrics)
    assert found["penstock_ring_bytes"] == found["penstock_ring_events"] == 0
    assert found["penstock_paused_connections"] == 0


def test_the_books_and_the_spools_levels_are_read_when_they_are_asked_for(
    metrics: Metrics,
) -> None:
    books, spool = (
        Books(received=9, recovered=2, spooled=3, lost_on_disk=1),
        FullSpool(),
    )
    metrics.watch_books(books, lambda: 4)
    metrics.watch_spool(spool)
    assert values(metrics).items() >= {
        ("penstock_unaccounted_events", 3.0),
        ("penstock_spooled_events", 3.0),
        ("penstock_recovered_events", 2.0),
        ("penstock_spool_lost_events", 1.0),
        ("penstock_spool_bytes", 7.0),
        ("penstock_spool_capacity_bytes", 8.0),
        ("penstock_spool_failing", 1.0),
    }
    books.settled(Outcome(1, 1, 0, 1, 1))
    assert values(metrics)["penstock_unaccounted_events"] == 0


def test_seconds_are_told_apart_from_a_commit_in_memory_to_a_late_ack(
    metrics: Metrics,
) -> None:
    for family in families(metrics).values():
        if family.type != "histogram" or not family.name.endswith("_seconds"):
            continue
        bounds = [
            float(each.labels["le"]) for each in family.samples if "le" in each.labels
        ]
        assert bounds[0] <= 0.001
        assert bounds[-2] == 150.0
        assert bounds[-1] == float("inf")
