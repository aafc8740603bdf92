"""A machine for tests of deploy/instance: its directories, and the programs beside it.

penstock-instance is sourced and given other places than /etc and /data; what it calls
are this machine's own programs, but for those of tests/deploy/stubs.
"""

import os
import shutil
import subprocess
from pathlib import Path

from tests.deploy.tools import DEPLOY, Ran, tool
from tests.s3_server import without_aws

PROGRAM = DEPLOY / "instance" / "penstock-instance"
STUBS = Path(__file__).parent / "stubs"
OLD = "registry.test/penstock:1"
NEW = "registry.test/penstock:2"
POSTGRES = "registry.test/postgres:18"
# What Terraform says of a machine with PostgreSQL on it. No data volume: a mount takes
# root, and is tests/deploy/full/test_boot.py's.
INSTANCE = {
    "REGION": "us-east-1",
    "NAME": "penstock",
    "ENVIRONMENT": "test",
    "VARIANT": "single",
    "DATABASE": "docker",
    "DATABASE_HOST": "postgres",
    "READER_HOST": "postgres",
    "SECRET_ID": "penstock-test",
    "STACK_BUCKET": "stack",
    "BACKUP_STORE": "s3://backups/penstock",
    "DATA_VOLUME_ID": "",
    "IMAGE_PARAMETER": "/penstock/test/image",
    "POSTGRES_IMAGE": POSTGRES,
    "LOG_GROUP": "/penstock/test",
    "PROFILES": "database,monitoring",
    "RETENTION_DAYS": "30",
}
_FOLDERS = ("compose", "cloudwatch", "instance", "systemd")


class Machine:
    """Directories below one, and `bash` with the program sourced.

    Attributes:
        stub: what the stand-ins read and write.
    """

    def __init__(self, root: Path, **instance: str) -> None:
        self.root = root
        self.stub = root / "stub"
        for name in ("etc", "run", "state", "data", "units", "by-id", "stub", "bin"):
            (root / name).mkdir()
        for name in ("docker", "systemctl", "aws", "iptables"):
            (root / "bin" / name).symlink_to(STUBS / name)
        self.instance = INSTANCE | instance
        lines = [f"{key}={value}\n" for key, value in self.instance.items()]
        (root / "etc" / "instance.env").write_text("".join(lines))
        self.environment: dict[str, str] = {}

    def use_real(self, program: str) -> None:
        """Take a stand-in away."""
        (self.root / "bin" / program).unlink()

    def has_stack(self, image: str = OLD, **services: str) -> None:
        """Let an image run here, from a bucket that holds the repository's stack."""
        bucket = self.stub / "bucket" / "stack"
        for folder in _FOLDERS:
            shutil.copytree(DEPLOY / folder, bucket / folder)
        shutil.copytree(bucket, self.root / "opt")
        self.write_stub("registry", f"{OLD}\n{NEW}\n{POSTGRES}\n")
        self.write_stub("local", f"{image}\n{POSTGRES}\n")
        self.write_stub("image_parameter", image)
        for service in ("postgres", "penstock", "nginx"):
            self.set_state(service, services.get(service, "running healthy 0"), image)
        (self.root / "state" / "image").write_text(f"{image}\n")
        secrets = self.root / "run" / "secrets"
        secrets.mkdir()
        (secrets / "shared_key").write_text("x")
        (self.root / "data" / "tls").mkdir()
        (self.root / "data" / "tls" / "server.key").write_text("x")
        self.sh("load_instance; environment")

    def write_stub(self, name: str, text: str) -> None:
        """Tell the stand-ins something."""
        (self.stub / name).write_text(text)

    def set_state(self, service: str, state: str, image: str = "image") -> None:
        """Have a container be in a state, as in `running unhealthy 0`."""
        (self.stub / "state").mkdir(exist_ok=True)
        (self.stub / "state" / service).write_text(f"{state} {image}\n")

    def calls(self, word: str = "") -> list[str]:
        """Return what was called so far, those calls that hold a word."""
        log = self.stub / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        return [each for each in lines if word in each]

    def running(self) -> str:
        """Return the image of the running Penstock, as the stand-in has it."""
        state = (self.stub / "state" / "penstock").read_text().split()
        return state[-1] if state[0] == "running" else ""

    def script(self, text: str) -> str:
        """Return a script: the program sourced for this machine, then a text."""
        places = {
            "etc": "etc",
            "run": "run",
            "opt": "opt",
            "state": "state",
            "data": "data",
            "units": "units",
            "by_id": "by-id",
            "fstab": "etc/fstab",
        }
        assigned = "\n".join(
            f"{name}={self.root / place}" for name, place in places.items()
        )
        # What takes long on a real machine.
        quick = "settle_seconds=0 deregister_seconds=0 secret_pause_seconds=0"
        quick += " secret_attempts=2 volume_wait_seconds=0"
        return f"source {PROGRAM}\n{assigned}\n{quick}\n{text}\n"

    def sh(self, text: str, seconds: float = 20) -> Ran:
        """Run a text with the program sourced; return its end and both streams."""
        done = subprocess.run(
            [tool("bash"), "-c", self.script(text)],
            env=self.env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        return Ran(done.returncode, done.stdout)

    def start(self, text: str) -> subprocess.Popen[str]:
        """Begin to run a text, in a group of its own."""
        return subprocess.Popen(
            [tool("bash"), "-c", self.script(text)],
            env=self.env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def env(self) -> dict[str, str]:
        """Return what the program runs with."""
        path = f"{self.root / 'bin'}:/usr/sbin:/sbin:{os.environ['PATH']}"
        own = {"PATH": path, "STUB": str(self.stub)}
        return {**without_aws(os.environ), **own, **self.environment}
