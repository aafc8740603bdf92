"""The smallest machine that carries a load, and a plain word where none does."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ProvisionError
from penstock.provision.load import Indexes, Load, load_of
from penstock.provision.machines import ARM64, MACHINES, RDS_CLASSES, X86_64
from penstock.provision.reasons import reasons
from penstock.provision.sizing import Wishes, memory_of, plan_of

TWO_WEEKS = Wishes(days=14)


def gb(a_day: float, size: float | None = None) -> Load:
    return load_of(gb_per_day=a_day, records_per_day=None, record_bytes=size)


@pytest.mark.parametrize(
    ("a_day", "machine"),
    [
        (1, "t4g.small"),
        (10, "t4g.medium"),
        (50, "t4g.large"),
        (100, "m7g.xlarge"),
        (200, "m7g.2xlarge"),
    ],
)
def test_each_band_of_the_guide_has_its_machine(a_day: float, machine: str) -> None:
    assert plan_of(gb(a_day), TWO_WEEKS).machine.name == machine


def test_one_record_a_day_gets_the_smallest_there_is() -> None:
    load = load_of(gb_per_day=None, records_per_day=1, record_bytes=None)
    plan = plan_of(load, TWO_WEEKS)
    assert plan.machine.name == "t4g.small"
    assert plan.data_disk and plan.data_disk.gib == 20


@pytest.mark.parametrize(
    ("a_day", "time"),
    [
        (0.001, r"a minute or two"),
        (1, r"about \d+ minutes"),
        (50, r"about [\d.]+ hours"),
    ],
)
def test_the_time_of_a_restore_is_in_the_unit_in_which_it_is_said(
    a_day: float, time: str
) -> None:
    lines = reasons(plan_of(gb(a_day), TWO_WEEKS))
    assert re.search(rf"to restore all of it takes {time}\.", " ".join(lines), re.I)


def test_five_terabytes_a_day_are_refused_with_what_then() -> None:
    for wishes in (TWO_WEEKS, Wishes(days=14, variant="receivers", database="rds")):
        with pytest.raises(ProvisionError) as refused:
            plan_of(gb(5_000), wishes)
        said = str(refused.value)
        assert "227,701" in said and "3 deployments" in said and "Citus" in said
        assert "\n" not in said


def test_more_than_a_volume_holds_is_refused_with_the_days_that_fit() -> None:
    with pytest.raises(ProvisionError, match=r"keep 477 days.*--database rds holds"):
        plan_of(gb(20), Wishes(days=478))
    assert plan_of(gb(20), Wishes(days=477)).data_disk
    on_rds = plan_of(gb(20), Wishes(days=478, database="rds"))
    assert on_rds.rds and on_rds.rds.gib > 16_384


def test_a_day_that_no_disk_holds_is_refused() -> None:
    flat = Load(12e12, 12e12 / 60e6, peak=1)
    with pytest.raises(ProvisionError, match="day"):
        plan_of(flat, Wishes(days=1))


def test_architectures_are_kept_apart() -> None:
    for architecture in (ARM64, X86_64):
        plan = plan_of(gb(300), Wishes(days=14, architecture=architecture))
        assert plan.machine.architecture == architecture


def test_without_a_price_no_machine_is_taken() -> None:
    with pytest.raises(ProvisionError, match="none with a price"):
        plan_of(gb(1), TWO_WEEKS, [])


@given(st.floats(0.001, 900), st.floats(1, 3), st.floats(20, 20_000))
def test_more_never_gets_a_smaller_machine_or_disk(
    a_day: float, times: float, size: float
) -> None:
    try:
        large = plan_of(gb(a_day * times, size), Wishes(days=7))
    except ProvisionError:
        return
    small = plan_of(gb(a_day, size), Wishes(days=7))
    order = [machine.name for machine in MACHINES]
    assert order.index(small.machine.name) <= order.index(large.machine.name)
    assert small.data_disk and large.data_disk
    assert small.data_disk.gib <= large.data_disk.gib
    assert small.data_disk.mibps <= large.data_disk.mibps


@given(st.floats(0.001, 2_000), st.integers(1, 400), st.floats(7, 50e6), st.booleans())
def test_every_volume_is_one_that_gp3_and_terraform_take(
    a_day: float, days: int, size: float, indexed: bool
) -> None:
    wishes = Wishes(days=days, indexes=Indexes(of_message=indexed))
    try:
        disk = plan_of(gb(a_day, size), wishes).data_disk
    except ProvisionError as error:
        assert "\n" not in str(error)
        return
    assert disk is not None
    assert 10 <= disk.gib <= 16_384
    assert 3_000 <= disk.iops <= min(16_000, max(3_000, 500 * disk.gib))
    assert 125 <= disk.mibps <= min(1_000, disk.iops / 4)


@given(st.floats(0.001, 2_000), st.integers(1, 400))
def test_rds_is_one_that_terraform_takes(a_day: float, days: int) -> None:
    wishes = Wishes(days=days, variant="receivers", database="rds")
    try:
        plan = plan_of(gb(a_day), wishes)
    except ProvisionError:
        return
    assert plan.rds is not None
    assert 20 <= plan.rds.gib <= 32_768
    assert plan.rds.machine in RDS_CLASSES
    assert plan.machines == 2 and plan.data_disk is None


@given(st.integers(1_024, 1_000_000), st.booleans())
def test_shares_of_memory_leave_some_for_the_system(total: int, own: bool) -> None:
    shares = memory_of(total, with_postgres=own)
    used = shares["PENSTOCK_MEMORY"] + shares.get("POSTGRES_MEMORY", 0)
    assert used < total
    assert shares["PENSTOCK_RING_BYTES"] <= 1_024
    assert min(shares.values()) > 0


def test_shares_of_four_gib_are_these() -> None:
    assert memory_of(4_096) == {
        "POSTGRES_MEMORY": 2_252,
        "POSTGRES_SHARED_BUFFERS": 900,
        "POSTGRES_EFFECTIVE_CACHE_SIZE": 1_689,
        "POSTGRES_SHM_SIZE": 204,
        "PENSTOCK_MEMORY": 819,
        "PENSTOCK_RING_BYTES": 327,
    }
