"""What each role may do, asked of a fake AWS that enforces policies.

Before test_terraform_apply.py, whose end is the deployment's.
"""

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.deploy.fake_aws import ACCOUNT, REGION, FakeAws
from tests.deploy.terraform_runs import PATIENCE_SECONDS, Applied

pytestmark = pytest.mark.timeout(PATIENCE_SECONDS)
BACKUPS = f"penstock-applied-backups-{ACCOUNT}"
STACK = f"penstock-applied-stack-{ACCOUNT}"


@pytest.fixture(scope="module")
def outputs(applied: Applied) -> dict[str, Any]:
    """What `terraform output` says."""
    return applied.deployment.outputs()


@pytest.fixture(scope="module")
def strict(
    aws: FakeAws, outputs: dict[str, Any]
) -> Iterator[Callable[[str, str], Any]]:
    """Let the fake enforce policies; return clients of a role by its name."""
    sts = aws.client("sts")
    services: dict[tuple[str, str], Any] = {}

    def client(role: str, service: str) -> Any:
        if (role, service) not in services:
            given = taken[role]
            services[role, service] = boto3.client(
                service,
                endpoint_url=aws.address,
                region_name=REGION,
                aws_access_key_id=given["AccessKeyId"],
                aws_secret_access_key=given["SecretAccessKey"],
                aws_session_token=given["SessionToken"],
                config=Config(proxies={}, retries={"total_max_attempts": 1}),
            )
        return services[role, service]

    taken = {
        role: sts.assume_role(
            RoleArn=f"arn:aws:iam::{ACCOUNT}:role/penstock-applied-{role}",
            RoleSessionName="test",
        )["Credentials"]
        for role in ("machine", "backup-pruner", "github-deploy", "github-plan")
    }
    aws.client("s3").create_bucket(Bucket="somebody-elses")
    aws.client("secretsmanager").create_secret(Name="other", SecretString="x")
    aws.client("ssm").put_parameter(Name="/other", Value="x", Type="String")
    aws.post("/moto-api/reset-auth", b"0")
    yield client
    # More requests than any session has.
    aws.post("/moto-api/reset-auth", b"1000000000")


def denied(call: Any, **named: Any) -> bool:
    """Say whether it is refused for the lack of a right, and not for anything else."""
    try:
        call(**named)
    except ClientError as error:
        # Some services of the fake put the code into the message.
        words = ("AccessDenied", "UnauthorizedOperation", "Forbidden", "not authorized")
        assert any(word in str(error) for word in words), error
        return True
    return False


def test_a_machine_writes_backups_and_cannot_delete_one(strict):
    s3 = strict("machine", "s3")
    one = {"Bucket": BACKUPS, "Key": "penstock/parts/one"}
    assert not denied(s3.put_object, **one, Body=b"rows")
    assert s3.get_object(**one)["Body"].read() == b"rows"
    assert not denied(s3.list_objects_v2, Bucket=BACKUPS)
    upload = s3.create_multipart_upload(**one)["UploadId"]
    assert not denied(s3.abort_multipart_upload, **one, UploadId=upload)
    assert denied(s3.delete_object, **one)
    version = s3.get_object(**one)["VersionId"]
    assert denied(s3.delete_object, **one, VersionId=version)
    assert denied(s3.put_object, Bucket=BACKUPS, Key="elsewhere", Body=b"")
    assert denied(s3.put_object, Bucket="somebody-elses", Key="penstock/x", Body=b"")
    assert denied(s3.list_objects_v2, Bucket="somebody-elses")
    assert denied(s3.put_bucket_policy, Bucket=BACKUPS, Policy="{}")
    assert denied(s3.delete_bucket_policy, Bucket=BACKUPS)
    assert denied(
        s3.put_bucket_versioning,
        Bucket=BACKUPS,
        VersioningConfiguration={"Status": "Suspended"},
    )


def test_a_pruner_deletes_backups_and_leaves_their_versions(strict, outputs):
    s3 = strict("backup-pruner", "s3")
    two = {"Bucket": BACKUPS, "Key": "penstock/parts/two"}
    version = s3.put_object(**two, Body=b"rows")["VersionId"]
    assert not denied(s3.delete_object, **two)
    assert denied(s3.delete_object, **two, VersionId=version)
    assert denied(s3.delete_bucket, Bucket=BACKUPS)
    assert denied(s3.delete_object, Bucket=STACK, Key="stack/compose/compose.yaml")
    assert denied(
        strict("backup-pruner", "secretsmanager").get_secret_value,
        SecretId=outputs["secret_arn"],
    )


def test_a_machine_reads_its_stack_its_secret_and_its_image(strict, outputs):
    s3 = strict("machine", "s3")
    some = {"Bucket": STACK, "Key": "stack/systemd/penstock.service"}
    assert not denied(s3.get_object, **some)
    assert denied(s3.put_object, **some, Body=b"#!/bin/sh")
    manager = strict("machine", "secretsmanager")
    assert not denied(manager.get_secret_value, SecretId=outputs["secret_arn"])
    assert denied(manager.get_secret_value, SecretId="other")
    assert denied(
        manager.put_secret_value, SecretId=outputs["secret_arn"], SecretString="{}"
    )
    ssm = strict("machine", "ssm")
    image = outputs["image_parameter"]
    assert not denied(ssm.get_parameter, Name=image)
    assert denied(ssm.get_parameter, Name="/other")
    assert denied(ssm.put_parameter, Name=image, Value="x", Overwrite=True)
    assert denied(strict("machine", "ec2").describe_instances)
    assert denied(strict("machine", "iam").list_roles)


def test_a_workflow_pushes_images_and_touches_nothing_else(strict, outputs):
    ssm = strict("github-deploy", "ssm")
    image = outputs["image_parameter"]
    runs = ssm.get_parameter(Name=image)["Parameter"]["Value"]
    assert not denied(ssm.put_parameter, Name=image, Value=runs, Overwrite=True)
    assert denied(ssm.put_parameter, Name="/other", Value=runs, Overwrite=True)
    assert not denied(strict("github-deploy", "ecr").get_authorization_token)
    assert denied(
        strict("github-deploy", "secretsmanager").get_secret_value,
        SecretId=outputs["secret_arn"],
    )
    assert denied(strict("github-deploy", "s3").list_objects_v2, Bucket=BACKUPS)
    assert denied(
        strict("github-deploy", "ec2").terminate_instances,
        InstanceIds=outputs["instance_ids"],
    )
    assert denied(
        strict("github-plan", "secretsmanager").get_secret_value,
        SecretId=outputs["secret_arn"],
    )
    assert denied(strict("github-plan", "ssm").put_parameter, Name=image, Value="x")
