"""`penstock db`: the schema."""

import asyncio

import click

from penstock.cli.database import database_options, found_database
from penstock.sink.migrations import migrate, migration_status


@click.group("db", short_help="Migrate the schema, or show its state.")
def command() -> None:
    """Bring the database's schema up to date, or show what it has."""


@command.command("migrate")
@database_options
def migrate_command(database_url: str | None, data_dir: str | None) -> None:
    """Apply the migrations that are pending, all or none.

    `up` and `serve` do so themselves; this is for those who want to do it first.
    Where there is no embedded database yet, it is made.
    """
    with found_database(database_url, data_dir, create=True) as url:
        applied = asyncio.run(migrate(url))
    for migration in applied:
        click.echo(f"applied {migration.version:04} {migration.name}")
    if not applied:
        click.echo("up to date")


@command.command("status")
@database_options
def status_command(database_url: str | None, data_dir: str | None) -> None:
    """Show each migration and when it was applied."""
    with found_database(database_url, data_dir) as url:
        statuses = asyncio.run(migration_status(url))
    for status in statuses:
        when = f"{status.applied_at:%Y-%m-%d %H:%M:%S %Z}" if status.applied_at else ""
        click.echo(f"{status.version:04} {status.name:24} {when or 'pending'}")
