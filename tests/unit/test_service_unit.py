"""The systemd unit agrees with what the code and docs/production.md promise."""

from configparser import ConfigParser
from pathlib import Path

import pytest

from penstock.embedded import server
from penstock.settings import ProcessSettings
from penstock.telemetry.systemd import STATUS_SECONDS

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "penstock.service"


@pytest.fixture
def unit() -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.read_string(UNIT.read_text())
    return parser


def test_systemd_waits_longer_than_the_longest_stop(unit: ConfigParser) -> None:
    hanging_seconds = server._IMMEDIATE_SECONDS + server._KILL_SECONDS
    assert hanging_seconds < 10, "docs/production.md says ten"
    longest = ProcessSettings().shutdown_timeout_seconds + 10
    assert unit.getint("Service", "TimeoutStopSec") > longest


def test_systemd_tries_again_for_as_long_as_the_database_is_away(
    unit: ConfigParser,
) -> None:
    assert unit["Service"]["Restart"] == "on-failure"
    assert unit["Service"]["RestartSec"] == "2"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"


def test_systemd_is_told_of_the_start_and_watches_over_it(unit: ConfigParser) -> None:
    """A start may wait for a migration, a watchdog for two signs of life."""
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["TimeoutStartSec"] == "infinity"
    assert unit.getint("Service", "WatchdogSec") >= 2 * STATUS_SECONDS
    # systemd listens to the process that it has started and to no other by itself:
    # not to a PostgreSQL that was built to tell it something too.
    assert service.get("NotifyAccess", "main") == "main"
