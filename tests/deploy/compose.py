"""docker compose, as a program of its own: the tests need no engine for its `config`.

It owns where the program is, and what it is asked. It must not start anything.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.deploy import tools

PRODUCTION = tools.DEPLOY / "compose" / "compose.yaml"
LOCAL = tools.DEPLOY / "compose" / "local" / "compose.yaml"
EXAMPLE = tools.DEPLOY / "compose" / ".env.example"
# .ci/deploy-tools puts it there where the system has none.
_FETCHED = tools.REPOSITORY / "build" / "docker" / "docker-compose"
_PLUGINS = ("/usr/libexec/docker/cli-plugins", "/usr/lib/docker/cli-plugins")


def compose() -> str:
    """Return compose's path, second generation; skip or fail where there is none."""
    found = shutil.which("docker-compose", path=os.pathsep.join(_PLUGINS))
    if _FETCHED.exists():
        found = str(_FETCHED)
    if found is None:
        tools.absent("docker compose", "https://docs.docker.com/compose/install")
    return found


def configured(
    changed: Mapping[str, str | None] | None = None,
    *,
    file: Path = PRODUCTION,
    env_file: Path | None = EXAMPLE,
) -> tools.Ran:
    """Ask compose what a file comes to; None takes a variable away.

    Nothing of the caller's environment gets in but its PATH.
    """
    variables = {} if env_file is None else variables_of(env_file)
    wanted = {**variables, **(changed or {})}
    environment = {name: text for name, text in wanted.items() if text is not None}
    done = subprocess.run(
        (compose(), "--file", str(file), "--env-file", os.devnull, "config"),
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return tools.Ran(done.returncode, done.stdout)


@cache
def services() -> dict[str, Any]:
    """Return the services of production, profiles and all, as compose sees them."""
    every = "database,monitoring,collector,backup"
    ran = configured({"COMPOSE_PROFILES": every})
    assert ran.code == 0, ran.output
    found: dict[str, Any] = yaml.safe_load(ran.output)["services"]
    return found


def variables_of(env_file: Path) -> dict[str, str]:
    """Return what an environment file sets."""
    lines = env_file.read_text().splitlines()
    return dict(
        line.split("=", 1) for line in lines if line and not line.startswith("#")
    )


def variables_in(text: str) -> set[str]:
    """Return the names of the variables that a compose file asks for."""
    code = re.sub(r"^\s*#.*$", "", text, flags=re.M)
    return set(re.findall(r"\$\{([A-Z_]+)", code))
