"""`penstock backup schedule`: what makes backups every night, printed or installed."""

import sys
from dataclasses import fields
from datetime import datetime, time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

from penstock import config
from penstock.backup.schedule import (
    ENVIRONMENT_FILE,
    WEEKDAYS,
    Schedule,
    compose_of,
    crontab_of,
    units_of,
)
from penstock.backup.schedule_install import Systemd, install, steps_of
from penstock.backup.stores import check_url, is_s3
from penstock.cli.backup_options import backup_settings, store_options
from penstock.cli.database import database_options
from penstock.config import environment_name
from penstock.settings import BackupSettings

# As deploy/systemd/penstock.service has it.
USER = "penstock"
DATA_DIR = "/var/lib/penstock"


class _TimeOfDay(click.ParamType[time]):
    """A time such as 02:15."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> time:
        if isinstance(value, time):
            return value
        try:
            return datetime.strptime(str(value), "%H:%M").time()
        except ValueError:
            self.fail(f"{value!r} is no time of day, such as 02:15", param, ctx)


@click.command("schedule", short_help="Print, or install, what runs them every night.")
@click.option(
    "--for",
    "form",
    type=click.Choice(["systemd", "compose", "cron"]),
    default="systemd",
    show_default=True,
    help="What runs it.",
)
@click.option(
    "--at",
    type=_TimeOfDay(),
    metavar="HH:MM",
    default="02:15",
    show_default=True,
    help="When a backup is made: of the machine's time, for compose of UTC.",
)
@click.option(
    "--verify-on",
    type=click.Choice(WEEKDAYS),
    default="Sun",
    show_default=True,
    help="On which day of the week the newest is verified, 150 minutes later.",
)
@click.option(
    "--base-on",
    type=click.Choice(WEEKDAYS),
    help="On which day a base backup is made too, 5 h later; none without it.",
)
@click.option(
    "--user", default=USER, show_default=True, help="Who runs it (systemd, cron)."
)
@click.option("--install", "installs", is_flag=True, help="Write and enable the units.")
@click.option("--dry-run", is_flag=True, help="With --install: say what it would do.")
@database_options
@store_options
def command(
    form: str,
    at: time,
    verify_on: str,
    base_on: str | None,
    user: str,
    installs: bool,
    dry_run: bool,
    database_url: str | None,
    data_dir: str | None,
    store: str | None,
    config_file: str | None,
) -> None:
    """Print what makes a backup every night, prunes after it, and verifies weekly.

    By default units of systemd, which --install writes and enables. --for compose
    prints a service, --for cron a file for /etc/cron.d. The settings of backups that
    are in force now go along; secrets do not: PENSTOCK_DATABASE_URL, where there is
    one, and AWS_..., where the machine has no role, belong into /etc/penstock.env, or
    into the environment that compose reads.
    """
    if dry_run and not installs:
        raise click.UsageError("--dry-run goes with --install")
    if installs and form != "systemd":
        raise click.UsageError("--install is for systemd; the others are printed")
    settings = backup_settings(store, config_file)
    check_url(settings.backup_store)
    if base_on and not is_s3(settings.backup_store):
        raise click.UsageError("--base-on: base backups go to s3:// only")
    url = config.database_url(database_url, config_file)
    schedule = Schedule(
        program=_program(),
        user=user,
        environment=_environment(settings, form, url, data_dir, config_file),
        writable=_writable(settings, form, url, data_dir, config_file),
        at=at,
        verify_on=verify_on,
        base_on=base_on or "",
    )
    if form == "compose":
        click.echo(compose_of(schedule), nl=False)
        return
    if url is not None:
        click.echo(
            f"penstock: put PENSTOCK_DATABASE_URL into {ENVIRONMENT_FILE}: it is no"
            " line of a file that everybody may read",
            err=True,
        )
    if form == "cron":
        click.echo(crontab_of(schedule), nl=False)
        return
    units = units_of(schedule)
    if installs and not dry_run:
        _install(units, schedule)
        return
    for name, text in units.items():
        click.echo(f"# {Systemd().unit_dir / name}\n{text}")
    if dry_run:
        for step in steps_of(units, Systemd()):
            click.echo(f"would {step}", err=True)


def _install(units: dict[str, str], schedule: Schedule) -> None:
    for file in install(units, schedule.user, Systemd(), schedule.writable):
        click.echo(f"wrote {file}", err=True)
    click.echo("enabled; systemctl list-timers 'penstock-backup*' shows when", err=True)


def _program() -> str:
    """Return the program that runs now, as a service finds it."""
    beside = Path(sys.executable).with_name("penstock")
    called = Path(sys.argv[0]).absolute()
    return str(called if called.name == "penstock" else beside)


def _environment(
    settings: BackupSettings,
    form: str,
    url: str | None,
    data_dir: str | None,
    config_file: str | None,
) -> dict[str, str]:
    """Return the settings of backups that are not as by default."""
    found = {
        environment_name(each.name): str(value)
        for each in fields(BackupSettings)
        if (value := getattr(settings, each.name)) != each.default
    }
    if form == "compose":
        return found
    if named := config.config_file_name({config.CONFIG_FILE: config_file}):
        found[environment_name("config")] = str(Path(named).absolute())
    if url is None:
        found[environment_name("data_dir")] = _data_dir(data_dir, config_file)
    return found


def _data_dir(data_dir: str | None, config_file: str | None) -> str:
    given = config.data_dir(data_dir, config_file)
    return DATA_DIR if given is None else str(given.absolute())


def _writable(
    settings: BackupSettings,
    form: str,
    url: str | None,
    data_dir: str | None,
    config_file: str | None,
) -> tuple[str, ...]:
    """Return the directories that a service has to be let to write to."""
    found = []
    store = urlsplit(settings.backup_store)
    if store.scheme == "file":
        found.append(unquote(store.path))
    if settings.backup_metrics_file:
        found.append(str(Path(settings.backup_metrics_file).absolute().parent))
    if form != "compose" and url is None:
        found.append(_data_dir(data_dir, config_file))
    return tuple(dict.fromkeys(found))
