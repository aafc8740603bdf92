"""Terraform, run as a program: found, asked for its version, told, listened to.

It owns how Terraform is started and how it is stopped: once, gently, so that it writes
its state and gives its lock back. It must not print, nor know what is deployed.
"""

import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from penstock.errors import ProvisionError, UnavailableError
from penstock.provision.aws_words import LOG_IN
from penstock.provision.deployment import Deployment
from penstock.provision.terraform_events import (
    Diagnostic,
    Event,
    Lock,
    Words,
    lock_in,
    parse_line,
    plain,
)

# The S3 backend locks without DynamoDB since 1.10; arguments that are written and never
# read back, which keep passwords out of the state, came with 1.11.
LEAST_VERSION: Final = (1, 11)
_INSTALL: Final = "https://developer.hashicorp.com/terraform/install"
# Stray lines of a failed run that are worth showing: its last words.
_LAST_WORDS: Final = 5

# Of another machine's deployment, or after `git clean`.
_NO_INIT: Final = re.compile(
    "Backend initialization required|Inconsistent dependency lock file"
    "|Required plugins are not installed|Missing required provider"
    "|Module not installed|Backend configuration changed"
)

_LOCKED_OUT: Final = re.compile(
    "No valid credential sources|ExpiredToken|RequestExpired|InvalidClientTokenId"
    "|InvalidAccessKeyId|SignatureDoesNotMatch|failed to refresh cached credentials"
)

Told = Callable[[Event], None]


class Failure(NamedTuple):
    """Why a run failed."""

    command: str
    errors: tuple[Diagnostic, ...]
    last_words: tuple[str, ...]

    @property
    def lock(self) -> Lock | None:
        """Return who holds the state, where that is the reason."""
        return next(filter(None, map(lock_in, self.errors)), None)

    @property
    def is_of_no_init(self) -> bool:
        """Return whether `init` has not been here: its data is no part of a clone."""
        said = [each.summary for each in self.errors] or self.last_words[:1]
        return any(_NO_INIT.search(each) for each in said)


class TerraformError(ProvisionError):
    """Terraform has failed; `failure` has its own words."""

    def __init__(self, message: str, failure: Failure) -> None:
        super().__init__(message)
        self.failure = failure


class Terraform:
    """Terraform with one root module and one deployment's data.

    Args:
        on_stopping: called when it has been told to stop and is still at work.
    """

    def __init__(
        self,
        root: Path,
        deployment: Deployment,
        *,
        on_stopping: Callable[[], None] = lambda: None,
    ) -> None:
        self._root = root
        self._deployment = deployment
        self._on_stopping = on_stopping
        self._program = _find_program()

    def check_version(self) -> str:
        """Return its version.

        Raises:
            UnavailableError: it is too old.
        """
        found = orjson.loads(self._answer("version", "-json"))["terraform_version"]
        numbers = re.findall(r"\d+", str(found))[:2]
        if tuple(map(int, numbers)) < LEAST_VERSION:
            least = ".".join(map(str, LEAST_VERSION))
            raise UnavailableError(
                f"{self._program} is Terraform {found}, and {least} is needed:"
                f" {_INSTALL}"
            )
        return str(found)

    def init(self, told: Told) -> None:
        """Get the providers, and connect with the state."""
        backend = f"-backend-config={self._deployment.backend_file}"
        self.run(["init", "-json", "-reconfigure", backend], told)

    def plan(self, told: Told, *arguments: str) -> None:
        """Find out what would change, and write it down for `apply`."""
        self.run(
            [
                "plan",
                "-json",
                f"-out={self._deployment.plan_file}",
                *self._deployment.variable_arguments(),
                *arguments,
            ],
            told,
        )

    def apply(self, told: Told) -> None:
        """Do what `plan` has written down."""
        self.run(["apply", "-json", str(self._deployment.plan_file)], told)

    def plan_removal(self, told: Told, only: Sequence[str] = ()) -> None:
        """Find out what removing all, or only some, would take with it."""
        self.plan(told, "-destroy", *(f"-target={each}" for each in only))

    def output(self) -> dict[str, Any]:
        """Return the outputs of the last apply, without those that are secret."""
        found = orjson.loads(self._answer("output", "-json"))
        return {
            name: each["value"]
            for name, each in found.items()
            if not each.get("sensitive")
        }

    def resources(self) -> list[str]:
        """Return the addresses of all resources that the state knows."""
        found = self._answer("state", "list").decode().splitlines()
        return [each for each in found if not re.search(r"(^|\.)data\.", each)]

    def identities(self) -> dict[str, tuple[str, str]]:
        """Return type and id of each resource that the state knows, by its address."""
        found = orjson.loads(self._answer("show", "-json"))
        pending = [found.get("values", {}).get("root_module", {})]
        known: dict[str, tuple[str, str]] = {}
        while pending:
            module = pending.pop()
            pending += module.get("child_modules", ())
            for each in module.get("resources", ()):
                values = each.get("values", {})
                # RDS has an id that no command takes.
                identity = str(values.get("identifier") or values.get("id", ""))
                known[each["address"]] = (str(each["type"]), identity)
        return known

    def run(self, arguments: Sequence[str], told: Told) -> None:
        """Run it to its end and tell each event.

        Raises:
            TerraformError: it has failed.
            KeyboardInterrupt: it was stopped, and has ended in good order.
        """
        errors: list[Diagnostic] = []
        stray: list[str] = []

        def hear(event: Event) -> None:
            if isinstance(event, Diagnostic) and event.is_error:
                errors.append(event)
            if isinstance(event, Words):
                if not event.is_json:
                    stray.append(event.text)
                return
            told(event)

        process = subprocess.Popen(
            self._command(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Ctrl-C is ours to pass on: two of it, and Terraform leaves its lock.
            start_new_session=True,
        )
        was_stopped = self._listen(process, hear)
        code = process.wait()
        if was_stopped:
            raise KeyboardInterrupt
        if code != 0:
            last_words = tuple(stray[-_LAST_WORDS:])
            if not errors:  # what it could not say as JSON is all there is
                for text in last_words:
                    told(Words(text, is_json=False))
            failure = Failure(arguments[0], tuple(errors), last_words)
            raise self._failed(failure, code)

    def _listen(self, process: subprocess.Popen[bytes], hear: Told) -> bool:
        """Hear all that it says; return whether it was told to stop meanwhile."""
        assert process.stdout is not None
        was_stopped = False
        while True:
            try:
                for line in process.stdout:
                    event = parse_line(line)
                    if event is not None:
                        hear(event)
                return was_stopped
            except KeyboardInterrupt:
                if not was_stopped:
                    was_stopped = True
                    process.send_signal(signal.SIGINT)
                self._on_stopping()

    def _answer(self, *arguments: str) -> bytes:
        """Return what a short question is answered with.

        Raises:
            TerraformError: it has failed.
        """
        done = subprocess.run(
            self._command(arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            said = re.sub(r"[╷╵│]", "", plain(done.stderr)).splitlines()
            lines = tuple(each.strip() for each in said if each.strip())
            raise self._failed(Failure(arguments[0], (), lines), done.returncode)
        return done.stdout

    def _failed(self, failure: Failure, code: int) -> TerraformError:
        """Return the one line: what went wrong first."""
        lock = failure.lock
        if lock is None and failure.is_of_no_init:
            return TerraformError(
                "this machine is not ready for the deployment: penstock deploy init"
                f" --dir {shlex.quote(str(self._deployment.directory))} makes it so",
                failure,
            )
        if lock is None:
            return _broken(failure, code)
        # Anywhere else, Terraform knows nothing of this state.
        release = (
            f"TF_DATA_DIR={shlex.quote(str(self._deployment.data_dir))} terraform"
            f" -chdir={shlex.quote(str(self._root))} force-unlock {lock.id}"
        )
        return TerraformError(
            f"somebody else is at work on this deployment: {lock.who}, {lock.operation}"
            f" since {lock.created} UTC; wait for the end. If it is no longer running:"
            f" {release}",
            failure,
        )

    def _command(self, arguments: Sequence[str]) -> list[str]:
        # env: ours is inherited, for credentials and proxies are Terraform's to find.
        return [
            "/usr/bin/env",
            f"TF_DATA_DIR={self._deployment.data_dir}",
            "TF_IN_AUTOMATION=1",
            "TF_INPUT=0",
            "CHECKPOINT_DISABLE=1",
            self._program,
            f"-chdir={self._root}",
            *arguments,
        ]


def _find_program() -> str:
    found = shutil.which("terraform")
    if found is None:
        least = ".".join(map(str, LEAST_VERSION))
        raise UnavailableError(
            f"terraform is not installed: get {least} or newer from {_INSTALL}"
        )
    return found


def _broken(failure: Failure, code: int) -> TerraformError:
    told = [f"{each.summary} {each.detail}" for each in failure.errors]
    if _LOCKED_OUT.search("\n".join([*told, *failure.last_words])):
        return TerraformError(
            f"terraform {failure.command} failed: AWS does not let it in, by these"
            f" credentials or for want of any: {LOG_IN}",
            failure,
        )
    if failure.errors:
        first = failure.errors[0]
        where = f" ({first.where})" if first.where else ""
        more = len(failure.errors) - 1
        also = f"; {more} more above" if more else ""
        said = f"{first.summary.rstrip('.')}{where}{also}"
    elif failure.last_words:
        said = failure.last_words[0]
    else:
        said = f"it ended with {code} and said nothing"
    return TerraformError(f"terraform {failure.command} failed: {said}", failure)
