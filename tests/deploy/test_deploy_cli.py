"""`penstock deploy` from init to destroy: the real Terraform against the fake AWS."""

import itertools
import json
import os
import pty
import select
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.deploy.fake_aws import FakeAws
from tests.deploy.fake_ssm import PROGRAM_OF
from tests.deploy.tools import (
    TERRAFORM,
    plugin_dir,
    terraform_environment,
    tool,
)
from tests.s3_server import without_aws

TINY_ROOT = Path(__file__).parent / "tiny_root"
STATE_BUCKET = "penstock-tfstate-123456789012-us-east-1"
MEDIA_TYPE = "application/vnd.oci.image.index.v1+json"
# A plan takes three seconds; on a machine that others use as well, many more.
PATIENCE_SECONDS = 240
pytestmark = pytest.mark.timeout(600)


class Ran(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    stdout: str
    stderr: str


class Here:
    """The command in a directory of its own, with one AWS and one root module."""

    def __init__(self, directory: Path, root: Path, aws: FakeAws) -> None:
        self.directory = directory
        self.root = root
        self.aws = aws
        terraform = terraform_environment(directory)
        terraform.pop("TF_DATA_DIR")
        self.environment = without_aws(os.environ) | aws.environment | terraform
        # Terraform's own way to say by the environment what init is given.
        self.environment["TF_CLI_ARGS_init"] = " ".join(plugin_dir())
        self.environment["COLUMNS"] = "200"

    def argv(self, *arguments: str) -> list[str]:
        command = [sys.executable, "-m", "penstock", "deploy", *arguments]
        return [*command, "--terraform-dir", str(self.root)]

    def __call__(self, *arguments: str) -> Ran:
        done = subprocess.run(
            self.argv(*arguments),
            env=self.environment,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def passes(self, *arguments: str) -> Ran:
        ran = self(*arguments)
        assert ran.code == 0, ran.stdout + ran.stderr
        return ran

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*arguments),
            env=self.environment,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def on_terminal(self, *arguments: str, typed: list[tuple[str, str]]) -> Ran:
        """Run it on a terminal and answer what it asks: (its words, the answer)."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.directory)
            os.execve(sys.executable, self.argv(*arguments), self.environment)
        said, waiting = "", list(typed)
        give_up = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                got = os.read(terminal, 65536)
            except OSError:  # the other side is closed
                break
            if not got:
                break
            said += got.decode(errors="replace")
            if waiting and waiting[0][0] in said:
                os.write(terminal, waiting.pop(0)[1].encode() + b"\n")
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        return Ran(os.waitstatus_to_exitcode(status), said, "")


def new_place(directory: Path, aws: FakeAws) -> Here:
    tool("terraform")
    root = directory / "root"
    shutil.copytree(TINY_ROOT, root)
    return Here(directory, root, aws)


def init_arguments(aws: FakeAws, environment: str) -> list[str]:
    return [
        "init",
        *("--region", "us-east-1", "-e", environment),
        *("--alert-email", "oncall@example.org", "--endpoint", aws.address),
    ]


@pytest.fixture(scope="module")
def aws() -> Iterator[FakeAws]:
    """An AWS of these tests' own: they look at all that is in it."""
    server = FakeAws()
    yield server
    server.close()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, aws: FakeAws) -> Here:
    """A deployment that is applied, with two machines."""
    place = new_place(tmp_path_factory.mktemp("deploy"), aws)
    machines = json.dumps(["i-1", "i-2"])
    place.passes(*init_arguments(aws, "test"), "--var", f"machines={machines}")
    applied = place.passes("apply", "--yes")
    assert "penstock: 4 to make: done" in applied.stderr
    return place


def deployment(here: Here, environment: str = "test") -> Path:
    return here.directory / "penstock-deploy" / environment


def one_line(ran: Ran, code: int) -> str:
    """The one line that says what is wrong."""
    assert ran.code == code, ran.stdout + ran.stderr
    (line,) = [x for x in ran.stderr.splitlines() if x.startswith("penstock: ")][-1:]
    assert "Traceback" not in ran.stderr
    return line


# --- init


def test_init_makes_a_bucket_for_the_state_that_is_versioned_encrypted_and_tls_only(
    here: Here, aws: FakeAws
) -> None:
    s3 = aws.client("s3")
    assert s3.get_bucket_versioning(Bucket=STATE_BUCKET)["Status"] == "Enabled"
    (rule,) = s3.get_bucket_encryption(Bucket=STATE_BUCKET)[
        "ServerSideEncryptionConfiguration"
    ]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    blocked = s3.get_public_access_block(Bucket=STATE_BUCKET)
    assert set(blocked["PublicAccessBlockConfiguration"].values()) == {True}
    assert "aws:SecureTransport" in s3.get_bucket_policy(Bucket=STATE_BUCKET)["Policy"]
    found = s3.list_objects_v2(Bucket=STATE_BUCKET)["Contents"]
    assert [each["Key"] for each in found] == ["penstock/test/terraform.tfstate"], (
        "the lock is given back"
    )


def test_init_takes_no_state_from_a_bucket_that_is_somebody_elses(
    tmp_path: Path, aws: FakeAws
) -> None:
    place = new_place(tmp_path, aws)
    theirs = aws.client("s3")
    theirs.meta.events.register(
        "before-sign.s3.CreateBucket",
        lambda request, **_: request.headers.add_header(
            "x-moto-account-id", "999999999999"
        ),
    )
    bucket = STATE_BUCKET.replace("penstock", "sniped", 1)
    theirs.create_bucket(Bucket=bucket)
    for more in ((), ("--existing-state",)):
        ran = place(*init_arguments(aws, "other"), "--var", "name=sniped", *more)
        line = one_line(ran, 3)
        assert f"the bucket {bucket} is not the account's (123456789012)" in line
    assert "Contents" not in theirs.list_objects_v2(Bucket=bucket)
    ran = place(*init_arguments(aws, "other"), "--var", "name=none", "--existing-state")
    assert "--existing-state makes none" in one_line(ran, 1)


def test_no_file_of_a_deployment_leads_to_an_aws_that_is_somebody_elses(
    tmp_path: Path, aws: FakeAws
) -> None:
    place = new_place(tmp_path, aws)
    for theirs in ("http://aws.example:5000", "http://localhost:1@aws.example:80"):
        (tmp_path / "given.json").write_text(json.dumps({"endpoint": theirs}))
        ran = place(
            *("init", "--region", "us-east-1", "-e", "test"),
            *("--alert-email", "a@example.org", "--var-file", "given.json"),
        )
        assert "it is for tests" in one_line(ran, 2)


def test_a_run_leaves_nothing_beside_terraforms_files_but_its_lock(here: Here) -> None:
    assert sorted(each.name for each in here.root.iterdir()) == [
        ".terraform.lock.hcl",
        "main.tf",
    ]
    assert stat.S_IMODE(deployment(here).stat().st_mode) == 0o700
    assert not (deployment(here) / "plan.tfplan").exists()


def test_init_again_keeps_what_is_not_given(here: Here) -> None:
    before = json.loads((deployment(here) / "deployment.tfvars.json").read_text())
    here.passes("init", "-e", "test", "--var", "data_volume_gib=10")
    after = json.loads((deployment(here) / "deployment.tfvars.json").read_text())
    assert after == before | {"data_volume_gib": 10}
    here.passes("init", "--var", "data_volume_gib=10")  # there is only one


def test_init_of_what_is_applied_takes_no_other_state(here: Here, aws: FakeAws) -> None:
    """By a wrong region it would know nothing of what is there, and make it again."""
    files = deployment(here)
    before = {each: each.read_bytes() for each in files.iterdir() if each.is_file()}
    line = one_line(here("init", "-e", "test", "--region", "eu-central-1"), 1)
    assert f"resources in its state s3://{STATE_BUCKET}/penstock/test/" in line
    assert {each: each.read_bytes() for each in before} == before
    buckets = {each["Name"] for each in aws.client("s3").list_buckets()["Buckets"]}
    assert not any("eu-central-1" in each for each in buckets)
    here.passes("output")


def test_init_of_what_another_account_has_takes_no_other_state(
    here: Here, aws: FakeAws
) -> None:
    """By wrong credentials the same: their account is in the bucket's name."""
    s3, key = aws.client("s3"), "penstock/test/terraform.tfstate"
    theirs = STATE_BUCKET.replace("123456789012", "999999999999")
    s3.create_bucket(Bucket=theirs)
    state = s3.get_object(Bucket=STATE_BUCKET, Key=key)["Body"].read()
    settings = deployment(here) / "backend.hcl"
    before = settings.read_text()
    settings.write_text(before.replace(STATE_BUCKET, theirs))
    try:
        s3.put_object(Bucket=theirs, Key=key, Body=state)
        line = one_line(here("init", "-e", "test"), 1)
        assert f"resources in its state s3://{theirs}/penstock/test/" in line
        s3.put_object(Bucket=theirs, Key=key, Body=b"cut sho")
        assert "is no state of Terraform's" in one_line(here("init", "-e", "test"), 3)
        assert theirs in settings.read_text(), "it was not written anew"
    finally:
        settings.write_text(before)


def test_init_takes_what_deploy_size_has_written(
    tmp_path: Path, aws: FakeAws, here: Here
) -> None:
    """Its file alone says which environment, and where."""
    place = Here(tmp_path, here.root, aws)
    written = {"region": "us-east-1", "environment": "sized", "endpoint": aws.address}
    (tmp_path / "x.tfvars.json").write_text(json.dumps(written | {"machines": ["i-9"]}))
    place.passes("init", "--var-file", "x.tfvars.json", "--alert-email", "a@b.example")
    found = json.loads(
        (deployment(place, "sized") / "deployment.tfvars.json").read_bytes()
    )
    assert found["machines"] == ["i-9"]
    assert found["alert_email"] == "a@b.example"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"AWS_ACCESS_KEY_ID": None}, "there are no AWS credentials: log in"),
        ({"AWS_PROFILE": "nobody"}, "correct AWS_PROFILE"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "AWS is out of reach"),
    ],
)
def test_without_a_way_into_aws_init_says_so_in_one_line_and_writes_nothing(
    tmp_path: Path, aws: FakeAws, here: Here, keys: dict[str, Any], expected: str
) -> None:
    place = Here(tmp_path, here.root, aws)
    for name, value in keys.items():
        place.environment.pop(name, None)
        if value:
            place.environment[name] = value
    if "AWS_ACCESS_KEY_ID" in keys:
        place.environment.pop("AWS_SECRET_ACCESS_KEY")
    arguments = [x for x in init_arguments(aws, "test") if x != "--endpoint"][:-1]
    ran = place(*arguments)
    assert expected in one_line(ran, 3)
    assert list(tmp_path.iterdir()) == []


def test_an_old_terraform_or_none_is_said_before_anything_is_made(
    tmp_path: Path, aws: FakeAws, here: Here
) -> None:
    place = Here(tmp_path, here.root, aws)
    programs = tmp_path / "bin"
    programs.mkdir()
    place.environment["PATH"] = str(programs)
    line = one_line(place(*init_arguments(aws, "test")), 3)
    assert "terraform is not installed: get 1.11 or newer from https://" in line
    old = programs / "terraform"
    old.write_text('#!/bin/sh\necho \'{"terraform_version": "1.5.7"}\'\n')
    old.chmod(0o755)
    line = one_line(place(*init_arguments(aws, "test")), 3)
    assert "is Terraform 1.5.7, and 1.11 is needed" in line
    assert list(tmp_path.iterdir()) == [programs]


# --- plan and apply


def test_a_data_volume_that_would_be_replaced_is_called_out_and_no_flag_does_it(
    here: Here, aws: FakeAws
) -> None:
    here.passes("init", "-e", "test", "--var", "zone=us-east-1b")
    try:
        ran = here("apply", "--yes")
        assert "has to be typed" in one_line(ran, 1)
        assert "-/+ aws_ebs_volume.data" in ran.stderr
        assert "DATA LOSS: the data volume aws_ebs_volume.data would be REPLACED" in (
            ran.stderr
        )
        (volume,) = aws.client("ec2").describe_volumes()["Volumes"]
        assert volume["AvailabilityZone"] == "us-east-1a"
    finally:
        here.passes("init", "-e", "test", "--var", "zone=us-east-1a")


def test_output_says_how_to_send_and_no_secret(here: Here) -> None:
    ran = here.passes("output")
    assert "host: 10.42.0.10" in ran.stdout
    assert (
        "get-secret-value --region us-east-1 --secret-id arn:aws:secrets" in ran.stdout
    )
    found = json.loads(here.passes("output", "-o", "json").stdout)
    assert found["forward_endpoint"] == "10.42.0.10:24224"
    assert "hidden" not in found
    assert "hunter2" not in ran.stdout + ran.stderr
    assert "sudo cat /data/tls/server.crt" in ran.stdout
    assert "kept_on_destroy" in found and "kept_on_destroy" not in ran.stdout


# --- with a root that needs no provider, so that it is planned at once

QUICK_ROOT = """
terraform {
  backend "s3" {}
}
variable "region" { type = string }
variable "environment" { type = string }
variable "alert_email" { type = string }
variable "endpoint" { type = string }
variable "bucket" { default = "" }
variable "seconds" {
  type    = number
  default = 0
}
variable "kept" { default = ["terraform_data.second"] }
resource "terraform_data" "first" {
  provisioner "local-exec" {
    command = "touch began; while [ -e hold ]; do sleep 0.1; done; sleep ${var.seconds}"
  }
}
resource "terraform_data" "second" {
  depends_on = [terraform_data.first]
}
output "backup_store" { value = "s3://${var.bucket}/penstock" }
output "kept_on_destroy" { value = var.kept }
"""
_names = itertools.count(1)


@pytest.fixture
def quick(tmp_path: Path, aws: FakeAws) -> Here:
    """A root whose first resource takes as long as there is a file named `hold`."""
    tool("terraform")
    root = tmp_path / "root"
    root.mkdir()
    (root / "main.tf").write_text(QUICK_ROOT)
    place = Here(tmp_path, root, aws)
    place.environment.pop("TF_CLI_ARGS_init")
    place.passes(*init_arguments(aws, f"quick{next(_names)}"))
    return place


@contextmanager
def applying(place: Here) -> Iterator[subprocess.Popen[str]]:
    """Apply, and be at the first resource until the block ends."""
    hold = place.root / "hold"
    hold.touch()
    try:
        process = place.start("apply", "--yes")
        begun(place)
        yield process
    finally:
        hold.unlink()


def begun(place: Here) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not (place.root / "began").exists():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_ctrl_c_ends_terraform_in_good_order_and_the_same_command_goes_on(
    quick: Here, aws: FakeAws
) -> None:
    with applying(quick) as process:
        # Twice, as people do: Terraform gets one.
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, said
    assert "stopping: Terraform ends the step it is in" in said
    assert "stopped after 0 of 2 steps; the same command goes on from there" in said
    keys = aws.client("s3").list_objects_v2(Bucket=STATE_BUCKET)["Contents"]
    assert not [each["Key"] for each in keys if each["Key"].endswith(".tflock")]
    assert "1 to make, 1 to replace: done" in quick.passes("apply", "--yes").stderr


def test_what_terraform_refuses_is_one_line_after_its_own_words(quick: Here) -> None:
    (environment,) = (quick.directory / "penstock-deploy").iterdir()
    quick.passes("init", "-e", environment.name, "--var", 'seconds="much"')
    ran = quick("plan")
    assert "terraform plan failed: Invalid value for input" in one_line(ran, 1)
    assert "error: Invalid value for input variable" in ran.stderr
    assert "a number is required" in ran.stderr


def test_plan_lists_each_change_for_people_and_programs(quick: Here) -> None:
    ran = quick.passes("plan")
    assert ran.stdout.splitlines() == [
        "  + terraform_data.first",
        "  + terraform_data.second",
        "2 to make",
    ]
    first, _ = map(json.loads, quick.passes("plan", "-o", "json").stdout.splitlines())
    assert first == {
        "address": "terraform_data.first",
        "type": "terraform_data",
        "action": "create",
        "reason": "",
        "loses_data": False,
    }
    said = quick("apply")
    assert "there is no terminal to ask at" in one_line(said, 1)
    assert "nothing is deployed here yet" in one_line(quick("output"), 1)


def test_who_holds_the_state_is_named_and_since_when(quick: Here) -> None:
    with applying(quick) as process:
        line = one_line(quick("apply", "--yes"), 1)
    said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, said
    assert "somebody else is at work on this deployment: " in line
    assert ", apply since 20" in line


def test_a_lock_that_nobody_holds_any_more_is_released_by_the_command_that_is_told(
    quick: Here,
) -> None:
    with applying(quick) as process:
        (terraform,) = children_of(process.pid)
        os.kill(terraform, signal.SIGKILL)
        process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    line = one_line(quick("plan"), 1)
    release = line.rpartition("it is no longer running: ")[2]
    elsewhere = quick.directory / "elsewhere"
    elsewhere.mkdir()
    subprocess.run(
        release.replace("force-unlock", "force-unlock -force"),
        shell=True,
        env=quick.environment,
        cwd=elsewhere,
        check=True,
        capture_output=True,
    )
    quick.passes("plan")


def children_of(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in listed.split()]


@pytest.mark.parametrize("command", ["plan", "output"])
def test_on_another_machine_the_command_that_makes_it_ready_is_told(
    quick: Here, command: str
) -> None:
    (deployment,) = (quick.directory / "penstock-deploy").iterdir()
    shutil.rmtree(deployment / "terraform")
    line = one_line(quick(command), 1)
    again = "penstock deploy init --dir "
    assert line == (
        "penstock: this machine is not ready for the deployment:"
        f" {again}{deployment} makes it so"
    )
    quick.passes("init", "--dir", str(deployment))
    quick.passes("plan")


@pytest.mark.parametrize("command", ["plan", "output"])
def test_terraform_without_credentials_is_told_how_to_log_in(
    quick: Here, command: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        quick.environment.pop(name)
    line = one_line(quick(command), 1)
    assert f"terraform {command} failed: AWS does not let it in" in line
    assert "aws sso login" in line


# --- upgrade


MACHINE = """#!/bin/sh
# What the instance's own program does, as far as the other side can tell.
echo "$1 $2 on $3" >> {log}
echo "pulled $2"
if [ -e {broken}-"$3" ]; then
  echo "not healthy: rolled back to the image before" >&2
  exit 1
fi
echo "healthy"
"""


class Machines(NamedTuple):
    """The machines' program: what it was asked, and which machine is broken."""

    log: Path
    broken: Path

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def break_one(self, machine: str) -> None:
        Path(f"{self.broken}-{machine}").touch()


@pytest.fixture
def machines(tmp_path: Path, here: Here, aws: FakeAws) -> Machines:
    log, broken = tmp_path / "log", tmp_path / "broken"
    program = tmp_path / "machine"
    program.write_text(MACHINE.format(log=log, broken=broken))
    program.chmod(0o755)
    reached(aws, program, "i-1", "i-2")
    return Machines(log, broken)


def reached(aws: FakeAws, program: Path, *machines: str) -> None:
    for machine in machines:
        aws.client("ssm").put_parameter(
            Name=PROGRAM_OF.format(machine=machine),
            Value=str(program),
            Type="String",
            Overwrite=True,
        )


def image_of(aws: FakeAws) -> str:
    found = aws.client("ssm").get_parameter(Name="/penstock/test/image")
    return str(found["Parameter"]["Value"])


def test_upgrade_takes_one_machine_after_the_other_and_then_says_what_runs(
    here: Here, aws: FakeAws, machines: Machines
) -> None:
    ran = here.passes("upgrade", "--image", "registry.example/penstock:2", "-o", "json")
    assert machines.asked() == [
        "upgrade registry.example/penstock:2 on i-1",
        "upgrade registry.example/penstock:2 on i-2",
    ]
    first, second = map(json.loads, ran.stdout.splitlines())
    assert (first["machine"], first["is_well"]) == ("i-1", True)
    assert second["last_lines"] == ["pulled registry.example/penstock:2", "healthy"]
    assert image_of(aws) == "registry.example/penstock:2"


def test_the_first_machine_that_rolls_back_ends_the_upgrade(
    here: Here, aws: FakeAws, machines: Machines
) -> None:
    before = image_of(aws)
    machines.break_one("i-1")
    ran = here("upgrade", "--image", "registry.example/penstock:3")
    assert one_line(ran, 1) == (
        "penstock: i-1: it ended with 1; 0 upgraded before it, the rest not touched"
    )
    assert "not healthy: rolled back to the image before" in ran.stdout
    assert machines.asked() == ["upgrade registry.example/penstock:3 on i-1"]
    assert image_of(aws) == before


def test_a_machine_that_takes_too_long_is_said_to_be_late(
    here: Here, aws: FakeAws, machines: Machines, tmp_path: Path
) -> None:
    program = tmp_path / "slow"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    reached(aws, program, "i-1")
    ran = here("upgrade", "--image", "registry.example/penstock:4", "--timeout", "30")
    assert "i-1: it was not done in 30 s" in one_line(ran, 1)


def test_a_machine_that_systems_manager_does_not_reach_is_named(
    here: Here, aws: FakeAws, machines: Machines
) -> None:
    aws.client("ssm").delete_parameter(Name=PROGRAM_OF.format(machine="i-2"))
    ran = here("upgrade", "--image", "registry.example/penstock:5")
    assert "i-2 is not reached by Systems Manager" in one_line(ran, 3)


@pytest.mark.parametrize("image", ["penstock", "a:b; rm -rf /", "$(id):1", "A/b:1"])
def test_upgrade_refuses_what_is_no_image(here: Here, image: str) -> None:
    assert "registry/name:tag" in one_line(here("upgrade", "--image", image), 2)


def test_an_image_of_our_own_registry_goes_by_its_digest(
    here: Here, aws: FakeAws, machines: Machines
) -> None:
    repository = json.loads(here.passes("output", "-o", "json").stdout)[
        "image_repository"
    ]
    line = one_line(here("upgrade", "--image", f"{repository}:9"), 1)
    assert "penstock deploy push brings it there" in line
    pushed = push_image(aws, "9")
    here.passes("upgrade", "--image", f"{repository}:9")
    assert machines.asked()[0] == f"upgrade {repository}@{pushed} on i-1"


def push_image(aws: FakeAws, tag: str) -> str:
    manifest = json.dumps({"tag": tag, "mediaType": MEDIA_TYPE})
    image = aws.client("ecr").put_image(
        repositoryName="test/penstock", imageManifest=manifest, imageTag=tag
    )["image"]
    return str(image["imageId"]["imageDigest"])


# --- push

DOCKER = """#!{python}
import json
import sys

sys.path.insert(0, {repository!r})
from tests.s3_server import client_of

with open({log!r}, "a") as log:
    print(*sys.argv[1:], file=log)
    if sys.argv[1] == "login":
        print("password by stdin:", bool(sys.stdin.read()), file=log)
if sys.argv[1] in ("push", "buildx"):
    tagged = [x for x in sys.argv if x.startswith("--tag=")] or sys.argv[2:3]
    name, _, tag = tagged[0].removeprefix("--tag=").rpartition(":")
    client_of({address!r}, "ecr").put_image(
        repositoryName=name.partition("/")[2],
        imageManifest=json.dumps(dict(tag=tag, mediaType={media_type!r})),
        imageTag=tag,
    )
"""


def test_push_builds_for_the_machines_kind_and_prints_the_digest(
    here: Here, aws: FakeAws, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    log = tmp_path / "log"
    docker = programs / "docker"
    repository = str(Path(__file__).parents[2])
    docker.write_text(
        DOCKER.format(
            python=sys.executable,
            repository=repository,
            log=str(log),
            address=aws.address,
            media_type=MEDIA_TYPE,
        )
    )
    docker.chmod(0o755)
    place = Here(here.directory, here.root, aws)
    place.environment["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    place.environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    ran = place.passes("push", "--only", "penstock", "--tag", "1.2.3")
    assert "@sha256:" in ran.stdout
    asked = log.read_text()
    assert "password by stdin: True" in asked
    assert "--platform=linux/arm64" in asked
    assert "--target=penstock" in asked
    assert "--sbom=true" in asked
    again = "is there already, and tags are not overwritten: give another --tag"
    line = one_line(place("push", "--only", "penstock", "--tag", "1.2.3"), 1)
    assert line.endswith(again)

    ecr = aws.client("ecr")
    ecr.create_repository(repositoryName="test/postgres")
    line = one_line(place("push", "--tag", "1.2.3"), 1)
    assert "--only postgres brings the one that is missing" in line
    place.passes("push", "--only", "postgres", "--tag", "1.2.3")
    assert one_line(place("push", "--tag", "1.2.3"), 1).endswith(again)
    ecr.delete_repository(repositoryName="test/postgres", force=True)


# --- destroy: the last of this deployment


def test_destroy_asks_twice_before_data_goes_and_keeps_it_else(
    here: Here, aws: FakeAws
) -> None:
    assert "there is no terminal to ask at" in one_line(here("destroy"), 1)
    wrong = here.on_terminal("destroy", typed=[("Type test", "tset")])
    assert wrong.code == 1
    assert "nothing was changed: that was not test" in wrong.stdout

    ran = here.passes("destroy", "--yes")
    (volume,) = aws.client("ec2").describe_volumes()["Volumes"]
    assert f"kept: aws_ebs_volume.data {volume['VolumeId']}" in ran.stderr
    assert f"aws ec2 delete-volume --volume-id {volume['VolumeId']}" in ran.stderr
    buckets = {x["Name"] for x in aws.client("s3").list_buckets()["Buckets"]}
    assert "backups-test" in buckets
    assert aws.client("ecr").describe_repositories()["repositories"] == []
    assert "there is nothing to remove" in one_line(here("destroy", "--yes"), 1)

    again = here.passes("apply", "--yes")
    assert "penstock: 2 to make: done" in again.stderr, "it goes on with the data"
    found = aws.client("ec2").describe_volumes()["Volumes"]
    assert [each["VolumeId"] for each in found] == [volume["VolumeId"]]


def test_data_goes_when_it_was_said_twice(quick: Here, aws: FakeAws) -> None:
    (place,) = (quick.directory / "penstock-deploy").iterdir()
    name = place.name
    variables = ["--var", f"bucket=backups-{name}", "--var", "seconds=0"]
    quick.passes("init", "-e", name, *variables)
    quick.passes("apply", "--yes")
    line = one_line(quick("destroy", "--yes", "--delete-data"), 1)
    assert "--delete-data is the second word" in line
    assert f"penstock deploy init -e {name} --var keep_data_on_destroy=false" in line
    quick.passes("init", "-e", name, "--var", "kept=[]")
    quick.passes("apply", "--yes")
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=f"backups-{name}")
    s3.put_bucket_versioning(
        Bucket=f"backups-{name}", VersioningConfiguration={"Status": "Enabled"}
    )
    for body in (b"1", b"2"):
        s3.put_object(Bucket=f"backups-{name}", Key="penstock/x", Body=body)
    s3.delete_object(Bucket=f"backups-{name}", Key="penstock/x")
    line = one_line(quick("destroy", "--yes", "--delete-data"), 1)
    assert "has to be typed" in line
    ran = quick.on_terminal(
        *("destroy", "--yes", "--delete-data"), typed=[(f"Type {name}", name)]
    )
    assert ran.code == 0, ran.stdout
    assert f"s3://backups-{name} emptied, 3 objects" in ran.stdout
    left = s3.list_object_versions(Bucket=f"backups-{name}")
    assert "Versions" not in left
    assert "DeleteMarkers" not in left


def test_the_real_root_has_the_outputs_that_the_commands_read() -> None:
    text = (TERRAFORM / "outputs.tf").read_text()
    tiny = (TINY_ROOT / "main.tf").read_text()
    for name in (
        *("instance_ids", "autoscaling_group_name", "forward_endpoint", "secret_arn"),
        *("backup_store", "image_repository", "image_parameter", "kept_on_destroy"),
    ):
        assert f'output "{name}"' in text
        assert f'output "{name}"' in tiny
    assert 'output "postgres_image_repository"' in text
    assert 'output "application_security_group_id"' in text
