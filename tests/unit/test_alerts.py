"""The alerts ask for metrics that there are, and docs/alerts.md explains each."""

import re
from pathlib import Path

import pytest

from tests.metric_names import HISTOGRAM, asked_in, exposition, names_of, recorded_in

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
ALERTS = (PROMETHEUS / "penstock-alerts.yml").read_text()
RULES = (PROMETHEUS / "penstock-rules.yml").read_text()
PAGE = (ROOT / "docs" / "alerts.md").read_text()
DELIVERY = (ROOT / "docs" / "delivery.md").read_text()


@pytest.fixture
def names(tmp_path: Path) -> set[str]:
    """Every name under which Prometheus has a series of ours, or could have."""
    return names_of(exposition(tmp_path))


def test_every_metric_that_a_rule_asks_for_is_there(names: set[str]) -> None:
    # Groups have names too.
    asked = asked_in(re.sub(r"- name: .*", "", ALERTS + RULES))
    assert len(asked) > 25
    assert asked - names == set()


def test_every_alert_is_in_alerts_md_with_what_to_do() -> None:
    alerts = re.findall(r"- alert: (\w+)", ALERTS)
    assert len(set(alerts)) == len(alerts)
    assert re.findall(r"^\| `(Penstock\w+)` \|", PAGE, re.M) == alerts


def test_alerts_md_gives_each_alert_the_severity_it_has() -> None:
    found = re.findall(r"- alert: (\w+)\n.*?severity: (\w+)", ALERTS, re.S)
    rows = re.findall(r"^\| `(Penstock\w+)` \| (\w+) \|", PAGE, re.M)
    assert rows == found
    assert {severity for _, severity in found} == {"critical", "warning"}


def test_metrics_md_lists_what_is_recorded() -> None:
    recorded = re.findall(r"- record: (\S+)", RULES)
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert recorded_in(page) == set(recorded)


def test_delivery_md_names_no_metric_that_there_is_not(names: set[str]) -> None:
    asked = set(re.findall(r"\bpenstock_[a-z_]+", DELIVERY))
    without = {
        name.removesuffix(suffix) for name in names for suffix in ("", *HISTOGRAM)
    }
    tables = {"penstock_schema", "penstock_writer", "penstock_day"}
    assert asked - names - without - tables == set()
