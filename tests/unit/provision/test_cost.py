"""What a plan costs, line by line, and what each way to pay changes."""

from dataclasses import replace

import pytest

from penstock.provision.cost import Bill, bill_of
from penstock.provision.load import load_of
from penstock.provision.prices import read_prices
from penstock.provision.sizing import Plan, Wishes, plan_of
from penstock.provision.stored import Keeping

OWN = Wishes(days=14)
RDS = Wishes(days=14, database="rds")
RECEIVERS = Wishes(days=14, variant="receivers", database="rds")


def planned(wishes: Wishes, gb: float = 20) -> Plan:
    return plan_of(
        load_of(gb_per_day=gb, records_per_day=None, record_bytes=None), wishes
    )


def billed(wishes: Wishes, gb: float = 20, region: str = "us-east-1") -> Bill:
    return bill_of(planned(wishes, gb), read_prices(region))


def usd(bill: Bill, name: str) -> float:
    return {line.name: line.usd for line in bill.lines}[name]


def test_a_line_is_its_quantity_times_its_price() -> None:
    bill, plan = billed(OWN), planned(OWN)
    assert plan.data_disk
    assert usd(bill, "EC2") == pytest.approx(730 * 0.0336)
    assert usd(bill, "data disk") == pytest.approx(plan.data_disk.gib * 0.08)
    assert usd(bill, "public IPv4") == pytest.approx(3.65)
    assert usd(bill, "Secrets Manager") == 0.4
    # 20 GB a day for 365/12 days, half of it in the other zone, paid at both ends.
    assert usd(bill, "between zones") == pytest.approx(20 * 365 / 12 / 2 * 2 * 0.01)


def test_what_the_guide_forgot_has_its_line() -> None:
    names = {line.name for line in billed(replace(RECEIVERS, nat=True)).lines}
    names |= {line.name for line in billed(OWN).lines}
    assert names >= {
        "NAT gateway",
        "public IPv4",
        "its IOPS and MiB/s",
        "snapshots",
        "CloudWatch logs",
        "CloudWatch alarms",
        "CloudWatch metrics",
        "between zones",
        "S3: requests",
        "Secrets Manager",
    }


def test_iops_and_throughput_above_the_price_are_paid() -> None:
    fast = Wishes(days=1)
    plan = planned(fast, 1_500)
    assert plan.data_disk and plan.data_disk.mibps > 125
    paid = usd(bill_of(plan, read_prices("us-east-1")), "its IOPS and MiB/s")
    over = plan.data_disk.mibps - 125
    assert paid == pytest.approx(over * 0.04 + (plan.data_disk.iops - 3_000) * 0.005)
    assert usd(billed(OWN), "its IOPS and MiB/s") == 0


@pytest.mark.parametrize("wishes", [OWN, RDS, RECEIVERS])
def test_a_year_costs_less_for_machines_only(wishes: Wishes) -> None:
    for line in billed(wishes).lines:
        is_machine = line.name in ("EC2", "RDS")
        assert (line.one_year_usd < line.usd) is is_machine


def test_spot_is_for_receivers_beyond_the_first_only() -> None:
    for wishes in (OWN, RDS):
        bill = billed(wishes)
        assert bill.spot_usd == bill.usd
    bill = billed(RECEIVERS)
    cheaper = [line.name for line in bill.lines if line.spot_usd != line.usd]
    assert cheaper == ["EC2"]
    (machines,) = [line for line in bill.lines if line.name == "EC2"]
    one = machines.usd / 2
    assert one < machines.spot_usd < machines.usd


def test_rds_costs_more_and_each_of_its_choices_too() -> None:
    alone = billed(replace(RDS, replicas=0)).usd
    assert billed(OWN).usd < alone < billed(RDS).usd
    assert billed(RDS).usd < billed(replace(RDS, multi_az=True)).usd


def test_what_is_left_out_costs_less() -> None:
    full = billed(OWN).usd
    fewer = replace(OWN.keeping, monthly=0)
    for wishes in (
        replace(OWN, snapshots=False),
        replace(OWN, keeping=Keeping(has_wal=False)),
        replace(OWN, keeping=fewer),
        replace(OWN, days=7),
    ):
        assert billed(wishes).usd < full


def test_more_days_and_more_volume_cost_more() -> None:
    months = [billed(OWN, gb).usd for gb in (0.001, 1, 5, 10, 20, 50, 100, 200, 500)]
    assert months == sorted(months)


def test_regions_have_their_own_sums() -> None:
    assert billed(OWN, region="ap-northeast-2").usd > billed(OWN).usd * 1.05


def test_next_to_nothing_costs_a_small_machine() -> None:
    load = load_of(gb_per_day=None, records_per_day=1, record_bytes=None)
    bill = bill_of(plan_of(load, OWN), read_prices("us-east-1"))
    assert 20 < bill.usd < 60
    assert all(line.usd >= 0 for line in bill.lines)
