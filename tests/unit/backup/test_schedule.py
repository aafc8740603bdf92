"""What makes backups every night: units, a service of compose, lines of cron."""

import re
import subprocess
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.backup.schedule import (
    BASE_KEEP_DAYS,
    SCRATCH,
    Schedule,
    compose_of,
    crontab_of,
    shell_loop,
    units_of,
)
from penstock.cli.backup_base import command as base_command
from penstock.cli.backup_verify import command as verify_command
from penstock.config import environment_name
from penstock.errors import SettingsError

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
PROGRAM = "/opt/penstock/.venv/bin/penstock"
STORE = "s3://logs-backup/penstock"
SCHEDULE = Schedule(
    program=PROGRAM,
    user="penstock",
    environment={"PENSTOCK_BACKUP_STORE": STORE},
    writable=("/var/lib/penstock",),
)
NOON = 1_795_953_600  # 2026-11-29 12:00 UTC
ODD = """it's 100% "odd" \\ $HOME"""


class Unit:
    """A unit: the values of each name, by section."""

    def __init__(self, text: str) -> None:
        self._values: dict[tuple[str, str], list[str]] = {}
        section = ""
        for line in text.splitlines():
            name, is_value, value = line.partition("=")
            if line.startswith("["):
                section = line.strip("[]")
            elif is_value and not line.startswith("#"):
                self._values.setdefault((section, name), []).append(value)

    def all_of(self, section: str, name: str) -> list[str]:
        """Return the values, in their order."""
        return self._values.get((section, name), [])

    def only(self, section: str, name: str) -> str:
        """Return the value of what stands once."""
        (value,) = self.all_of(section, name)
        return value

    def names(self, section: str) -> list[str]:
        return [name for each, name in self._values if each == section]


def units(schedule: Schedule = SCHEDULE) -> dict[str, Unit]:
    return {name: Unit(text) for name, text in units_of(schedule).items()}


def test_a_backup_is_made_every_night_and_then_old_ones_go() -> None:
    """Of a oneshot the second is run if the first has succeeded."""
    service = units()["penstock-backup.service"]
    assert service.only("Service", "Type") == "oneshot"
    commands = [f"{PROGRAM} backup create", f"{PROGRAM} backup prune"]
    assert service.all_of("Service", "ExecStart") == commands
    assert (
        units()["penstock-backup.timer"].only("Timer", "OnCalendar") == "*-*-* 02:15:00"
    )


def test_the_newest_is_verified_every_week() -> None:
    service = units()["penstock-backup-verify.service"]
    run = f"{PROGRAM} backup verify --last --scratch-dir {SCRATCH}"
    assert service.only("Service", "ExecStart") == run
    assert f"/var/cache/{service.only('Service', 'CacheDirectory')}" == SCRATCH
    options = {option for each in verify_command.params for option in each.opts}
    assert {"--last", "--scratch-dir"} <= options
    timer = units()["penstock-backup-verify.timer"]
    assert timer.only("Timer", "OnCalendar") == "Sun *-*-* 04:45:00"
    late = SCHEDULE._replace(at=time(23, 0), verify_on="Wed")
    timer = units(late)["penstock-backup-verify.timer"]
    assert timer.only("Timer", "OnCalendar") == "Wed *-*-* 01:30:00"


def test_base_backups_are_made_where_they_are_asked_for() -> None:
    assert not [name for name in units() if "base" in name]
    asked = SCHEDULE._replace(base_on="Sat")
    found = units(asked)
    service = found["penstock-backup-base.service"]
    run = f"{PROGRAM} backup base --keep-days {BASE_KEEP_DAYS}"
    assert service.only("Service", "ExecStart") == run
    timer = found["penstock-backup-base.timer"]
    assert timer.only("Timer", "OnCalendar") == "Sat *-*-* 07:15:00"
    assert "--keep-days" in {o for each in base_command.params for o in each.opts}
    *_, line = cron_lines(crontab_of(asked))
    assert line.startswith("15 7 * * 6 penstock ")
    assert line.endswith(f"{run} --quiet >/dev/null")
    with pytest.raises(SettingsError, match="cannot copy its files"):
        compose_of(asked)


def test_a_night_that_was_missed_is_made_up_for_and_not_by_all_at_once() -> None:
    timers = {name: unit for name, unit in units().items() if name.endswith("timer")}
    assert len(timers) == 2
    for unit in timers.values():
        assert unit.only("Timer", "Persistent") == "true"
        assert unit.only("Timer", "RandomizedDelaySec")
        assert unit.only("Install", "WantedBy") == "timers.target"


def test_the_services_are_as_hardened_as_the_servers_own() -> None:
    own = Unit((DEPLOY / "systemd" / "penstock.service").read_text())
    names = own.names("Service")
    hardened = names[names.index("UMask") :]
    assert len(hardened) > 20
    for name, unit in units().items():
        if name.endswith(".service"):
            for each in hardened:
                assert unit.only("Service", each) == own.only("Service", each), name


def test_a_service_writes_where_it_has_to_and_waits_for_its_disk() -> None:
    more = SCHEDULE._replace(writable=("/srv/backups", "/var/lib/penstock"))
    unit = units(more)["penstock-backup.service"]
    assert unit.only("Service", "ReadWritePaths") == "/srv/backups /var/lib/penstock"
    assert unit.only("Unit", "RequiresMountsFor") == "/srv/backups /var/lib/penstock"
    # StateDirectory= would give the server's directory to another user.
    assert "StateDirectory" not in unit.names("Service")


def test_systemd_takes_the_units_as_they_are(tmp_path: Path) -> None:
    """`systemd-analyze verify` where it is; elsewhere the others have to do."""
    environment = {"PENSTOCK_BACKUP_STORE": STORE, "PENSTOCK_CONFIG": f"/etc/{ODD}"}
    odd = SCHEDULE._replace(program="/bin/true", environment=environment, base_on="Sat")
    files = []
    for name, text in units_of(odd).items():
        files.append(tmp_path / name)
        files[-1].write_text(text)
    try:
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *files],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert ours == []
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a=b/c:d", "a=b/c:d"),
        ("50%", "50%%"),
        ("a b", '"a b"'),
        (ODD, '"it\'s 100%% \\"odd\\" \\\\ $HOME"'),
    ],
)
def test_a_setting_in_a_unit_is_one_word(text: str, word: str) -> None:
    odd = SCHEDULE._replace(environment={"PENSTOCK_X": text})
    value = units(odd)["penstock-backup.service"].only("Service", "Environment")
    assert value in (f"PENSTOCK_X={word}", f'"PENSTOCK_X={word.strip(chr(34))}"')


@pytest.mark.parametrize("form", [units_of, crontab_of, compose_of])
def test_what_would_end_a_line_is_refused(form: Any) -> None:
    odd = SCHEDULE._replace(environment={"PENSTOCK_X": "a\nExecStart=/bin/sh"})
    with pytest.raises(SettingsError, match="no unit can hold"):
        form(odd)


# --- cron


def cron_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if re.match(r"\d", line)]


@dataclass
class Stubs:
    """Programs that write down how they were called, in place of the real ones."""

    directory: Path

    def add(self, name: str, script: str) -> Path:
        path = self.directory / name
        path.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {self.directory}/log\n{script}\n'
        )
        path.chmod(0o755)
        return path

    def add_clock(self, day_of_week: int) -> None:
        """Let it be noon for ever; the second sleep ends who sleeps."""
        twice = f"[ $(grep -c sleep {self.directory}/log) -lt 2 ] || kill $PPID"
        self.add("sleep", twice)
        self.add("date", f"[ $1 = -u ] && echo {day_of_week} || echo {NOON}")

    def run(self, script: str) -> list[str]:
        """Run a script as sh does, and return what was called."""
        subprocess.run(
            ["sh", "-c", script],
            env={"PATH": f"{self.directory}:/usr/bin:/bin"},
            check=False,
            timeout=30,
        )
        log = self.directory / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def stubs(tmp_path: Path) -> Stubs:
    return Stubs(tmp_path)


def test_cron_makes_a_backup_prunes_after_it_and_verifies(stubs: Stubs) -> None:
    program = stubs.add("penstock", "")
    text = crontab_of(SCHEDULE._replace(program=str(program)))
    night, week = cron_lines(text)
    assert night.startswith("15 2 * * * penstock ")
    assert week.startswith("45 4 * * 0 penstock ")
    assert f"PENSTOCK_BACKUP_STORE={STORE}\n" in text
    commands = [line.split(" penstock ", 1)[1] for line in (night, week)]
    create, prune = (f"penstock backup {each} --quiet" for each in ("create", "prune"))
    assert stubs.run(commands[0]) == [create, prune]
    assert stubs.run(commands[1]) == ["penstock backup verify --last --quiet"]
    stubs.add("penstock", "exit 3")
    assert stubs.run(commands[0]) == [create]


def test_cron_is_given_no_percent_sign_that_ends_a_command() -> None:
    odd = SCHEDULE._replace(program="/opt/100%/penstock")
    assert all("100\\%/" in line for line in cron_lines(crontab_of(odd)))


# --- compose


def service() -> dict[str, Any]:
    composed = yaml.safe_load(compose_of(SCHEDULE._replace(writable=("/srv/b",))))
    assert set(composed) == {"services", "volumes"}
    (only,) = composed["services"].values()
    assert isinstance(only, dict)
    return only


def test_composes_service_is_yaml_with_no_secret_in_it() -> None:
    found = service()
    environment = found["environment"]
    assert environment["PENSTOCK_BACKUP_STORE"] == STORE
    assert environment["PENSTOCK_DATABASE_URL"].startswith("${PENSTOCK_DATABASE_URL:?")
    passed_on = [name for name, value in environment.items() if value is None]
    assert "AWS_SECRET_ACCESS_KEY" in passed_on
    assert found["cap_drop"] == ["ALL"]
    assert found["init"] is True
    assert "/srv/b:/srv/b" in found["volumes"]
    assert environment_name("backup_store") in environment


def test_a_dollar_stays_one_in_compose() -> None:
    odd = SCHEDULE._replace(environment={"PENSTOCK_X": ODD})
    composed = yaml.safe_load(compose_of(odd))
    (found,) = composed["services"].values()
    assert found["environment"]["PENSTOCK_X"].replace("$$", "$") == ODD


@pytest.mark.parametrize(("day", "verifies"), [(0, True), (1, False)])
def test_composes_shell_sleeps_until_it_is_time(
    stubs: Stubs, day: int, verifies: bool
) -> None:
    stubs.add("penstock", "")
    stubs.add_clock(day)
    script = service()["entrypoint"][2].replace("$$", "$")
    assert script == shell_loop(SCHEDULE)
    called = [line for line in stubs.run(script) if not line.startswith("date")]
    until = 12 * 3600 + 2 * 3600 + 15 * 60
    verify = ["penstock backup verify --last --scratch-dir /scratch"] * verifies
    night = ["penstock backup create", "penstock backup prune", *verify]
    assert called == [f"sleep {until}", *night, f"sleep {until}"]


def test_composes_shell_prunes_nothing_after_a_backup_that_failed(stubs: Stubs) -> None:
    stubs.add("penstock", "exit 1")
    stubs.add_clock(1)
    called = stubs.run(shell_loop(SCHEDULE))
    assert "penstock backup create" in called
    assert "penstock backup prune" not in called


def test_composes_shell_ends_what_it_has_started(stubs: Stubs, tmp_path: Path) -> None:
    """SIGTERM goes to the shell alone; an upload has to be taken back."""
    stubs.add("sleep", "")
    ended = tmp_path / "ended"
    body = f"trap 'echo x > {ended}; exit 130' TERM; kill $PPID; while :; do :; done"
    stubs.add("penstock", body)
    stubs.run(shell_loop(SCHEDULE))
    assert ended.read_text() == "x\n"
