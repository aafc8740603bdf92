"""User data runs for real: on a machine that boots, with a disk, a role and a secret.

What is real and what stands in is said in booted_machine.py.
"""

import contextlib
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.full.booted_machine import (
    METADATA,
    VOLUME,
    BootedMachine,
    Disk,
    Network,
    Running,
    debian_root,
)
from tests.deploy.instance_machine import INSTANCE, NEW, OLD, POSTGRES
from tests.deploy.tools import DEPLOY, TERRAFORM, passes, root, tool

pytestmark = pytest.mark.timeout(900)

SECRET = {
    "postgres_password": "aPostgresPassword7Q",
    "owner_password": "anOwnerPassword7Q",
    "writer_password": "aWriterPassword7Q",
    "reader_password": "aReaderPassword7Q",
    "shared_key": "aSharedKey7Q",
    "http_token": "aHttpToken7Q",
    "grafana_password": "aGrafanaPassword7Q",
    "anthropic_api_key": "",
}
VALUES = [each for each in SECRET.values() if each]
PLUGIN = "#!/bin/sh\n# Stands in for Docker Compose.\n"
# What AWS has: made in the network of the machine, by boto3.
_SEED = """
import json, sys, time, urllib.request
import boto3
asked = json.load(sys.stdin)
for _ in range(300):
    try:
        urllib.request.urlopen(asked["address"] + "/moto-api/data.json").close()
        break
    except OSError:
        time.sleep(0.1)
def client(name):
    return boto3.client(name, endpoint_url=asked["address"], region_name="us-east-1",
                        aws_access_key_id="t", aws_secret_access_key="t")
client("secretsmanager").create_secret(
    Name="penstock-test", SecretString=asked["secret"])
client("ssm").put_parameter(
    Name="/penstock/test/image", Value=asked["image"], Type="String")
s3 = client("s3")
s3.create_bucket(Bucket="stack")
for key, text in asked["files"].items():
    s3.put_object(Bucket="stack", Key=f"stack/{key}", Body=text.encode())
"""


def _stack_files() -> dict[str, str]:
    """Return what Terraform uploads, with the stand-in's checksum for Compose's."""
    files = {
        str(path.relative_to(DEPLOY)): path.read_text()
        for folder in ("compose", "nginx", "instance", "systemd", "cloudwatch")
        for path in sorted((DEPLOY / folder).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    machine = passes("uname", "-m").strip()
    files[f"tools/docker-compose-linux-{machine}"] = PLUGIN
    ours = hashlib.sha256(PLUGIN.encode()).hexdigest()
    packages, count = re.subn(
        rf"(\[{machine}\]=)[0-9a-f]{{64}}",
        rf"\g<1>{ours}",
        files["instance/packages.sh"],
    )
    assert count == 1
    return files | {"instance/packages.sh": packages}


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Iterator[Network]:
    root("it mounts, boots and makes a network")
    for name in ("systemd-nspawn", "debootstrap", "losetup", "nsenter", "mkfs.ext4"):
        tool(name)
    debian_root()
    made = Network(tmp_path_factory.mktemp("aws") / "moto.log")
    asked = {
        "address": f"http://{METADATA}",
        "secret": json.dumps(SECRET),
        "image": OLD,
        "files": _stack_files(),
    }
    try:
        made.run(sys.executable, "-c", _SEED, stdin=json.dumps(asked))
        yield made
    finally:
        made.close()


@pytest.fixture
def disk(tmp_path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk")
    yield made
    made.close()


@pytest.fixture
def machines(tmp_path, network: Network, disk: Disk) -> Iterator[list[BootedMachine]]:
    with contextlib.ExitStack() as stack:
        made = [BootedMachine(tmp_path / n, network, disk) for n in ("one", "two")]
        for each in made:
            stack.callback(each.close)
        yield made


def _may_resize() -> bool:
    """Tell whether the kernel lets this machine grow what is mounted."""
    # CAP_SYS_RESOURCE, which a container may lack though it is root's.
    status = Path("/proc/self/status").read_text()
    return bool(int(status.split("CapEff:")[1].split()[0], 16) & 1 << 24)


def _user_data() -> str:
    """Return user data with its values; Terraform's own way is test_instance.py's."""
    template = (TERRAFORM / "modules/compute/user_data.sh.tftpl").read_text()
    values = INSTANCE | {"DATA_VOLUME_ID": VOLUME}
    return re.sub(r"\$\{(\w+)\}", lambda found: values[found[1].upper()], template)


def _images(machine: BootedMachine) -> None:
    stub = machine.root / "var/lib/stub"
    (stub / "registry").write_text(f"{OLD}\n{NEW}\n{POSTGRES}\n")


def _boot_log(machine: BootedMachine) -> str:
    return (machine.root / "var/log/penstock-boot.log").read_text()


def _calls(machine: BootedMachine, word: str) -> list[str]:
    lines = (machine.root / "var/lib/stub/calls").read_text().splitlines()
    return [each for each in lines if word in each]


def _holds_a_secret(*places: Path) -> list[str]:
    found = []
    for place in places:
        for path in [place] if place.is_file() else place.rglob("*"):
            if path.is_file() and not path.is_symlink():
                data = path.read_bytes()
                found += [f"{path}: {v}" for v in VALUES if v.encode() in data]
    return found


def _check_secrets(running: Running) -> None:
    for key, value in SECRET.items():
        assert running.sh(f"cat /run/penstock/secrets/{key}") == value
    said = running.sh("stat -c '%a %u %g' /run/penstock/secrets{,/shared_key}")
    assert said.split("\n")[:2] == ["750 0 10001", "440 0 10001"]
    assert running.sh("stat -f -c %T /run/penstock/secrets").strip() == "tmpfs"


def test_a_machine_boots_reboots_upgrades_and_is_replaced_with_its_data(
    machines, disk, tmp_path
):
    first, second = machines
    user_data = _user_data()

    # --- The first boot: cloud-init, a blank volume, no image pushed yet.
    with first.boot(user_data, "i-1") as running:
        running.wait_for_user_data()
        log = _boot_log(first)
        assert f"the data volume {VOLUME} is blank: making a file system" in log
        assert "the containers (journalctl -u penstock-stack)" in log, log
        _check_secrets(running)
        assert running.sh("findmnt -n -o TARGET,FSTYPE /data").split() == [
            "/data",
            "ext4",
        ]
        assert _calls(first, "dnf install -y")
        assert _calls(first, "amazon-cloudwatch-agent-ctl -a fetch-config")
        plugin = first.root / "usr/local/lib/docker/cli-plugins/docker-compose"
        assert plugin.read_text() == PLUGIN
        # The image is not there, so the stack waits; when it is pushed it starts.
        journal = "journalctl -u penstock-stack --no-pager"
        running.wait(
            "waited for the line that no image is there",
            lambda: f"{OLD} cannot be had (not found)" in running.sh(journal),
        )
        _images(first)
        running.sh("systemctl restart penstock-stack")
        running.wait_for_unit("penstock-stack.service")
        assert _calls(first, " up --detach")
        certificate = running.sh("cat /data/tls/server.crt")
        assert "BEGIN CERTIFICATE" in certificate
        for timer in ("backup", "backup-verify", "backup-base", "watchdog"):
            assert running.is_active(f"penstock-{timer}.timer")
        # What must survive.
        running.sh(
            "install -d -o 999 /data/postgres/18 && echo rows >/data/postgres/18/a"
        )
        said = running.sh(f"/opt/penstock/instance/penstock-instance upgrade {NEW}")
        assert said.splitlines()[-1].endswith(f"; {OLD} was before"), said
        # And run again by hand it does no harm.
        running.sh("bash /var/lib/cloud/instance/user-data.txt")
        assert running.sh("cat /data/postgres/18/a") == "rows\n"
        assert running.is_active("penstock-stack.service")
    # The shutdown has stopped the containers in order.
    assert _calls(first, "yaml stop")[-1].endswith("compose.yaml stop")

    # --- A reboot: no user data, the units alone.
    boots = _boot_log(first).count("booting penstock")
    (first.root / "var/lib/stub/calls").unlink()
    disk.grow(384)
    with first.boot(user_data, "i-1") as running:
        running.wait_for_unit("penstock-stack.service")
        _check_secrets(running)
        assert running.sh("cat /data/postgres/18/a") == "rows\n"
        assert running.sh("cat /data/tls/server.crt") == certificate
        # What ran runs; the parameter still names the other.
        assert f"PENSTOCK_IMAGE={NEW}" in running.sh("cat /run/penstock/stack.env")
        # The volume has become larger meanwhile.
        if _may_resize():
            size_mib = int(running.sh("df --output=size -m /data | tail -n 1"))
            assert size_mib > 320
        else:
            said = running.sh("journalctl -b -u penstock-volume --no-pager")
            assert "could not be grown: resize2fs: Permission denied" in said
    assert _boot_log(first).count("booting penstock") == boots

    # --- Another instance, the same volume: it already holds a database.
    _images(second)
    with second.boot(user_data, "i-2") as running:
        running.wait_for_user_data()
        log = _boot_log(second)
        assert f"the data volume {VOLUME} has Penstock's file system: kept" in log
        running.wait_for_unit("penstock-stack.service")
        assert running.sh("cat /data/postgres/18/a") == "rows\n"
        assert running.sh("cat /data/tls/server.crt") == certificate

    # --- No secret is left on either disk, cloud-init's log and journal included.
    assert _holds_a_secret(first.changed, second.changed, disk.file) == []


def test_a_volume_that_holds_something_else_is_refused(machines, disk, tmp_path):
    # An ext4 of somebody's, with a file on it.
    passes("mkfs.ext4", "-q", "-L", "mysql", disk.device)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    passes("mount", disk.device, theirs)
    try:
        (theirs / "ibdata1").write_text("tables")
    finally:
        passes("umount", theirs)
    before = hashlib.sha256(disk.file.read_bytes()).hexdigest()
    (machine, _) = machines
    _images(machine)
    with machine.boot(_user_data(), "i-1") as running:
        running.wait_for_user_data()
        last = _boot_log(machine).splitlines()[-1]
        assert "holds ext4 labelled mysql, which is not Penstock's" in last
        # Nor by a unit, now or later.
        running.sh("systemctl start penstock-stack")
        assert not running.is_active("penstock-stack.service")
        assert not _calls(machine, " up ")
        assert running.sh("mountpoint /data").strip() != "/data is a mountpoint"
        assert running.sh("ls /data/postgres").strip() != ""
        assert "status: error" in running.sh("cloud-init status")
    assert hashlib.sha256(disk.file.read_bytes()).hexdigest() == before


def test_nothing_is_left_behind(tmp_path_factory):
    # The last: what those above have made is gone.
    ours = str(tmp_path_factory.getbasetemp())
    assert ours not in Path("/proc/mounts").read_text()
    assert ours not in passes("losetup", "--list")
