"""Images into the deployment's registry: docker, run as a program.

It owns docker's command lines. A password goes to it by stdin. It must not know how an
image is used.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from penstock.errors import ProvisionError, UnavailableError
from penstock.provision.aws import RegistryLogin

DOCKERFILE: Final = Path("deploy/docker/Dockerfile")
_GRAVITON: Final = re.compile(r"[a-z]+\d+[a-z]*g[a-z]*\.")


class Docker:
    """The docker command.

    Raises:
        UnavailableError: it is not installed.
    """

    def __init__(self) -> None:
        found = shutil.which("docker")
        if found is None:
            raise UnavailableError(
                "docker is not installed: https://docs.docker.com/engine/install"
            )
        self._program = found

    def log_in(self, login: RegistryLogin) -> None:
        """Log in to a registry."""
        self._run(
            ["login", "--username", login.user, "--password-stdin", login.registry],
            stdin=login.password.encode(),
        )

    def build_and_push(
        self, checkout: Path, target: str, image: str, platforms: Sequence[str]
    ) -> None:
        """Build a target of our Dockerfile and push it, with provenance and an SBOM."""
        self._run(
            [
                "buildx",
                "build",
                f"--file={checkout / DOCKERFILE}",
                f"--target={target}",
                f"--platform={','.join(platforms)}",
                "--provenance=mode=max",
                "--sbom=true",
                f"--tag={image}",
                "--push",
                str(checkout),
            ]
        )

    def push(self, source: str, image: str) -> None:
        """Push an image that is here under another name."""
        self._run(["tag", source, image])
        self._run(["push", image])

    def _run(self, arguments: Sequence[str], stdin: bytes | None = None) -> None:
        """Run docker; what it says goes to stderr, for a build takes minutes.

        Raises:
            ProvisionError: it has failed.
        """
        done = subprocess.run(
            [self._program, *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=2,
            check=False,
        )
        if done.returncode != 0:
            # Not all arguments: the first words say which step it was.
            step = " ".join(arguments[:2]) if arguments[0] == "buildx" else arguments[0]
            raise ProvisionError(
                f"docker {step} failed ({done.returncode}): its own words are above"
            )


def platform_of(instance_type: str) -> str:
    """Return Docker's name for the architecture of an instance type.

    Graviton's families have a g after their number: t4g, m7gd, c7gn; g5 has it before
    (Amazon EC2 instance type naming conventions). Empty is our default, t4g.
    """
    is_graviton = not instance_type or _GRAVITON.match(instance_type) is not None
    return "linux/arm64" if is_graviton else "linux/amd64"
