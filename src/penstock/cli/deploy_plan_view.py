"""How a plan is shown: what would be made, changed, replaced and removed.

It owns the words, and that a loss of data cannot be overlooked. It must not ask.
"""

from collections.abc import Sequence

import click
import orjson

from penstock.cli.output import SHOWN_CONTROLS
from penstock.provision.terraform_events import MACHINE, PRECIOUS, Change

_SIGNS = {"create": "+", "update": "~", "replace": "-/+", "delete": "-"}
_VERBS = {
    "create": "to make",
    "update": "to change",
    "replace": "to replace",
    "delete": "to remove",
}


def counts_in_words(changes: Sequence[Change]) -> str:
    """Return how many there are of each kind."""
    counts = {
        verb: sum(each.action == action for each in changes)
        for action, verb in _VERBS.items()
    }
    return ", ".join(f"{n} {verb}" for verb, n in counts.items() if n) or "no changes"


def steps_of(changes: Sequence[Change]) -> int:
    """Return how many steps they take: a replacement is two."""
    return sum(2 if each.action == "replace" else 1 for each in changes)


def print_changes(changes: Sequence[Change], *, err: bool = False) -> None:
    """Print a line for each change."""
    for each in changes:
        why = f"  ({each.reason.replace('_', ' ')})" if each.reason else ""
        line = f"{_SIGNS.get(each.action, each.action):>3} {each.address}{why}"
        click.echo(line.translate(SHOWN_CONTROLS), err=err)


def print_changes_as_json(changes: Sequence[Change]) -> None:
    """Print an object a line."""
    for each in changes:
        record = {
            "address": each.address,
            "type": each.kind,
            "action": each.action,
            "reason": each.reason,
            "loses_data": each.is_data_loss,
        }
        click.echo(orjson.dumps(record))


def print_losses(changes: Sequence[Change]) -> bool:
    """Print loudly what goes away that nobody gets back; return whether data does."""
    losses = [each for each in changes if each.is_data_loss]
    for each in losses:
        verb = "REPLACED" if each.action == "replace" else "REMOVED"
        click.secho(
            f"DATA LOSS: {PRECIOUS[each.kind]} {each.address} would be {verb}, and what"
            " it holds would be gone",
            err=True,
            fg="red",
            bold=True,
        )
    for each in changes:
        if each.kind == MACHINE and each.action == "replace":
            click.secho(
                f"the machine {each.address} would be REPLACED: it takes no logs until"
                " the new one is ready; senders that wait for acks keep theirs",
                err=True,
                fg="yellow",
            )
    return bool(losses)
