"""The systemd unit agrees with what the code and docs/production.md promise."""

import re
from configparser import ConfigParser
from pathlib import Path

import pytest

from penstock.config import all_settings, environment_name
from penstock.embedded import server
from penstock.settings import HttpSettings, PeerLimits, ProcessSettings
from penstock.telemetry.systemd import STATUS_SECONDS

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "penstock.service"


@pytest.fixture
def unit() -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=True)
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


def test_a_reload_is_a_sighup_to_penstock_alone(unit: ConfigParser) -> None:
    assert unit["Service"]["ExecReload"] == "/bin/kill -HUP $MAINPID"


def test_it_may_open_a_file_for_each_connection(unit: ConfigParser) -> None:
    most = PeerLimits().max_connections + HttpSettings().http_max_connections
    assert unit.getint("Service", "LimitNOFILE") > 2 * most


def test_it_has_no_right_that_it_does_not_need(unit: ConfigParser) -> None:
    service = unit["Service"]
    assert service["User"] == "penstock"
    for name in ("CapabilityBoundingSet", "AmbientCapabilities"):
        assert service[name] == "", f"{name} gives some"
    assert service["ProtectSystem"] == "strict"
    assert service["UMask"] == "0077"
    for name in (
        *("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome"),
        *("ProtectKernelModules", "ProtectKernelTunables", "ProtectControlGroups"),
        *("RestrictNamespaces", "RestrictSUIDSGID", "LockPersonality"),
    ):
        assert service.getboolean(name), name


def test_it_can_write_where_it_has_to(unit: ConfigParser) -> None:
    """With ProtectSystem=strict nowhere else."""
    service = unit["Service"]
    data_dir = f"/var/lib/{service['StateDirectory']}"
    assert f"PENSTOCK_DATA_DIR={data_dir}" in UNIT.read_text()
    assert service["StateDirectoryMode"] == "0700"
    assert f"/run/{service['RuntimeDirectory']}/forward.sock" in UNIT.read_text()


def test_it_speaks_ip_and_unix_sockets_only(unit: ConfigParser) -> None:
    """The latter to its PostgreSQL, to systemd, and to senders."""
    families = unit["Service"]["RestrictAddressFamilies"].split()
    assert sorted(families) == ["AF_INET", "AF_INET6", "AF_UNIX"]


def test_the_secrets_that_it_shows_how_to_pass_are_settings() -> None:
    """Each credential's file is what its setting names; none is on by default."""
    text = UNIT.read_text()
    loaded = re.findall(r"^#LoadCredential=(\w+):(\S+)$", text, re.M)
    named = re.findall(r"^#Environment=(\w+)=%d/(\w+)$", text, re.M)
    assert [name for name, _ in loaded] == ["shared_key", "http_token"]
    known = {environment_name(name) for name, _, _ in all_settings()}
    for (credential, _), (variable, file) in zip(loaded, named, strict=True):
        assert file == credential
        assert variable in known
        assert variable == environment_name(f"{credential}_file")
