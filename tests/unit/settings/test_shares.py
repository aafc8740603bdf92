"""What is a limit of the whole is shared out; a share that is too small is told."""

from dataclasses import fields, replace

import pytest

from penstock.errors import SettingsError
from penstock.settings import (
    Accepted,
    PeerLimits,
    ProcessSettings,
    RingSettings,
    Settings,
    SpoolSettings,
)
from penstock.settings.shares import (
    MOST_BY_ITSELF,
    SHARED,
    share_of,
    share_problems,
    worker_count,
)

MIB = 1024 * 1024
DEFAULT = Settings(database_url="postgresql://")


@pytest.mark.parametrize(
    ("cores", "workers"),
    [(0.5, 1), (1, 1), (2, 1), (4, 1), (7.5, 1), (8, 2), (16, 4), (400, 8)],
)
def test_a_machine_of_few_cores_has_one_worker_and_none_has_many(
    cores: float, workers: int
) -> None:
    assert worker_count(DEFAULT, cores) == workers <= MOST_BY_ITSELF


def test_as_many_workers_as_asked_for() -> None:
    settings = replace(DEFAULT, process=ProcessSettings(workers=3))
    assert worker_count(settings, 1) == 3


def test_by_itself_it_has_no_more_than_the_limits_are_enough_for() -> None:
    settings = replace(DEFAULT, ring=RingSettings(ring_bytes=24 * MIB))
    assert worker_count(settings, 64) == 3


def test_shares_together_are_no_more_than_the_whole() -> None:
    share = share_of(DEFAULT, 3)
    assert 3 * share.ring.ring_bytes <= DEFAULT.ring.ring_bytes
    assert 3 * share.ring.ring_rows <= DEFAULT.ring.ring_rows
    assert 3 * share.spool.spool_max_bytes <= DEFAULT.spool.spool_max_bytes
    assert 3 * share.limits.max_partial_bytes <= DEFAULT.limits.max_partial_bytes
    # A part of a connection is none.
    assert share.limits.max_connections == 3334
    assert share.limits.max_connections_per_address == 667


def test_one_worker_has_all_of_it_whatever_that_is() -> None:
    assert share_of(DEFAULT, 1) == DEFAULT


def test_what_is_no_limit_of_the_whole_stays_as_it_is() -> None:
    share = share_of(DEFAULT, 4)
    for concern in fields(Settings):
        if concern.name not in SHARED:
            assert getattr(share, concern.name) == getattr(DEFAULT, concern.name)


def test_all_that_is_shared_out_is_a_setting_with_a_least() -> None:
    for concern, names in SHARED.items():
        found = {each.name: each for each in fields(getattr(DEFAULT, concern))}
        for name in names:
            accepted: Accepted = found[name].metadata["is"]
            assert accepted.low is not None


def test_each_share_that_would_be_too_small_is_told() -> None:
    settings = Settings(
        database_url="postgresql://",
        ring=RingSettings(ring_bytes=8 * MIB),
        spool=SpoolSettings(spool_max_bytes=16 * MIB),
        limits=PeerLimits(max_partial_bytes=16 * MIB),
    )
    names = [name for name, _ in share_problems(settings, 2)]
    assert names == ["ring_bytes", "spool_max_bytes", "max_partial_bytes"]
    with pytest.raises(SettingsError) as raised:
        share_of(settings, 2)
    assert raised.value.problems[0] == (
        "ring_bytes is 8388608, shared out among 2 workers; each needs 8,388,608 or"
        " more: raise it, or have fewer workers"
    )
