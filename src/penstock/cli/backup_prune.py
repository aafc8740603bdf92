"""`penstock backup prune`: which backups stay, and the removal of the others."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
import msgspec

from penstock.backup import metrics_file
from penstock.backup.latest import ahead_in_words
from penstock.backup.lock import store_lock
from penstock.backup.manifest import MANIFESTS
from penstock.backup.prune import LEFTOVER_SECONDS, Plan, carry_out, plan_prune
from penstock.backup.retention import Rules
from penstock.backup.store import Store
from penstock.backup.stores import open_store
from penstock.cli.backup_options import backup_settings, quiet_option, store_options
from penstock.cli.backup_view import output_option
from penstock.cli.output import print_problem, print_table
from penstock.cli.signals import stop_signals_interrupting
from penstock.config import flag_name
from penstock.settings import BackupSettings
from penstock.sink.maintenance_report import size_in_words

Command = TypeVar("Command", bound=Callable[..., Any])

COLUMNS = ("backup", "made", "stays", "why")
NO_RULE = "no rule keeps it"


def _keep_option(rule: str, periods: str) -> Callable[[Command], Command]:
    """Return the option of a rule: its setting's flag, and a shorter one."""
    setting = f"backup_keep_{rule}"
    return click.option(
        f"--keep-{rule}",
        flag_name(setting),
        setting,
        metavar="N",
        help=f"Keep the last backup of each of N {periods}.",
    )


@click.command("prune", short_help="Remove old backups, by rules.")
@_keep_option("daily", "days")
@_keep_option("weekly", "weeks")
@_keep_option("monthly", "months")
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
@output_option
@quiet_option
@store_options
def command(
    dry_run: bool,
    output: str,
    quiet: bool,
    store: str | None,
    config_file: str | None,
    **flags: str | None,
) -> None:
    """Remove backups that no rule keeps, and what only they needed.

    A backup stays if it is the last one of one of the last N days, weeks or months
    that have any, in UTC. By default N is 7, 5 and 12: the settings
    backup_keep_daily, backup_keep_weekly, backup_keep_monthly. The newest
    always stays. A part that a staying backup refers to is never removed, whoever
    dumped it. What was begun more than a day ago and never ended goes as well.

    Nothing is removed where a manifest cannot be read. A prune that is ended half way
    has hurt nothing; the next one goes on.
    """
    settings = backup_settings(store, config_file, **flags)
    place = open_store(
        settings.backup_store,
        sse=settings.backup_sse,
        kms_key_id=settings.backup_sse_kms_key_id,
    )
    if dry_run:
        _print_plan(_plan(place, settings), output, "would be removed", quiet=quiet)
        return
    with (
        metrics_file.telling_failure(settings.backup_metrics_file, "prune"),
        stop_signals_interrupting(),
    ):
        next(place.entries(MANIFESTS), None)  # the lock would make a store of a typo
        with store_lock(place, "prune") as lock:
            plan = _plan(place, settings)
            carry_out(place, plan, lock.check)
    _print_plan(plan, output, "removed", quiet=quiet)
    metrics_file.pruned(settings.backup_metrics_file, plan.staying)


def _plan(place: Store, settings: BackupSettings) -> Plan:
    rules = Rules(
        settings.backup_keep_daily,
        settings.backup_keep_weekly,
        settings.backup_keep_monthly,
    )
    return plan_prune(place, rules, datetime.now(UTC))


def _print_plan(plan: Plan, output: str, done: str, *, quiet: bool) -> None:
    if output == "json":
        for each in plan.decisions:
            record = {
                "id": each.manifest.id,
                "created_at": each.manifest.created_at,
                "stays": bool(each.reasons),
                "reasons": each.reasons,
            }
            click.echo(msgspec.json.encode(record))
    else:
        rows = [
            (
                each.manifest.id,
                f"{each.manifest.created_at.astimezone(UTC):%Y-%m-%d %H:%M}Z",
                "yes" if each.reasons else "no",
                ", ".join(each.reasons) or NO_RULE,
            )
            for each in plan.decisions
        ]
        print_table(COLUMNS, rows, quiet=quiet, has_ids=True)
    now = datetime.now(UTC)
    for manifest in plan.staying:
        if warning := ahead_in_words(manifest, (), now):
            print_problem(warning)
    if not quiet:
        click.echo(_summary(plan, done), err=True)


def _summary(plan: Plan, done: str) -> str:
    hours = LEFTOVER_SECONDS / 3600
    counts = [
        (len(plan.going), "backup"),
        (len(plan.parts), "part"),
        (len(plan.leftovers), f"object of no backup, older than {hours:g} h"),
        (len(plan.unfinished), f"upload that never ended, older than {hours:g} h"),
    ]
    words = [f"{count:,} x {what}" for count, what in counts if count]
    if not words:
        return f"nothing {done}" if plan.decisions else "there is no backup"
    freed = size_in_words(plan.freed_bytes)
    return f"{done}: {', '.join(words)}; {freed}"
