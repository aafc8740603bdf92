"""Units are put where systemd finds them, or one line says why not."""

import os
import pwd
from pathlib import Path

import pytest

from penstock.backup.schedule import Schedule, units_of
from penstock.backup.schedule_install import Systemd, install, steps_of
from penstock.errors import BackupError, UnavailableError

ME = pwd.getpwuid(os.getuid()).pw_name
UNITS = units_of(
    Schedule(
        program="/bin/true",
        user=ME,
        environment={"PENSTOCK_BACKUP_STORE": "s3://logs-backup"},
    )
)


@pytest.fixture
def systemd(tmp_path: Path) -> Systemd:
    """A machine that systemd runs, and a systemctl that writes down what it is told."""
    for name in ("units", "running"):
        (tmp_path / name).mkdir()
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\n')
    systemctl.chmod(0o755)
    return Systemd(tmp_path / "units", tmp_path / "running", str(systemctl))


def calls(systemd: Systemd) -> list[str]:
    file = Path(systemd.systemctl).with_name("calls")
    return file.read_text().splitlines() if file.exists() else []


def test_the_units_are_written_and_the_timers_enabled(systemd: Systemd) -> None:
    written = install(UNITS, ME, systemd)
    assert {each.name: each.read_text() for each in written} == UNITS
    assert sorted(systemd.unit_dir.iterdir()) == sorted(written)
    assert all(each.stat().st_mode & 0o777 == 0o644 for each in written)
    timers = "penstock-backup.timer penstock-backup-verify.timer"
    assert calls(systemd) == ["daemon-reload", f"enable --now {timers}"]


def test_what_is_there_already_is_left_alone(systemd: Systemd) -> None:
    install(UNITS, ME, systemd)
    assert install(UNITS, ME, systemd) == []
    later = {**UNITS, "penstock-backup.timer": UNITS["penstock-backup.timer"] + "#\n"}
    (file,) = install(later, ME, systemd)
    assert file.name == "penstock-backup.timer"
    assert file.read_text().endswith("#\n")


def test_a_dry_run_says_each_step(systemd: Systemd) -> None:
    steps = steps_of(UNITS, systemd)
    assert steps[0] == f"write {systemd.unit_dir}/penstock-backup.service"
    assert len(steps) == 6
    assert steps[4].endswith(" daemon-reload")
    assert list(systemd.unit_dir.iterdir()) == []
    install(UNITS, ME, systemd)
    assert len(steps_of(UNITS, systemd)) == 2


def test_a_unit_of_somebody_elses_is_not_overwritten(systemd: Systemd) -> None:
    theirs = systemd.unit_dir / "penstock-backup.timer"
    theirs.write_text("[Timer]\n")
    with pytest.raises(BackupError, match=r"backup\.timer is somebody else's"):
        install(UNITS, ME, systemd)
    assert theirs.read_text() == "[Timer]\n"
    assert list(systemd.unit_dir.iterdir()) == [theirs]
    assert calls(systemd) == []


def without(systemd: Systemd, what: str) -> tuple[Systemd, str, str]:
    """Return a machine that lacks it, the user, and what is said."""
    match what:
        case "systemd":
            return systemd._replace(running=Path("/nowhere")), ME, "does not run this"
        case "systemctl":
            return systemd._replace(systemctl="/nowhere/systemctl"), ME, "does not run"
        case "rights":
            return systemd._replace(unit_dir=Path("/nowhere")), ME, "run it as root"
    return systemd, "nobody-has-this-name", "there is no user nobody-has-this-name"


@pytest.mark.parametrize("what", ["systemd", "systemctl", "rights", "user"])
def test_where_it_cannot_be_installed_a_line_says_so(
    what: str, systemd: Systemd
) -> None:
    lacking, user, words = without(systemd, what)
    with pytest.raises(UnavailableError, match=words) as refused:
        install(UNITS, user, lacking)
    assert "\n" not in str(refused.value)
    assert list(systemd.unit_dir.iterdir()) == []
    assert calls(systemd) == []


def test_a_directory_that_is_missing_is_told_with_how_to_make_it(
    systemd: Systemd, tmp_path: Path
) -> None:
    missing = tmp_path / "my backups"
    with pytest.raises(UnavailableError) as refused:
        install(UNITS, ME, systemd, [str(tmp_path), str(missing)])
    assert f"install -d -o {ME} -m 700 '{missing}'" in str(refused.value)
    assert calls(systemd) == []


def test_what_systemctl_says_is_passed_on(systemd: Systemd) -> None:
    Path(systemd.systemctl).write_text("#!/bin/sh\necho No such unit >&2\nexit 5\n")
    with pytest.raises(BackupError, match="daemon-reload fails: No such unit"):
        install(UNITS, ME, systemd)
