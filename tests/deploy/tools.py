"""The programs that judge deploy/, found or named as missing.

A test that cannot run without one asks for it here. Where it is missing the test is
skipped and the run says at its end what was not run and how to get it; with
PENSTOCK_DEPLOY_WHOLE=1, as in .ci/run, it fails.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
TERRAFORM = DEPLOY / "terraform"
# `make deploy-test` installs these itself (requirements/deploy.in).
_OWN_BIN = REPOSITORY / "build" / "deploy-tools" / "bin"
WHOLE = "PENSTOCK_DEPLOY_WHOLE"
# The directory of the provider's binary, where the registry is not to be reached, as
# `terraform init -plugin-dir` takes it.
MIRROR = "PENSTOCK_TERRAFORM_MIRROR"

HOW_TO_GET: dict[str, str] = {
    "terraform": "https://developer.hashicorp.com/terraform/install, 1.11 or newer",
    "promtool": "apt-get install prometheus",
    "prometheus": "apt-get install prometheus",
    "nginx": "apt-get install nginx-light",
    "cloud-init": "apt-get install cloud-init",
    "systemd-analyze": "apt-get install systemd",
    "mkfs.ext4": "apt-get install e2fsprogs",
    "systemd-nspawn": "apt-get install systemd-container",
    "debootstrap": "apt-get install debootstrap",
    "buildah": "apt-get install buildah",
    "podman": "apt-get install podman crun runc conmon catatonit netavark"
    " aardvark-dns iptables",
    "docker": "https://docs.docker.com/engine/install, for `docker compose`",
    "node": "apt-get install nodejs npm",
    "setfacl": "apt-get install acl",
}
# What was not run: by the tool, how many tests.
missing: dict[str, int] = {}


class Ran(NamedTuple):
    """How a program ended, and all that it printed."""

    code: int
    output: str


def absent(what: str, how: str) -> NoReturn:
    """Skip the test that asks, or fail it where nothing may be missing."""
    line = f"{what} is missing: {how}"
    if os.environ.get(WHOLE) == "1":
        pytest.fail(line, pytrace=False)
    missing[line] = missing.get(line, 0) + 1
    pytest.skip(line)


def left_out(what: str, how: str) -> NoReturn:
    """Skip the test that asks, and say so at the end: no machine here could have it."""
    line = f"{what} is missing: {how}"
    missing[line] = missing.get(line, 0) + 1
    pytest.skip(line)


def tool(name: str) -> str:
    """Return a program's path; skip or fail the test where there is none."""
    own = _OWN_BIN / name
    if own.exists():
        return str(own)
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        absent(name, HOW_TO_GET.get(name, "make deploy-test installs it"))
    return found


def root(why: str) -> None:
    """Skip or fail the test where it is not root's."""
    if os.geteuid() != 0:
        absent("root", f"sudo make deploy-test-full; {why}")


def run(
    program: str,
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path = REPOSITORY,
    seconds: float = 60,
    stdin: str = "",
) -> Ran:
    """Run a tool to its end; return its code and what it printed, both streams."""
    done = subprocess.run(
        [tool(program), *map(str, arguments)],
        env={**os.environ, **(env or {})},
        cwd=cwd,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    return Ran(done.returncode, done.stdout)


def passes(
    program: str,
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path = REPOSITORY,
    seconds: float = 60,
    stdin: str = "",
) -> str:
    """Run a tool that has to end with 0; return what it printed."""
    ran = run(program, *arguments, env=env, cwd=cwd, seconds=seconds, stdin=stdin)
    assert ran.code == 0, f"{program} ended with {ran.code}:\n{ran.output}"
    return ran.output


def terraform_environment(data_dir: Path) -> dict[str, str]:
    """Return what terraform runs with: nothing of this machine's but the mirror.

    Args:
        data_dir: takes the place of .terraform beside the configuration, so that a
            run leaves nothing in the repository.
    """
    return {
        "TF_DATA_DIR": str(data_dir),
        "TF_IN_AUTOMATION": "1",
        "TF_INPUT": "0",
        "CHECKPOINT_DISABLE": "1",
        "TF_CLI_CONFIG_FILE": os.devnull,
    }


def plugin_dir() -> list[str]:
    """Return `terraform init`'s arguments for the mirror, where there is one."""
    found = os.environ.get(MIRROR)
    return [f"-plugin-dir={found}"] if found else []
