"""`penstock backup show`: a backup, its parts, and whether their objects are there."""

import sys
from datetime import UTC, datetime

import click

from penstock.backup.catalogue import (
    LATEST,
    PartObject,
    Verified,
    objects_of,
    read_verified,
)
from penstock.backup.manifest import Manifest
from penstock.backup.stores import open_store
from penstock.cli.backup_choice import chosen_backup
from penstock.cli.backup_options import backup_settings, store_options
from penstock.cli.backup_view import (
    PART_COLUMNS,
    as_json,
    created_in_words,
    duration_in_words,
    output_option,
    part_row,
    verified_in_words,
)
from penstock.cli.output import print_problem, print_table
from penstock.sink.maintenance_report import size_in_words


@click.command("show", short_help="Show a backup and its parts.")
@click.argument("backup_id", metavar="ID|latest", default=LATEST)
@output_option
@store_options
def command(
    backup_id: str, output: str, store: str | None, config_file: str | None
) -> None:
    """Show a backup: what made it, what is in it, and whether all of it is there.

    Each part's object is looked for, and its size compared; what is in it only
    `penstock backup verify` tells. Where one is missing the exit code is 1.
    With -o json `objects` has the size that was found of each, or null.
    """
    settings = backup_settings(store, config_file)
    place = open_store(settings.backup_store)
    manifest = chosen_backup(place, backup_id)
    objects = list(objects_of(place, manifest))
    verified = read_verified(place).get(manifest.id)
    problems = [each.problem for each in objects if each.problem]
    if output == "json":
        sizes = {each.part.key: each.found_bytes for each in objects}
        click.echo(as_json(manifest, verified, objects=sizes, problems=problems))
    else:
        _print_facts(manifest, verified)
        print_table(PART_COLUMNS, [part_row(each) for each in _in_order(objects)])
    for problem in problems:
        print_problem(problem)
    if verified is not None:
        for problem in verified.problems:
            print_problem(f"when verified: {problem}")
    sys.exit(1 if problems else 0)


def _in_order(objects: list[PartObject]) -> list[PartObject]:
    """Return the days as they come, and what is no day before them."""
    return sorted(objects, key=lambda each: (each.part.day or "", each.part.table))


def _print_facts(manifest: Manifest, verified: Verified | None) -> None:
    now = datetime.now(UTC)
    age = created_in_words(manifest, now)
    others = ", ".join(
        f"{rows:,} of {name}" for name, rows in manifest.other_rows.items() if rows
    )
    facts = {
        "backup": manifest.id,
        "of": f"{manifest.created_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z, {age}",
        "took": duration_in_words(manifest.duration_seconds),
        "rows": f"{manifest.rows:,} of logs" + (f", {others}" if others else ""),
        "size": f"{size_in_words(manifest.size_bytes)}, of which its own"
        f" {size_in_words(manifest.own_bytes)}",
        "database": f"{manifest.database}, schema {manifest.schema_version}, PostgreSQL"
        f" {manifest.server_version}",
        "made by": f"Penstock {manifest.penstock_version}, pg_dump"
        f" {manifest.pg_dump_version}",
        "roles": ", ".join(manifest.roles),
        "verified": verified_in_words(verified, now),
    }
    for name, text in facts.items():
        if text:
            click.echo(f"{name:<9} {text}")
