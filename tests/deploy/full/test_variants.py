"""Every variant applied to the fake AWS, planned again, and destroyed.

Minutes, most of them the provider's waiting: RDS and S3's lifecycle rules by the clock.
"""

import json
from typing import Any

import pytest

from tests.deploy.fake_aws import ACCOUNT, REGION, FakeAws
from tests.deploy.terraform_runs import (
    PATIENCE_SECONDS,
    VARIANTS,
    Terraform,
    environment,
    init,
    resources,
)
from tests.deploy.tools import passes

pytestmark = pytest.mark.timeout(2 * PATIENCE_SECONDS)

# What the fake does not keep as it was given, so that a plan would change it again.
FAKES = {
    # Performance Insights, and all parameters of a group.
    ("module.database[0].aws_db_instance.this", "update"),
    ("module.database[0].aws_db_instance.replica[0]", "update"),
    ("module.database[0].aws_db_parameter_group.this", "update"),
    # Warm-up and mixed types, a policy's defaults, the template's own tags.
    ("module.compute.aws_autoscaling_group.this[0]", "update"),
    ("module.compute.aws_autoscaling_policy.cpu[0]", "update"),
    ("module.compute.aws_launch_template.this[0]", "update"),
}


def leftover(aws: FakeAws, name: str) -> dict[str, list[Any]]:
    """Return what there still is of a deployment, of what has data or costs most."""
    prefix = f"penstock-{name}"
    instances = aws.client("ec2").describe_instances(
        Filters=[
            {"Name": "tag:Deployment", "Values": [prefix]},
            {"Name": "instance-state-name", "Values": ["running", "stopped"]},
        ]
    )
    databases = aws.client("rds").describe_db_instances()["DBInstances"]
    balancers = aws.client("elbv2").describe_load_balancers()["LoadBalancers"]
    buckets = aws.client("s3").list_buckets()["Buckets"]
    roles = aws.client("iam").list_roles()["Roles"]
    return {
        "instances": instances["Reservations"],
        "databases": [
            each["DBInstanceIdentifier"]
            for each in databases
            if each["DBInstanceIdentifier"].startswith(prefix)
        ],
        "balancers": [b for b in balancers if b["LoadBalancerName"] == prefix],
        "buckets": [b["Name"] for b in buckets if b["Name"].startswith(prefix)],
        "roles": [r["RoleName"] for r in roles if r["RoleName"].startswith(prefix)],
    }


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_a_variant_is_applied_planned_again_and_destroyed_with_its_data(
    aws: FakeAws, terraform: Terraform, variant: str
):
    name = f"v-{variant}"[:12].rstrip("-")
    guarded = terraform.deployment(aws, name, **VARIANTS[variant])
    guarded.apply()
    assert guarded.differences() - FAKES == set()
    assert leftover(aws, name)["buckets"]
    # The first word, and then the second.
    open_to_it = guarded.varied(keep_data_on_destroy=False)
    open_to_it.apply()
    assert open_to_it.outputs()["kept_on_destroy"] == []
    aws.client("s3").put_object(
        Bucket=f"penstock-{name}-backups-{ACCOUNT}", Key="penstock/one", Body=b"rows"
    )
    open_to_it.destroy()
    assert not any(leftover(aws, name).values())


def test_what_is_kept_on_destroy_is_all_there_and_as_guarded_as_before(
    aws: FakeAws, terraform: Terraform
):
    deployment = terraform.deployment(aws, "kept", **VARIANTS["receivers"])
    deployment.apply()
    bucket = f"penstock-kept-backups-{ACCOUNT}"
    s3 = aws.client("s3")
    s3.put_object(Bucket=bucket, Key="penstock/one", Body=b"rows")
    deployment.remove_from_state(*deployment.outputs()["kept_on_destroy"])
    deployment.destroy()
    left = leftover(aws, "kept")
    assert left["databases"] == ["penstock-kept"]
    assert left["buckets"] == [bucket]
    assert not (left["instances"] or left["balancers"] or left["roles"])
    block = s3.get_public_access_block(Bucket=bucket)
    assert set(block["PublicAccessBlockConfiguration"].values()) == {True}
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert s3.get_object(Bucket=bucket, Key="penstock/one")["Body"].read() == b"rows"
    assert aws.client("secretsmanager").get_secret_value(SecretId="penstock/kept")


def test_the_bootstrap_is_applied_whole(aws: FakeAws, terraform: Terraform, tmp_path):
    there, env = terraform.root / "bootstrap", environment(tmp_path)
    init(there, env)
    passes(
        "terraform",
        "apply",
        "-auto-approve",
        f"-state={tmp_path / 'terraform.tfstate'}",
        f"-var=region={REGION}",
        f"-var=endpoint={aws.address}",
        env=env,
        cwd=there,
        seconds=PATIENCE_SECONDS,
    )
    rules = aws.client("s3").get_bucket_lifecycle_configuration(
        Bucket=f"penstock-tfstate-{ACCOUNT}-{REGION}"
    )["Rules"]
    # No state expires, only its older versions do.
    assert all("Expiration" not in rule for rule in rules)


def test_what_a_pull_request_proposes_is_planned_with_the_secret_shut(
    aws: FakeAws, terraform: Terraform
):
    deployment = terraform.deployment(aws, "proposed", **VARIANTS["single-rds"])
    deployment.apply("module.secret")
    # Whoever opens it now fails.
    aws.client("secretsmanager").put_secret_value(
        SecretId="penstock/proposed", SecretString="shut"
    )
    assert "module.database" in deployment.refused()
    proposed = deployment.varied(secret_is_read=False).plan()
    assert resources(proposed, "aws_db_instance")
    # Nor does a plan that opens it keep it.
    aws.client("secretsmanager").put_secret_value(
        SecretId="penstock/proposed", SecretString='{"postgres_password": "Opened7Q"}'
    )
    assert "Opened7Q" not in json.dumps(deployment.plan())
    assert "penstock-proposed" in deployment.plan_file()
    assert "Opened7Q" not in deployment.plan_file()
    deployment.destroy()
