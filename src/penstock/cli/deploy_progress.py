"""How far Terraform is: a bar on a terminal, a line for each resource elsewhere.

It owns what is said on stderr while it works. It must not start Terraform.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from penstock.cli.output import SHOWN_CONTROLS
from penstock.cli.signals import keep_cleaning_up
from penstock.provision.terraform_events import (
    Change,
    Diagnostic,
    Event,
    Refreshed,
    Step,
    Summary,
    Words,
)

# What Terraform says of a lock file where providers come from a mirror: it is of this
# machine only anyway. And of a removal that keeps data, which it cannot know.
_NO_CONCERN = (
    "Incomplete lock file information",
    "Resource targeting is in effect",
    "Applied changes may be incomplete",
)
_DONE = {
    "create": "created",
    "update": "changed",
    "delete": "removed",
}


class View:
    """Takes Terraform's events; keeps the plan, shows the rest."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._running: dict[str, float] = {}
        self.changes: list[Change] = []
        self.summary: Summary | None = None
        self.done = 0
        self.total = 0
        self._refreshed = 0

    def begin(self, doing: str, total: int = 0) -> None:
        """Say what is begun; `total` steps of it are shown as a bar."""
        self.done, self.total, self._refreshed = 0, total, 0
        self._running.clear()
        self._progress.update(self._task, total=total or None, completed=0)
        self._show(doing)
        if self._progress.disable:
            self.say(doing)

    def told(self, event: Event) -> None:
        """Take an event of Terraform's."""
        match event:
            case Change():
                self.changes.append(event)
            case Summary():
                self.summary = event
            case Step(action=action) if action != "read":
                self._step(event)
            case Refreshed():
                self._refreshed += 1
                self._show(f"{self._refreshed} resources looked at")
            case Diagnostic(summary=summary) if summary.startswith(_NO_CONCERN):
                pass
            case Diagnostic():
                self._diagnose(event)
            case Words(is_json=False):
                self.say(f"terraform: {event.text}")

    def stopping(self) -> None:
        """Say that it has been told to stop, and again to whoever is impatient."""
        keep_cleaning_up(self._say_stopping)
        self._say_stopping()

    def _say_stopping(self) -> None:
        self.say(
            "stopping: Terraform ends the step it is in, writes its state and gives"
            " back its lock; please wait"
        )

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._print(f"penstock: {text}")

    def _step(self, step: Step) -> None:
        if step.phase == "start":
            self._running[step.address] = time.monotonic()
        elif step.phase == "complete":
            self._running.pop(step.address, None)
            self.done += 1
            if self._progress.disable:
                done = _DONE.get(step.action, step.action)
                place = f" {self.done}/{self.total}" if self.total else ""
                self.say(f"{step.address} {done} ({step.seconds:.0f} s){place}")
        elif step.phase == "errored":
            self._running.pop(step.address, None)
        self._progress.update(self._task, completed=self.done)
        self._show(self._current())

    def _current(self) -> str:
        if not self._running:
            return ""
        address = next(reversed(self._running))
        others = len(self._running) - 1
        return address + (f" and {others} more" if others else "")

    def _show(self, current: str) -> None:
        count = f"{self.done}/{self.total}  " if self.total else ""
        self._progress.update(self._task, told=f"{count}{current}")

    def _diagnose(self, found: Diagnostic) -> None:
        kind = "error" if found.is_error else "warning"
        where = f" ({found.where})" if found.where else ""
        self._print(f"{kind}: {found.summary}{where}")
        for line in found.detail.splitlines():
            self._print(f"  {line}" if line.strip() else "")

    def _print(self, text: str) -> None:
        line = text.translate(SHOWN_CONTROLS)
        if self._progress.disable:
            click.echo(line, err=True)
        else:
            self._progress.console.print(
                line, markup=False, highlight=False, soft_wrap=True
            )


@contextmanager
def terraform_view() -> Iterator[View]:
    """Show a bar for the block, on stderr, if that is a terminal."""
    console = Console(stderr=True)
    with Progress(
        BarColumn(),
        TextColumn("{task.fields[told]}", markup=False),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as progress:
        yield View(progress, progress.add_task("", total=None, told=""))
