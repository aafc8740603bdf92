"""The metrics of several workers are one page, and no counter goes down."""

import pytest

from penstock.buffer.books import Books
from penstock.buffer.ring import Ring
from penstock.telemetry.metrics import Metrics
from penstock.telemetry.workers import (
    BY_WORKER,
    KEPT,
    LEFT,
    OF_THE_WHOLE,
    WORST,
    MetricsOfAll,
    families_of,
)
from penstock.wire.messages import Mode

# Levels of which the sum over workers is the level of the whole.
ADDED = {
    "penstock_connections",
    "penstock_ring_bytes",
    "penstock_ring_events",
    "penstock_ring_capacity_bytes",
    "penstock_paused_connections",
    "penstock_unaccounted_events",
    "penstock_spooled_events",
    "penstock_spool_bytes",
    "penstock_spool_capacity_bytes",
}


class WorkerSpool:
    size_bytes, max_bytes, is_failing = 10, 100, False


class WorkerMetrics(Metrics):
    """Those of a worker, with a ring and a spool to look at."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = Ring(
            max_bytes=1000, max_rows=9, on_waiting=lambda: None, on_drained=lambda: None
        )
        self.books, self.spool = Books(), WorkerSpool()
        self.watch_ring(self.ring)
        self.watch_books(self.books, lambda: 0)
        self.watch_spool(self.spool)


@pytest.fixture
def whole() -> MetricsOfAll:
    whole = MetricsOfAll()
    whole.expect(2)
    return whole


def samples(whole: MetricsOfAll) -> dict[str, float]:
    lines = whole.exposition().decode().splitlines()
    pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    assert len({name for name, _, _ in pairs}) == len(pairs), "each stands there once"
    return {name: float(value) for name, _, value in pairs}


def test_counters_histograms_and_levels_are_added_up(whole: MetricsOfAll) -> None:
    for number in range(2):
        worker = WorkerMetrics()
        worker.receive.connected()
        worker.receive.received_frames(Mode.MESSAGE, 3)
        worker.receive.committed(0.2)
        whole.told(number, families_of(worker))
    found = samples(whole)
    assert found["penstock_connections"] == 2
    assert found["penstock_connections_accepted_total"] == 2
    assert found['penstock_received_frames_total{mode="message"}'] == 6
    assert found["penstock_receive_to_commit_seconds_count"] == 2
    assert found['penstock_receive_to_commit_seconds_bucket{le="0.25"}'] == 2
    assert found['penstock_receive_to_commit_seconds_bucket{le="0.1"}'] == 0
    assert found["penstock_ring_capacity_bytes"] == 2000
    assert found['penstock_worker_connections{worker="0"}'] == 1


def test_a_worker_told_of_again_is_not_counted_twice(whole: MetricsOfAll) -> None:
    worker = WorkerMetrics()
    for expected in (1, 2):
        worker.receive.connected()
        whole.told(0, families_of(worker))
        assert samples(whole)["penstock_connections_accepted_total"] == expected


def test_what_a_worker_has_counted_stays_when_it_has_ended(
    whole: MetricsOfAll,
) -> None:
    worker = WorkerMetrics()
    worker.receive.connected()
    worker.receive.broke_protocol("not_forward")
    worker.receive.committed(0.2)
    whole.told(0, families_of(worker))
    before = samples(whole)
    whole.ended(0, "signal")
    while_away = samples(whole)
    whole.told(0, families_of(WorkerMetrics()))
    after = samples(whole)
    counted = [
        name
        for name, value in before.items()
        if value and ("_total" in name or "_seconds_" in name)
        if not name.startswith("penstock_config")
    ]
    assert 'penstock_protocol_errors_total{reason="not_forward"}' in counted
    assert "penstock_receive_to_commit_seconds_sum" in counted
    for name in counted:
        assert while_away[name] == after[name] == before[name], name
    assert while_away["penstock_connections"] == after["penstock_connections"] == 0
    assert while_away['penstock_worker_connections{worker="0"}'] == 0
    assert after['penstock_worker_ends_total{how="signal"}'] == 1


def test_the_books_add_up_over_a_workers_end(whole: MetricsOfAll) -> None:
    """What it left is told, and what its successor recovers comes on top."""
    worker = WorkerMetrics()
    worker.books.spooled, worker.books.recovered = 7, 2
    whole.told(0, families_of(worker))
    whole.ended(0, "error")
    successor = WorkerMetrics()
    successor.books.spooled = successor.books.recovered = 7
    whole.told(0, families_of(successor))
    found = samples(whole)
    assert found["penstock_worker_left_events_total"] == 7
    assert found["penstock_recovered_events"] == 9
    assert found["penstock_spooled_events"] == 7


def test_what_is_of_the_whole_is_the_parents(whole: MetricsOfAll) -> None:
    for number in range(2):
        worker = WorkerMetrics()
        worker.maintenance.succeeded(5)
        worker.spool.is_failing = True
        whole.told(number, families_of(worker))
    found = samples(whole)
    (build,) = [name for name in found if name.startswith("penstock_build_info")]
    assert found[build] == 1
    assert found["penstock_config_last_reload_successful"] == 1
    assert found["penstock_maintenance_last_success_timestamp_seconds"] == 0
    assert found["penstock_spool_failing"] == 1
    whole.maintenance.succeeded(6)
    found = samples(whole)
    assert found["penstock_maintenance_last_success_timestamp_seconds"] == 6


def test_of_every_level_it_is_said_what_several_of_it_are() -> None:
    worker = WorkerMetrics()
    worker.maintenance.saw_archive(0.0, 0, 0.0)
    levels = {each.name for each in worker.registry.collect() if each.type == "gauge"}
    assert levels == ADDED | OF_THE_WHOLE | WORST | KEPT
    assert {*BY_WORKER, *LEFT} <= ADDED
