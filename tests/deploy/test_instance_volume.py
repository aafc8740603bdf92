"""No byte of a data volume is changed that holds anything but Penstock's file system.

Files stand in for volumes: blkid and mkfs.ext4 take them. What takes a mount is in
full/test_boot.py.
"""

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.deploy.instance_machine import Machine
from tests.deploy.tools import passes, tool

VOLUME = "vol-0123456789abcdef0"
NAME = "nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0"
MIB = 1 << 20


@pytest.fixture
def machine(tmp_path) -> Machine:
    made = Machine(tmp_path, DATA_VOLUME_ID=VOLUME)
    (tmp_path / "by-id" / NAME).symlink_to(_disk(made))
    return made


def _disk(machine: Machine) -> Path:
    disk = machine.root / "disk"
    if not disk.exists():
        with disk.open("wb") as file:
            file.truncate(64 * MIB)
    return disk


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _mkfs(machine: Machine, *arguments: str) -> None:
    passes("mkfs.ext4", "-q", *arguments, _disk(machine))


def _volume(machine: Machine):
    # The mount is another's test.
    return machine.sh("load_instance; volume_mount() { :; }; volume")


def test_a_blank_volume_gets_penstocks_file_system(machine):
    ran = _volume(machine)
    assert ran.code == 0, ran.output
    assert "is blank: making a file system" in ran.output
    said = passes("blkid", "-p", _disk(machine))
    assert 'LABEL="penstock-data"' in said and 'TYPE="ext4"' in said


def test_penstocks_file_system_is_kept_to_the_byte(machine):
    _mkfs(machine, "-L", "penstock-data")
    before = _sum(_disk(machine))
    ran = _volume(machine)
    assert ran.code == 0
    assert "has Penstock's file system: kept" in ran.output
    assert _sum(_disk(machine)) == before


def _write(disk: Path, at: int, data: bytes) -> None:
    with disk.open("r+b") as file:
        file.seek(at)
        file.write(data)


_LVM = b"LABELONE" + (1).to_bytes(8, "little") + b"\0" * 8 + b"LVM2 001"
_MBR = b"\x83\x00\x00\x00\x00\x08\x00\x00\x00\x00\x01\x00"


def _partitioned(disk: Path) -> None:
    _write(disk, 0x1BE, b"\0\x20\x21\0" + _MBR)
    _write(disk, 510, b"\x55\xaa")


@pytest.mark.parametrize(
    ("holds", "said"),
    [
        (lambda disk: _write(disk, 0, b"XFSB\0\0\x10\0" + b"\0" * 92), ""),
        (lambda disk: _write(disk, 512, _LVM), ""),
        (_partitioned, "a partition table (dos)"),
        (lambda disk: _write(disk, 8 * MIB, b"rows"), "data without a signature"),
    ],
    ids=["xfs", "lvm", "partitioned", "raw data"],
)
def test_a_volume_that_holds_something_else_is_refused_untouched(machine, holds, said):
    holds(_disk(machine))
    before = _sum(_disk(machine))
    ran = _volume(machine)
    assert ran.code == 1
    assert _sum(_disk(machine)) == before
    assert len(ran.output.splitlines()) == 1
    assert said in ran.output
    assert "which is not Penstock's: nothing is changed" in ran.output


@pytest.mark.parametrize(
    "arguments", [[], ["-L", "mysql"]], ids=["unlabelled", "named"]
)
def test_somebody_elses_ext4_is_refused_and_how_to_take_it_is_said(machine, arguments):
    _mkfs(machine, *arguments)
    before = _sum(_disk(machine))
    ran = _volume(machine)
    assert ran.code == 1
    assert _sum(_disk(machine)) == before
    disk = _disk(machine)
    assert f"`e2label {disk} penstock-data`" in ran.output
    # And it is taken then.
    passes("e2label", disk, "penstock-data")
    assert _volume(machine).code == 0


def test_an_unreadable_volume_is_not_taken_for_a_blank_one(machine):
    # blkid ends with 2 here too.
    (machine.root / "by-id" / NAME).unlink()
    (machine.root / "by-id" / NAME).symlink_to(machine.root / "by-id")
    ran = _volume(machine)
    assert ran.code == 1
    assert "cannot be read" in ran.output


def test_a_volume_that_never_comes_is_one_clear_line(machine):
    (machine.root / "by-id" / NAME).unlink()
    ran = _volume(machine)
    assert ran.code == 1
    assert ran.output == (
        f"penstock-instance: the data volume {VOLUME} is not attached after 0 s:"
        " attach it (terraform apply), then run"
        " /opt/penstock/instance/penstock-instance boot\n"
    )


def test_a_volume_is_waited_for(machine):
    # Terraform attaches it when the instance runs already.
    name = machine.root / "by-id" / NAME
    name.unlink()
    late = f"(sleep 1; ln -s {_disk(machine)} {name}) & volume_wait_seconds=20; "
    ran = machine.sh(f"load_instance; {late}volume_mount() {{ :; }}; volume")
    assert ran.code == 0, ran.output


def test_fstab_has_one_line_for_the_volume_and_keeps_the_others(machine):
    before = "# a comment\nUUID=root / xfs defaults 0 0\n"
    for uuid in ("first", "second"):
        done = subprocess.run(
            [tool("bash"), "-c", machine.script(f"volume_fstab {uuid}")],
            env=machine.env(),
            input=before,
            capture_output=True,
            text=True,
            check=True,
        )
        before = done.stdout
    assert before == (
        "# a comment\nUUID=root / xfs defaults 0 0\n"
        f"UUID=second {machine.root / 'data'} ext4"
        " noatime,nosuid,nodev,nofail,x-systemd.device-timeout=60s 0 2\n"
    )


def test_the_file_system_grows_with_its_volume(machine):
    _mkfs(machine, "-L", "penstock-data")
    with _disk(machine).open("r+b") as file:
        file.truncate(128 * MIB)
    (machine.root / "etc" / "fstab").touch()
    # Not mounted: that takes root, and here it grows all the same.
    ran = machine.sh(
        'mount() { echo "mount $*"; }; mountpoint() { return 1; }\n'
        "load_instance; volume"
    )
    assert ran.code == 0, ran.output
    # What a container writes there is no set-uid program outside.
    assert "mount -t ext4 -o noatime,nosuid,nodev -- " in ran.output
    assert f"the file system on {VOLUME} has grown with it" in ran.output
    said = passes("dumpe2fs", "-h", _disk(machine))
    blocks, size = (
        int(next(line.split()[-1] for line in said.splitlines() if name in line))
        for name in ("Block count:", "Block size:")
    )
    assert blocks * size == 128 * MIB
    assert (
        "ext4 noatime,nosuid,nodev,nofail"
        in (machine.root / "etc" / "fstab").read_text()
    )


def test_a_volume_that_is_enlarged_while_all_runs_is_used_within_a_minute(machine):
    _mkfs(machine, "-L", "penstock-data")
    looks = (
        'mountpoint() { return 0; }; blockdev() { stat -c %s -- "$2"; };'
        " volume_grow() { echo grown; }; load_instance; grow_with_volume"
    )
    assert machine.sh(looks).output == "grown\n"
    assert machine.sh(looks).output == ""
    with _disk(machine).open("r+b") as file:
        file.truncate(128 * MIB)
    assert machine.sh(looks).output == "grown\n"


def test_receivers_have_their_data_on_the_root_disk(tmp_path):
    machine = Machine(tmp_path, DATA_VOLUME_ID="", VARIANT="receivers")
    (tmp_path / "data").rmdir()
    assert machine.sh("load_instance; volume; make_directories").code == 0
    assert {each.name for each in (tmp_path / "data").iterdir()} == {
        "fluent-bit",
        "grafana",
        "metrics",
        "penstock",
        "postgres",
        "prometheus",
        "tls",
    }
