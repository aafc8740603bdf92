"""`penstock db`: the schema, and the upkeep of its tables."""

import asyncio
import sys
import time
from collections.abc import Callable

import click

from penstock import config
from penstock.cli.database import (
    Command,
    config_file_option,
    database_options,
    found_database,
)
from penstock.cli.server_options import maintenance_options
from penstock.sink.maintenance import maintain
from penstock.sink.maintenance_round import Upkeep
from penstock.sink.migrations import migrate, migration_status
from penstock.sink.roles import make_roles
from penstock.sink.setup import Passwords, set_up


@click.group("db", short_help="Migrate the schema, show its state, maintain it.")
def command() -> None:
    """Bring the database's schema up to date, show what it has, look after it."""


def _password_option(whose: str, does: str) -> Callable[[Command], Command]:
    return click.option(
        f"--{whose}-password-file",
        metavar="FILE",
        required=True,
        help=f"The file that holds the password of {does}.",
    )


@command.command("setup")
@click.option(
    "--database",
    metavar="NAME",
    default="logs",
    show_default=True,
    help="The database to make.",
)
@_password_option("owner", "penstock_owner, whose the tables will be")
@_password_option("writer", "penstock, as which the server stores")
@_password_option("reader", "log_reader, as which people and the API read")
@click.option(
    "--database-url",
    metavar="URL",
    help="Any database of that PostgreSQL, as a superuser or the master user"
    " (PENSTOCK_DATABASE_URL).",
)
@config_file_option
def setup_command(
    database: str,
    owner_password_file: str,
    writer_password_file: str,
    reader_password_file: str,
    database_url: str | None,
    config_file: str | None,
) -> None:
    """Make the roles, the logins and the database that a new PostgreSQL needs.

    Once, as somebody who may make roles and databases, before `penstock db migrate` and
    `penstock db roles` as penstock_owner. To be run again does no harm, and gives the
    logins the passwords that their files hold then.
    """
    url = config.database_url(database_url, config_file)
    if url is None:
        raise click.UsageError(
            "which PostgreSQL? Give --database-url or PENSTOCK_DATABASE_URL; the"
            " embedded one needs no setup"
        )
    passwords = Passwords(
        owner=config.secret_of(owner_password_file, "--owner-password-file"),
        writer=config.secret_of(writer_password_file, "--writer-password-file"),
        reader=config.secret_of(reader_password_file, "--reader-password-file"),
    )
    for line in asyncio.run(set_up(url, database, passwords)):
        click.echo(line)


@command.command("migrate")
@database_options
@config_file_option
def migrate_command(
    database_url: str | None,
    data_dir: str | None,
    config_file: str | None,
) -> None:
    """Apply the migrations that are pending, all or none.

    `up` and `serve` do so themselves, where their login may; this is for those who want
    to do it first, or have a server that may not. Where there is no embedded database
    yet, it is made.
    """
    with found_database(
        database_url, data_dir, create=True, config_file=config_file
    ) as url:
        applied = asyncio.run(migrate(url))
    for migration in applied:
        click.echo(f"applied {migration.version:04} {migration.name}")
    if not applied:
        click.echo("up to date")


@command.command("roles")
@click.option(
    "--writer",
    "writers",
    metavar="LOGIN",
    multiple=True,
    help="A login of servers, to be made a member of penstock_writer.",
)
@click.option(
    "--reader",
    "readers",
    metavar="LOGIN",
    multiple=True,
    help="A login of people, to be made a member of penstock_reader.",
)
@click.option(
    "--asker",
    "askers",
    metavar="LOGIN",
    multiple=True,
    help="A login of people who may `penstock ask`, which costs money: to be made a"
    " member of penstock_asker and penstock_reader.",
)
@database_options
@config_file_option
def roles_command(
    writers: tuple[str, ...],
    readers: tuple[str, ...],
    askers: tuple[str, ...],
    database_url: str | None,
    data_dir: str | None,
    config_file: str | None,
) -> None:
    """Make the roles penstock_writer and penstock_reader, and grant what each needs.

    A server whose login is a member of penstock_writer can store logs, and neither read
    nor change those that are stored. To be run as the owner of the tables, who may make
    roles (CREATEROLE) or finds them made; as often as you like. `up` does so itself.
    """
    is_ours = config.database_url(database_url, config_file) is None
    with found_database(database_url, data_dir, config_file=config_file) as url:
        report = asyncio.run(
            make_roles(
                url,
                writers=writers,
                readers=readers,
                askers=askers,
                is_ours=is_ours,
            )
        )
    for line in report.done:
        click.echo(line)
    for advice in report.advice:
        click.echo(f"penstock: {advice}", err=True)


@command.command("status")
@database_options
@config_file_option
def status_command(
    database_url: str | None,
    data_dir: str | None,
    config_file: str | None,
) -> None:
    """Show each migration and when it was applied."""
    with found_database(database_url, data_dir, config_file=config_file) as url:
        statuses = asyncio.run(migration_status(url))
    for status in statuses:
        when = f"{status.applied_at:%Y-%m-%d %H:%M:%S %Z}" if status.applied_at else ""
        click.echo(f"{status.version:04} {status.name:24} {when or 'pending'}")


@command.command("maintain")
@database_options
@click.option("--dry-run", is_flag=True, help="Say what would be done; do nothing.")
@maintenance_options
def maintain_command(
    database_url: str | None,
    data_dir: str | None,
    dry_run: bool,
    **flags: str | None,
) -> None:
    """Make days ahead, drop what is too old, seal days that are closed.

    `up` and `serve` do so themselves every few minutes, where their login may; this is
    for those who want it done now, or by cron, as the owner of the tables. Several at
    once do no harm: one does it.
    """
    config_file = flags[config.CONFIG_FILE]
    with found_database(database_url, data_dir, config_file=config_file) as url:
        settings = config.load_settings(url, flags, ("partitions", "maintenance"))
        report = asyncio.run(
            maintain(
                url,
                Upkeep(settings.partitions, settings.maintenance),
                now_seconds=time.time(),
                is_dry_run=dry_run,
            )
        )
    for line in report.lines():
        click.echo(line)
    for failure in report.failures:
        click.echo(f"penstock: {failure}", err=True)
    sys.exit(1 if report.failures else 0)
