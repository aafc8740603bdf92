"""A new image on each machine, one after the other, by Systems Manager.

It owns the order: the next machine only when the one before is well, and the parameter
that new machines start by only when all are. The machine itself drains, starts, checks
and rolls back (deploy/instance/penstock-instance). It must not print.
"""

import contextlib
import re
import shlex
import time
from collections.abc import Callable, Generator
from typing import Any, Final, NamedTuple

from penstock.errors import ProvisionError, SettingsError
from penstock.provision.aws import Aws, Invocation

PROGRAM: Final = "/opt/penstock/instance/penstock-instance"
# Registry, path, and a tag or a digest: what Docker takes, and nothing a shell does.
_IMAGE: Final = re.compile(
    r"[a-z0-9][a-z0-9._:/-]*(:[\w][\w.-]{0,127}|@sha256:[0-9a-f]{64})"
)
_ECR: Final = re.compile(
    r"(?P<registry>[^/]+)/(?P<repository>.+?)(:(?P<tag>[\w.-]+)|(?P<digest>@sha256:.*))"
)
_RUNNING: Final = {"Pending", "InProgress", "Delayed", "Cancelling"}
# Systems Manager needs some seconds for a command at least; a shorter wait asks more
# often than it has news.
POLL_SECONDS: Final = 2.0
# Past the machine's own limit: the answer needs a while to come back.
_GRACE_SECONDS: Final = 60


class Asked(NamedTuple):
    """What is asked of all machines."""

    image: str
    parameter: str
    timeout_seconds: int


class Result(NamedTuple):
    """How it went on one machine."""

    machine: str
    is_well: bool
    seconds: float
    last_lines: tuple[str, ...]
    reason: str = ""


def check_image(image: str) -> None:
    """Refuse what cannot be an image's name with a tag or a digest.

    Raises:
        SettingsError: it is none.
    """
    if not _IMAGE.fullmatch(image):
        raise SettingsError(
            f"--image {image!r}: an image is given as registry/name:tag or as"
            " registry/name@sha256:digest"
        )


def by_digest(aws: Aws, image: str, repository_url: str) -> str:
    """Return an image of the deployment's own repository by its digest.

    A tag says what somebody pushed last, a digest what was tested. An image of another
    registry is taken as it is named.

    Raises:
        ProvisionError: the repository has no such image.
    """
    found = _ECR.fullmatch(image)
    if found is None or not found["tag"] or not image.startswith(f"{repository_url}:"):
        return image
    digest = aws.image_digest(found["repository"], found["tag"])
    if digest is None:
        raise ProvisionError(
            f"there is no image {image}: penstock deploy push brings it there"
        )
    return f"{repository_url}@{digest}"


def machines(aws: Aws, outputs: dict[str, Any]) -> list[str]:
    """Return the ids of the deployment's machines.

    Raises:
        ProvisionError: there is none.
    """
    group = outputs.get("autoscaling_group_name") or ""
    found = aws.machines_of(group) if group else list(outputs.get("instance_ids") or ())
    if not found:
        raise ProvisionError(
            "there is no machine to upgrade"
            + (f" in service in {group}" if group else ": penstock deploy apply")
        )
    return found


def upgrade_all(
    aws: Aws,
    outputs: dict[str, Any],
    asked: Asked,
    on_begin: Callable[[str, str], None],
) -> Generator[Result]:
    """Upgrade one machine after the other and yield each result, to the first bad.

    Machines that an auto scaling group starts meanwhile have the old image: they have
    their turn until there is none. A machine that drains and starts answers no load
    balancer for longer than the group looks on: so long it replaces none.

    Args:
        on_begin: called with a machine and the id of what is asked of it.
    """
    done: set[str] = set()
    group = outputs.get("autoscaling_group_name") or ""
    with aws.keeping_unhealthy(group) if group else contextlib.nullcontext():
        while waiting := [each for each in machines(aws, outputs) if each not in done]:
            for machine in waiting:
                result = _upgrade(aws, machine, asked, on_begin)
                yield result
                if not result.is_well:
                    return
                done.add(machine)
            aws.write_parameter(asked.parameter, asked.image)


def _upgrade(
    aws: Aws, machine: str, asked: Asked, on_begin: Callable[[str, str], None]
) -> Result:
    command = shlex.join([PROGRAM, "upgrade", asked.image])
    began = time.monotonic()
    # Systems Manager shows a comment in its list of commands; 100 characters at most.
    comment = f"penstock deploy upgrade {asked.image}"[-100:]
    command_id = aws.run_on(machine, command, asked.timeout_seconds, comment)
    on_begin(machine, command_id)
    give_up = began + asked.timeout_seconds + _GRACE_SECONDS
    while True:
        found = aws.invocation(machine, command_id)
        now = time.monotonic()
        if found is not None and found.status not in _RUNNING:
            return _judged(machine, found, now - began, asked)
        if now >= give_up:
            reason = f"no answer in {now - began:.0f} s (command {command_id})"
            return Result(machine, False, now - began, (), reason)
        time.sleep(POLL_SECONDS)


def _judged(machine: str, found: Invocation, seconds: float, asked: Asked) -> Result:
    lines = [*found.output.splitlines(), *found.errors.splitlines()]
    last_lines = tuple(each for each in lines if each.strip())
    reason = {
        "Success": "",
        "Failed": f"it ended with {found.code}",
        "TimedOut": f"it was not done in {asked.timeout_seconds} s",
        "Cancelled": "somebody has cancelled it",
    }.get(found.status, f"Systems Manager says {found.status}")
    return Result(machine, found.status == "Success", seconds, last_lines, reason)
