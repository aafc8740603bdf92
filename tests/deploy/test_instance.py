"""What an instance is given: user data, units and the program are as the tools say."""

import json
import re
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.deploy.instance_machine import INSTANCE, PROGRAM, STUBS, Machine
from tests.deploy.tools import (
    DEPLOY,
    TERRAFORM,
    passes,
    run,
    terraform_environment,
)

TEMPLATE = TERRAFORM / "modules" / "compute" / "user_data.sh.tftpl"
UNITS = DEPLOY / "systemd" / "instance"
# What EC2 takes, before base64.
USER_DATA_LIMIT_BYTES = 16384


@pytest.fixture(scope="module")
def user_data(tmp_path_factory) -> str:
    """User data as Terraform itself renders it."""
    directory = tmp_path_factory.mktemp("console")
    values = json.dumps({key.lower(): value for key, value in INSTANCE.items()})
    # A string of JSON is one of HCL but for these.
    expression = f'jsonencode(templatefile("{TEMPLATE}", {values}))'
    assert "${" not in expression and "%{" not in expression
    said = passes(
        "terraform",
        f"-chdir={directory}",
        "console",
        env=terraform_environment(directory / "data"),
        stdin=expression + "\n",
    )
    rendered: str = json.loads(json.loads(said.strip().splitlines()[-1]))
    return rendered


def test_the_program_and_what_the_tests_put_beside_it_have_no_finding():
    passes("shellcheck", "-x", "-a", PROGRAM)
    passes("shellcheck", *STUBS.iterdir())


def test_user_data_is_small_and_clean_bash(user_data, tmp_path):
    script = tmp_path / "user_data.sh"
    script.write_text(user_data)
    passes("bash", "-n", script)
    passes("shellcheck", script)
    assert user_data.startswith("#!/bin/bash\n")
    assert len(user_data.encode()) < USER_DATA_LIMIT_BYTES / 4


def test_user_data_writes_every_key_of_instance_env(user_data):
    between = user_data.split("<<'ENV'\n")[1].split("ENV\n")[0]
    assert dict(line.split("=", 1) for line in between.splitlines()) == INSTANCE


def test_user_data_asks_for_no_key_that_could_be_a_secret():
    asked = set(re.findall(r"\$\{(\w+)\}", TEMPLATE.read_text()))
    assert asked == {key.lower() for key in INSTANCE}


def test_cloud_init_takes_user_data_for_a_script(user_data, tmp_path):
    script = tmp_path / "user_data.sh"
    script.write_text(user_data)
    code = (
        "import sys; from cloudinit.handlers import type_from_starts_with as kind;"
        "print(kind(open(sys.argv[1]).read()))"
    )
    # Debian's python3 has its modules.
    said = run("/usr/bin/python3", "-c", code, script)
    if said.code == 0:
        assert said.output.strip() == "text/x-shellscript"
    else:
        # Where cloud-init is another Python's, by its first line.
        assert user_data.startswith("#!")


def test_every_unit_is_what_systemd_takes(tmp_path):
    # The units name programs and units of the machine: stand-ins for those.
    root = tmp_path / "root"
    units = root / "etc" / "systemd" / "system"
    program = root / "opt" / "penstock" / "instance" / "penstock-instance"
    for directory in (units, program.parent):
        directory.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in ("sysinit", "basic", "network-online", "timers", "multi-user"):
        (units / f"{name}.target").write_text(f"[Unit]\nDescription={name}\n")
    for name in ("shutdown", "umount", "time-set", "time-sync", "local-fs"):
        (units / f"{name}.target").write_text(f"[Unit]\nDescription={name}\n")
    (units / "docker.service").write_text(
        "[Service]\nExecStart=/opt/penstock/instance/penstock-instance\n"
    )
    names = []
    for unit in sorted(UNITS.iterdir()):
        (units / unit.name).write_text(unit.read_text())
        names.append(unit.name)
    said = passes(
        "systemd-analyze", "verify", "--man=no", f"--root={root}", *names, seconds=30
    )
    # What it does not know it only warns of.
    assert "Unknown" not in said and "Failed to" not in said, said


def test_every_timer_has_a_service_and_a_time():
    for timer in UNITS.glob("*.timer"):
        assert timer.with_suffix(".service").exists()
        for line in timer.read_text().splitlines():
            if line.startswith("OnCalendar="):
                passes("systemd-analyze", "calendar", line.removeprefix("OnCalendar="))


def test_the_stack_cannot_start_without_the_mount_of_the_data_volume():
    text = (UNITS / "penstock-stack.service").read_text()
    assert "\nRequiresMountsFor=/data\n" in text


def test_only_the_unit_starts_containers_at_a_boot():
    # `unless-stopped` and `always` have the engine start them after a crash, before
    # the volume is mounted and the secrets are there.
    compose = (DEPLOY / "compose" / "compose.yaml").read_text()
    policies = set(re.findall(r"^ +restart: (.*)$", compose, re.MULTILINE))
    assert policies == {"on-failure", '"no"'}


def test_no_unit_removes_a_backup():
    units = UNITS.glob("penstock-backup*.service")
    lines = [line for each in units for line in each.read_text().splitlines()]
    commands = {each.split()[-1] for each in lines if each.startswith("Exec")}
    assert commands == {"create", "base", "verify"}


# ---- the program


def test_a_command_that_does_not_exist_is_one_line():
    ran = run("bash", PROGRAM, "strat")
    assert ran.code == 2
    assert ran.output == (
        "penstock-instance: no command strat; penstock-instance help lists them\n"
    )


def test_every_command_is_in_the_help():
    text = PROGRAM.read_text()
    known = re.findall(r"^    ([a-z| -]+)\)", text, re.MULTILINE)
    commands = {each.strip() for line in known for each in line.split("|")} - {"help"}
    shown = passes("bash", PROGRAM, "help")
    assert {"boot", "upgrade", "stack-start"} <= commands
    for command in commands - {"-h", "--help", ""}:
        assert re.search(rf"^  {command}\b", shown, re.MULTILINE), command


def test_a_machine_without_instance_env_says_what_it_lacks(tmp_path):
    machine = Machine(tmp_path)
    (tmp_path / "etc" / "instance.env").unlink()
    ran = machine.sh("main status")
    assert ran.code == 1
    assert "instance.env is missing: user data writes it" in ran.output


def test_a_value_of_instance_env_is_not_run(tmp_path):
    machine = Machine(tmp_path, LOG_GROUP=f"$(touch {tmp_path}/ran)")
    machine.sh("load_instance; environment")
    assert not (tmp_path / "ran").exists()


def _memory(total: int, database: str = "docker") -> dict[str, str]:
    said = subprocess.run(
        ["bash", str(PROGRAM), "memory", str(total)],
        env={"PATH": "/usr/bin:/bin", "DATABASE": database},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return dict(line.split("=") for line in said.splitlines())


@pytest.mark.parametrize("total", [907, 1863, 3836, 7812, 15_700, 63_000, 500_000])
def test_memory_is_shared_out_and_something_is_left(total):
    shares = _memory(total)
    assert int(shares["POSTGRES_SHARED_BUFFERS"]) < int(shares["POSTGRES_MEMORY"])
    left = total - int(shares["POSTGRES_MEMORY"]) - int(shares["PENSTOCK_MEMORY"])
    assert left >= 64
    assert 64 <= int(shares["PENSTOCK_RING_BYTES"]) <= 1024


def test_with_rds_there_is_no_memory_for_postgresql():
    assert _memory(3836, "rds") == {
        "PENSTOCK_MEMORY": "2301",
        "PENSTOCK_RING_BYTES": "920",
    }


def test_stack_env_has_what_compose_asks_for(tmp_path):
    machine = Machine(tmp_path)
    assert machine.sh("load_instance; environment registry.test/penstock:1").code == 0
    text = (tmp_path / "run" / "stack.env").read_text()
    given = {line.split("=")[0] for line in text.splitlines()}
    compose = (DEPLOY / "compose" / "compose.yaml").read_text()
    asked = set(re.findall(r"\$\{([A-Z_]+)(?::\?|\})", compose))
    assert asked <= given
    # Without a unit it would be bytes.
    assert re.search(r"^PENSTOCK_RING_BYTES=\d+MiB$", text, re.MULTILINE)
    assert "password" not in text.lower()


# ---- the notice that a receiver ends


class _Metadata(BaseHTTPRequestHandler):
    """IMDSv2, as far as it is asked: without its token there is no answer."""

    def do_PUT(self) -> None:
        self._answer("a-token")

    def do_GET(self) -> None:
        assert isinstance(self.server, _MetadataServer)
        if self.headers.get("X-aws-ec2-metadata-token") != "a-token":
            self.send_error(401)
            return
        path = self.path.removeprefix("/latest/meta-data/")
        self._answer(self.server.answers.get(path))

    def _answer(self, body: str | None) -> None:
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _MetadataServer(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Metadata)
        self.answers = {"instance-id": "i-0123456789abcdef0"}


@pytest.fixture
def metadata() -> Iterator[tuple[str, dict[str, str]]]:
    server = _MetadataServer()
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", server.answers
    server.shutdown()
    server.server_close()


def _receiver(tmp_path: Path, address: str) -> tuple[Machine, str]:
    machine = Machine(tmp_path, VARIANT="receivers", DATABASE="rds")
    machine.has_stack()
    return machine, f"metadata={address} spot_pause_seconds=0.2; main spot"


def _order(machine: Machine) -> list[str]:
    calls = machine.calls()
    named = [each.split("compose.yaml ")[-1] for each in calls]
    return [each for each in named if each.startswith(("stop", "systemctl", "aws"))]


def test_a_spot_notice_drains_the_receiver_behind_the_load_balancer(tmp_path, metadata):
    address, answers = metadata
    notice = {"action": "terminate", "time": "2026-11-30T08:22:00Z"}
    answers["spot/instance-action"] = json.dumps(notice)
    machine, spot = _receiver(tmp_path, address)
    ran = machine.sh(spot)
    assert ran.code == 0, ran.output
    assert "this instance ends (spot: terminate): draining" in ran.output
    assert _order(machine)[-3:] == [
        "stop nginx",
        "stop penstock",
        "systemctl stop --no-block penstock-stack.service",
    ]


def test_a_receiver_that_the_group_ends_tells_it_when_it_has_drained(
    tmp_path, metadata
):
    address, answers = metadata
    answers["autoscaling/target-lifecycle-state"] = "Terminated"
    machine, spot = _receiver(tmp_path, address)
    ran = machine.sh(spot)
    assert ran.code == 0, ran.output
    stopped, _, told = _order(machine)[-3:]
    assert stopped == "stop penstock"
    assert "complete-lifecycle-action --lifecycle-hook-name drain" in told
    assert "--auto-scaling-group-name penstock-test-receivers" in told
    assert "--instance-id i-0123456789abcdef0" in told


def test_without_a_notice_nothing_is_drained(tmp_path, metadata):
    address, answers = metadata
    answers["autoscaling/target-lifecycle-state"] = "InService"
    machine, _ = _receiver(tmp_path, address)
    ran = machine.sh(f"metadata={address}; spot_notice")
    assert (ran.code, ran.output) == (1, "")
