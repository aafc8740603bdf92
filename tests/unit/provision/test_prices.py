"""prices.json is whole, dated and sourced; what is wrong in another is one line."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import SettingsError
from penstock.provision import prices as module
from penstock.provision.cost import bill_of
from penstock.provision.load import load_of
from penstock.provision.machines import MACHINES, RDS_CLASSES
from penstock.provision.prices import read_prices, regions, sources
from penstock.provision.sizing import Wishes, plan_of

FILE = Path(module.__file__).with_name("prices.json")
OWN: dict[str, Any] = json.loads(FILE.read_text())


@pytest.mark.parametrize("region", ["us-east-1", "ap-northeast-2", "eu-central-1"])
def test_a_region_has_every_machine_and_every_price(region: str) -> None:
    prices = read_prices(region)
    for machine in MACHINES:
        assert 0 < prices.usd("ec2_hour", machine.name) < 10
        assert prices.one_year(machine.family) < 1
    for machine in RDS_CLASSES:
        assert 0 < prices.usd("rds_hour", machine.name) < 20
        assert prices.one_year(machine.family) < 1
    first = OWN["regions"]["us-east-1"]
    assert OWN["regions"][region].keys() == first.keys()
    for group, value in OWN["regions"][region].items():
        if isinstance(value, dict):
            assert value.keys() == first[group].keys()


def test_larger_machines_cost_more() -> None:
    for region in regions():
        prices = read_prices(region)
        for kind in ("t4g", "m7g", "t3", "m7i"):
            row = [m.name for m in MACHINES if m.family == kind]
            asked = [prices.usd("ec2_hour", name) for name in row]
            assert asked == sorted(asked)
            assert asked[-1] == pytest.approx(asked[-2] * 2, rel=0.01)


def test_the_file_is_dated_and_each_group_has_its_page() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", OWN["known"])
    groups = set(OWN["regions"]["us-east-1"]) - {"name", "estimated"}
    groups |= {"one_year_discount", "spot_discount"}
    assert groups == set(sources())
    for told in sources().values():
        assert told["page"].startswith("https://aws.amazon.com/")
        assert re.fullmatch(r"\d{4}(-\d\d){0,2}", told["as_of"])
        assert told["how"]


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (
            ("regions", "us-east-1", "ebs_month", "gib"),
            None,
            "ebs_month.gib is missing",
        ),
        (("regions", "us-east-1", "ebs_month", "gib"), "0.08", "gib is '0.08'"),
        (("regions", "us-east-1", "ebs_month", "gib"), -1, "gib is '-1'"),
        (("regions", "us-east-1", "ebs_month", "gib"), True, "gib is 'True'"),
        (("regions", "us-east-1", "ebs_month", "gib"), 1e9, "gib is"),
        (("regions", "us-east-1", "ebs_month"), [], "ebs_month.gib is missing"),
        (("regions", "us-east-1"), 7, "regions.us-east-1 is no object"),
        (("regions",), [], "regions is no object"),
        (("spot_discount",), 2, "spot_discount is '2'"),
        (("one_year_discount", "t4g"), "third", "one_year_discount.t4g is 'third'"),
    ],
)
def test_a_fault_in_a_file_is_one_line_with_its_place(
    tmp_path: Path, place: tuple[str, ...], value: Any, said: str
) -> None:
    told = json.loads(FILE.read_text())
    inner = told
    for key in place[:-1]:
        inner = inner[key]
    if value is None:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    file = tmp_path / "other.json"
    file.write_text(json.dumps(told))
    load = load_of(gb_per_day=20, records_per_day=None, record_bytes=None)
    plan = plan_of(load, Wishes(days=14))
    with pytest.raises(SettingsError, match=r"other\.json: ") as refused:
        bill_of(plan, read_prices("us-east-1", file))
    assert said in str(refused.value)
    assert len(refused.value.problems) == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, "[]", "\x00", '{"regions": {"us-east-1": NaN}}']
)
def test_what_is_no_price_list_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"other\.json"):
        read_prices("us-east-1", file)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_prices("us-east-1", tmp_path / "none.json")


def test_a_region_without_prices_is_refused_with_those_that_have() -> None:
    with pytest.raises(SettingsError, match=r"us-east-1, ap-northeast-2.*--prices"):
        read_prices("eu-west-3")
