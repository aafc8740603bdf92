"""What Terraform says with -json, line by line, as values: changes, steps, diagnostics.

It owns the reading of Terraform's "machine-readable UI" (developer.hashicorp.com,
Terraform CLI, Internals) and what in a plan would lose data. It is pure: it starts
nothing, prints nothing.
"""

import re
from typing import Any, Final, NamedTuple

import orjson

# Whose loss is the loss of logs, backups or passwords, in words.
PRECIOUS: Final = {
    "aws_ebs_volume": "the data volume",
    "aws_db_instance": "the database",
    "aws_s3_bucket": "the bucket",
    "aws_secretsmanager_secret": "the secret with all passwords",
}
MACHINE: Final = "aws_instance"
_LOCKED: Final = "Error acquiring the state lock"
_NO_CHANGE: Final = {"noop", "read", "move", "import", "forget", "remove"}


class Change(NamedTuple):
    """What is planned for one resource."""

    address: str
    kind: str
    action: str  # create, update, delete, replace
    reason: str = ""

    @property
    def is_loss(self) -> bool:
        """Return whether what is there goes away."""
        return self.action in ("delete", "replace")

    @property
    def is_data_loss(self) -> bool:
        """Return whether data goes away with it."""
        return self.is_loss and self.kind in PRECIOUS


class Step(NamedTuple):
    """One resource begins, goes on, is done or has failed."""

    phase: str  # start, progress, complete, errored
    address: str
    action: str
    seconds: float = 0


class Refreshed(NamedTuple):
    """What is there of a resource is asked for (start) or known (complete)."""

    address: str


class Summary(NamedTuple):
    """How many are, or would be, added, changed and removed."""

    operation: str
    add: int
    change: int
    remove: int

    @property
    def total(self) -> int:
        """Return the number of steps."""
        return self.add + self.change + self.remove


class Diagnostic(NamedTuple):
    """An error or a warning, in Terraform's words."""

    severity: str
    summary: str
    detail: str = ""
    where: str = ""

    @property
    def is_error(self) -> bool:
        """Return whether the run fails for it."""
        return self.severity == "error"


class Words(NamedTuple):
    """What else Terraform says; `is_json` tells its own lines from stray ones."""

    text: str
    is_json: bool = True


Event = Change | Step | Refreshed | Summary | Diagnostic | Words


class Lock(NamedTuple):
    """Who holds the state, and since when."""

    who: str
    operation: str
    created: str
    id: str


def parse_line(line: bytes) -> Event | None:
    """Return what a line says, or None for what nobody needs to know.

    A line that is no JSON is returned as it is: Terraform has some that come before
    it knows that it was asked for JSON.
    """
    text = plain(line).strip()
    if not text:
        return None
    try:
        told = orjson.loads(text)
    except orjson.JSONDecodeError:
        return Words(text, is_json=False)
    if not isinstance(told, dict):
        return Words(text, is_json=False)
    return _event(told)


def plain(said: bytes) -> str:
    """Return text without its colours, which -json does not take from all of it."""
    return re.sub(r"\x1b\[[0-9;]*m", "", said.decode(errors="replace"))


def _event(told: dict[str, Any]) -> Event | None:
    kind = str(told.get("type", ""))
    if kind == "planned_change":
        return _change(told.get("change", {}))
    if kind == "change_summary":
        changes = told.get("changes", {})
        counts = (int(changes.get(each, 0)) for each in ("add", "change", "remove"))
        return Summary(str(changes.get("operation", "")), *counts)
    if kind == "diagnostic":
        return _diagnostic(told.get("diagnostic", {}))
    if kind.startswith("apply_"):
        hook = told.get("hook", {})
        address = str(hook.get("resource", {}).get("addr", ""))
        return Step(
            kind.removeprefix("apply_"),
            address,
            str(hook.get("action", "")),
            float(hook.get("elapsed_seconds", 0)),
        )
    if kind == "refresh_complete":
        resource = told.get("hook", {}).get("resource", {})
        return Refreshed(str(resource.get("addr", "")))
    if kind in ("init_output", "log"):
        return Words(str(told.get("@message", "")))
    return None


def _change(change: dict[str, Any]) -> Change | None:
    action = str(change.get("action", ""))
    if action in _NO_CHANGE:
        return None
    resource = change.get("resource", {})
    return Change(
        str(resource.get("addr", "")),
        str(resource.get("resource_type", "")),
        action,
        str(change.get("reason", "")),
    )


def _diagnostic(found: dict[str, Any]) -> Diagnostic:
    place = found.get("range") or {}
    line = (place.get("start") or {}).get("line")
    file = str(place.get("filename", ""))
    where = f"{file}:{line}" if file and line else file
    # The resource that is at fault says more than the line that it was written in.
    where = str(found.get("address") or where)
    return Diagnostic(
        str(found.get("severity", "error")),
        " ".join(str(found.get("summary", "")).split()),
        str(found.get("detail", "")).strip(),
        where,
    )


def lock_in(diagnostic: Diagnostic) -> Lock | None:
    """Return who holds the state, where that is why Terraform could not begin."""
    if diagnostic.summary != _LOCKED:
        return None
    found = dict(re.findall(r"^\s*(\w+):[ \t]+(.*?)\s*$", diagnostic.detail, re.M))
    return Lock(
        found.get("Who", "somebody"),
        found.get("Operation", "").removeprefix("OperationType").lower(),
        found.get("Created", "").partition(".")[0],
        found.get("ID", ""),
    )
