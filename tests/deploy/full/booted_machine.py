"""A machine that boots: Debian in systemd-nspawn, with the metadata of an instance.

It owns what there is of a kernel's things (a network namespace, a loop device, mounts,
processes) and leaves none behind. In it systemd is process 1, cloud-init runs user
data, the disk is a loop device, and moto answers at 169.254.169.254 as the metadata
service and as AWS. Not real are: the distribution (Amazon Linux 2023 cannot be had),
udev's names of the disk, dnf, the CloudWatch agent, Docker and compose
(tests/deploy/stubs).
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.deploy.instance_machine import STUBS
from tests.deploy.tools import REPOSITORY, passes, tool
from tests.s3_server import without_aws

METADATA = "169.254.169.254"
VOLUME = "vol-0123456789abcdef0"
_BY_ID = "nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0"
_PACKAGES = (
    "acl awscli ca-certificates cloud-init curl dbus e2fsprogs iproute2 openssl procps"
    " python3 systemd systemd-sysv udev"
).split()
# Kept for the next run: making it takes minutes.
_CACHE = REPOSITORY / "build" / "boot"
# A boot takes ten seconds; a machine that others use takes its time.
PATIENCE_SECONDS = 120.0


def _sources() -> tuple[str, str]:
    """Return where this machine has its own packages from, and of which release."""
    said = passes(
        "apt-get",
        "indextargets",
        "--format",
        "$(SITE) $(CODENAME)",
        "Created-By: Packages",
        "Component: main",
    )
    site, codename = said.splitlines()[0].split()
    return site, codename


def debian_root() -> Path:
    """Return Debian with what an AMI has, made once; without a policy or a network."""
    done = _CACHE / "rootfs"
    if (done / ".complete").exists():
        return done
    shutil.rmtree(done, ignore_errors=True)
    _CACHE.mkdir(parents=True, exist_ok=True)
    site, codename = _sources()
    passes("debootstrap", "--variant=minbase", codename, done, site, seconds=900)
    shutil.copy("/etc/resolv.conf", done / "etc" / "resolv.conf")
    # debootstrap itself cannot resolve cloud-init's virtual packages.
    install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends"]
    passes(
        "chroot",
        done,
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        *install,
        *_PACKAGES,
        seconds=900,
    )
    passes("chroot", done, "apt-get", "clean")
    (done / ".complete").touch()
    return done


class Network:
    """A network namespace with moto at the metadata service's address on loopback."""

    def __init__(self, log: Path) -> None:
        # The namespace lives as long as this process.
        self._holder = subprocess.Popen(
            [tool("unshare"), "--net", "sleep", "infinity"], start_new_session=True
        )
        self._log = log.open("wb")
        try:
            self._enter()
        except BaseException:
            self.close()
            raise

    def _enter(self) -> None:
        ours = os.readlink("/proc/self/ns/net")
        until = time.monotonic() + PATIENCE_SECONDS
        while os.readlink(f"/proc/{self._holder.pid}/ns/net") == ours:
            assert time.monotonic() < until
            time.sleep(0.02)
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "address", "add", f"{METADATA}/32", "dev", "lo")
        self._moto = subprocess.Popen(
            self.inside(sys.executable, "-m", "moto.server", "-H", METADATA, "-p80"),
            env=without_aws(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def inside(self, *command: str) -> list[str]:
        """Return a command that runs another in this network."""
        return [tool("nsenter"), "--net", f"--target={self._holder.pid}", *command]

    def run(self, *command: str, stdin: str = "") -> str:
        """Run a command in this network to its end; return what it printed."""
        return passes(*self.inside(*command), stdin=stdin, seconds=PATIENCE_SECONDS)

    def close(self) -> None:
        """End both processes: the namespace goes with them."""
        for process in (getattr(self, "_moto", None), self._holder):
            if process is not None:
                process.kill()
                process.wait()
        self._log.close()


class Disk:
    """A loop device, as the data volume."""

    def __init__(self, file: Path, mib: int = 256) -> None:
        self.file = file
        with file.open("wb") as blank:
            blank.truncate(mib << 20)
        self.device = passes("losetup", "--find", "--show", file).strip()

    def grow(self, mib: int) -> None:
        """Make it larger, as ModifyVolume does."""
        with self.file.open("r+b") as file:
            file.truncate(mib << 20)
        passes("losetup", "--set-capacity", self.device)

    def uuid(self) -> str:
        """Return its file system's, or nothing."""
        done = subprocess.run(
            [tool("blkid"), "-p", "-o", "value", "-s", "UUID", self.device],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip()

    def close(self) -> None:
        """Give the device back."""
        passes("losetup", "--detach", self.device)


class BootedMachine:
    """An instance: its root disk, made by Debian's, and its boots.

    Args:
        directory: for its root disk and what it is given.
    """

    def __init__(self, directory: Path, network: Network, disk: Disk) -> None:
        directory.mkdir()
        self._directory = directory
        self._network = network
        self._disk = disk
        self.root = directory / "root"
        self.changed = directory / "changed"  # what differs from Debian's
        self._log = directory / "console.log"
        for each in (self.root, self.changed, directory / "work"):
            each.mkdir()
        layers = f"lowerdir={debian_root()},upperdir={self.changed}"
        options = f"{layers},workdir={directory / 'work'}"
        passes("mount", "-t", "overlay", "overlay", "-o", options, self.root)
        self._prepare()

    def close(self) -> None:
        """Unmount the root disk; what has changed on it stays."""
        passes("umount", self.root)

    def _prepare(self) -> None:
        """Put in what Amazon Linux has and Debian cannot have."""
        stub = self.root / "var" / "lib" / "stub"
        stub.mkdir(parents=True)
        (stub / "state").mkdir()
        shutil.copytree(STUBS, self.root / "opt" / "stubs")
        at = self.root / "usr" / "local" / "bin"
        # awscli of Debian 12 has no AWS_ENDPOINT_URL yet.
        self._program(
            at / "aws", f'exec /usr/bin/aws --endpoint-url http://{METADATA} "$@"'
        )
        said = 'echo "${0##*/} $*" >>/var/lib/stub/calls'
        self._program(at / "docker", 'STUB=/var/lib/stub exec /opt/stubs/docker "$@"')
        self._program(
            at / "iptables", 'STUB=/var/lib/stub exec /opt/stubs/iptables "$@"'
        )
        self._program(at / "dnf", said)
        # Nothing is installed at first: dnf is asked.
        self._program(at / "rpm", "grep -q ^dnf /var/lib/stub/calls 2>/dev/null")
        agent = self.root / "opt/aws/amazon-cloudwatch-agent/bin"
        agent.mkdir(parents=True)
        self._program(agent / "amazon-cloudwatch-agent-ctl", said)
        units = self.root / "etc" / "systemd" / "system"
        (units / "docker.service").write_text(
            "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
            "[Install]\nWantedBy=multi-user.target\n"
        )
        passes("chroot", self.root, "useradd", "--system", "cwagent")
        (self.root / "etc/cloud/cloud.cfg.d/99-test.cfg").write_text(
            "datasource_list: [NoCloud, None]\nnetwork: {config: disabled}\n"
            # Debian's own, and not there; else cloud-init ends with an error.
            "locale: false\n"
        )

    @staticmethod
    def _program(path: Path, text: str) -> None:
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    @contextlib.contextmanager
    def boot(self, user_data: str, instance: str) -> Iterator["Running"]:
        """Boot with user data, as an instance of a name; power off at the end."""
        seed = self.root / "var" / "lib" / "cloud" / "seed" / "nocloud"
        seed.mkdir(parents=True, exist_ok=True)
        (seed / "user-data").write_text(user_data)
        (seed / "meta-data").write_text(f"instance-id: {instance}\n")
        finished = self.root / f"var/lib/cloud/instances/{instance}/boot-finished"
        finished.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            nspawn = subprocess.Popen(
                self._network.inside(*self._nspawn()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            running = Running(nspawn, finished, self._log)
            try:
                yield running
            finally:
                running.power_off()

    def _nspawn(self) -> list[str]:
        by_id, by_uuid = self._directory / "by-id", self._directory / "by-uuid"
        # udev's work, that there is none of in a container.
        for directory, name in ((by_id, _BY_ID), (by_uuid, self._disk.uuid())):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
            if name:
                (directory / name).symlink_to("/dev/data")
        return [
            tool("systemd-nspawn"),
            f"--directory={self.root}",
            "--boot",
            # No system bus here, nor a machined.
            "--register=no",
            "--keep-unit",
            f"--bind={self._disk.device}:/dev/data",
            f"--bind-ro={by_id}:/dev/disk/by-id",
            f"--bind-ro={by_uuid}:/dev/disk/by-uuid",
        ]


class Running:
    """A machine that is on."""

    def __init__(
        self, nspawn: subprocess.Popen[bytes], finished: Path, log: Path
    ) -> None:
        self._nspawn = nspawn
        self._finished = finished
        self._log = log

    def _children(self) -> list[str]:
        """Return nspawn's: the machine's process 1, as it is called out here."""
        of = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        return of.read_text().split()

    def sh(self, text: str) -> str:
        """Run a text in the machine, as root; return what it printed."""
        spaces = ("--mount", "--uts", "--ipc", "--net", "--pid")
        enter = [tool("nsenter"), f"--target={self._children()[0]}", *spaces]
        done = subprocess.run(
            [*enter, "/bin/bash", "-c", text],
            env={"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        return done.stdout

    def wait(self, what: str, is_so: Callable[[], bool]) -> None:
        """Wait until something is so.

        Raises:
            AssertionError: it never was; with the console's last lines.
        """
        until = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            if time.monotonic() > until or self._nspawn.poll() is not None:
                console = self._log.read_text(errors="replace")[-4000:]
                raise AssertionError(f"{what} in vain\n{console}")
            time.sleep(0.1)

    def wait_for_user_data(self) -> None:
        """Wait until cloud-init has run user data to its end."""
        self.wait("waited for cloud-init", self._finished.exists)

    def is_active(self, unit: str) -> bool:
        """Tell whether a unit has started."""
        # Not before it has a process 1.
        return bool(self._children()) and (
            self.sh(f"systemctl is-active {unit}").strip() == "active"
        )

    def wait_for_unit(self, unit: str) -> None:
        """Wait until a unit has started."""
        self.wait(f"waited for {unit}", lambda: self.is_active(unit))

    def power_off(self) -> None:
        """Shut down in order; what does not by then is killed."""
        if self._nspawn.poll() is None:
            self._nspawn.send_signal(signal.SIGTERM)
            try:
                self._nspawn.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._nspawn.pid, signal.SIGKILL)
                self._nspawn.wait()
