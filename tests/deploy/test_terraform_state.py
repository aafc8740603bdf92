"""The state in S3: the bucket that bootstrap makes, and its lock."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.deploy.fake_aws import ACCOUNT, REGION, FakeAws
from tests.deploy.terraform_runs import PATIENCE_SECONDS, environment, init
from tests.deploy.tools import TERRAFORM, passes, run, tool

pytestmark = pytest.mark.timeout(PATIENCE_SECONDS)
BUCKET = f"penstock-tfstate-{ACCOUNT}-{REGION}"

# Something that takes as long as is wanted, with the backend of the real root.
SLOW = """
variable "seconds" {}

resource "terraform_data" "slow" {
  input = timestamp()

  provisioner "local-exec" {
    command = "sleep ${var.seconds}"
  }
}
"""


@pytest.fixture(scope="module")
def bucket(aws: FakeAws, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bucket, applied from bootstrap/ but for its lifecycle rules.

    They are waited for a minute by the clock; full/test_variants.py has them too.
    """
    there = tmp_path_factory.mktemp("bootstrap")
    shutil.copytree(TERRAFORM / "bootstrap", there, dirs_exist_ok=True)
    env = environment(there / "data")
    init(there, env)
    kinds = "versioning public_access_block policy server_side_encryption_configuration"
    targets = [f"-target=aws_s3_bucket_{kind}.state" for kind in kinds.split()]
    variables = [f"-var=region={REGION}", f"-var=endpoint={aws.address}"]
    passes(
        "terraform",
        "apply",
        "-auto-approve",
        *targets,
        *variables,
        env=env,
        cwd=there,
        seconds=PATIENCE_SECONDS,
    )
    outputs = json.loads(passes("terraform", "output", "-json", env=env, cwd=there))
    assert outputs["state_bucket"]["value"] == BUCKET
    # Nobody destroys it by mistake.
    ran = run(
        "terraform",
        "destroy",
        "-auto-approve",
        *variables,
        env={**env, "TF_CLI_ARGS_destroy": "-no-color"},
        cwd=there,
        seconds=PATIENCE_SECONDS,
    )
    assert ran.code == 1
    assert "lifecycle.prevent_destroy" in ran.output
    return BUCKET


def test_the_state_is_versioned_encrypted_closed_and_tls_only(
    aws: FakeAws, bucket: str
):
    s3 = aws.client("s3")
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    rules = s3.get_bucket_encryption(Bucket=bucket)
    assert rules["ServerSideEncryptionConfiguration"]["Rules"]
    block = s3.get_public_access_block(Bucket=bucket)
    assert set(block["PublicAccessBlockConfiguration"].values()) == {True}
    policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    (statement,) = policy["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.fixture
def slow_root(aws: FakeAws, bucket: str, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A root with the real one's backend, in that bucket."""
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(TERRAFORM / "versions.tf", root)
    (root / "main.tf").write_text(SLOW)
    (root / "where.tfbackend").write_text(
        f"""
        bucket = "{bucket}"
        key    = "penstock/production/terraform.tfstate"
        region = "{REGION}"
        endpoints = {{ s3 = "{aws.address}" }}
        use_path_style              = true
        skip_credentials_validation = true
        skip_requesting_account_id  = true
        skip_metadata_api_check     = true
        """
    )
    env = environment(tmp_path / "data")
    init(root, env, "-backend-config=where.tfbackend")
    return root, env


def test_of_two_applies_at_once_the_second_is_told_of_the_first(
    aws: FakeAws, slow_root: tuple[Path, dict[str, str]]
):
    root, env = slow_root
    s3 = aws.client("s3")
    lock = {"Bucket": BUCKET, "Prefix": "penstock/production/terraform.tfstate.tflock"}
    first = subprocess.Popen(
        [tool("terraform"), "apply", "-auto-approve", "-var=seconds=8"],
        cwd=root,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with first:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not s3.list_objects_v2(**lock)["KeyCount"]:
            assert time.monotonic() < give_up
            assert first.poll() is None
            time.sleep(0.1)
        second = run(
            "terraform", "apply", "-auto-approve", "-var=seconds=0", env=env, cwd=root
        )
        printed, _ = first.communicate(timeout=PATIENCE_SECONDS)
    assert second.code == 1
    assert "Error acquiring the state lock" in second.output
    assert "PreconditionFailed" in second.output
    assert first.returncode == 0, printed
    # It gave the lock back, and the state is the first's.
    assert s3.list_objects_v2(**lock)["KeyCount"] == 0
    key = "penstock/production/terraform.tfstate"
    state = json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    assert [each["name"] for each in state["resources"]] == ["slow"]
    # Nothing of it is beside the configuration.
    assert not list(root.glob("*.tfstate*"))
