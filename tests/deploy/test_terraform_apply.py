"""A single machine as it is on the fake AWS: applied, looked at, planned, destroyed."""

import base64
import json
import re
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.deploy.fake_aws import ACCOUNT, REGION, FakeAws
from tests.deploy.fake_aws import aws as aws
from tests.deploy.terraform_runs import (
    PATIENCE_SECONDS,
    Applied,
)
from tests.deploy.terraform_runs import applied as applied
from tests.deploy.terraform_runs import begin as begin
from tests.deploy.terraform_runs import begun as begun
from tests.deploy.terraform_runs import terraform as terraform
from tests.deploy.tools import DEPLOY, passes

pytestmark = pytest.mark.timeout(PATIENCE_SECONDS)
BACKUPS = f"penstock-applied-backups-{ACCOUNT}"
STACK = f"penstock-applied-stack-{ACCOUNT}"


@pytest.fixture(scope="module")
def outputs(applied: Applied) -> dict[str, Any]:
    """What `terraform output` says."""
    return applied.deployment.outputs()


@pytest.fixture(scope="module")
def user_data(aws: FakeAws, outputs: dict[str, Any]) -> str:
    """What the machine begins with."""
    (machine,) = outputs["instance_ids"]
    found = aws.client("ec2").describe_instance_attribute(
        InstanceId=machine, Attribute="userData"
    )
    return base64.b64decode(found["UserData"]["Value"]).decode()


def secret(aws: FakeAws, outputs: dict[str, Any]) -> dict[str, str]:
    found = aws.client("secretsmanager").get_secret_value(
        SecretId=outputs["secret_arn"]
    )
    values: dict[str, str] = json.loads(found["SecretString"])
    return values


def test_outputs_say_where_everything_is(outputs: dict[str, Any]):
    assert outputs["forward_endpoint"] == "10.42.0.10:24224"
    assert outputs["backup_store"] == f"s3://{BACKUPS}/penstock"
    assert outputs["stack_bucket"] == STACK
    assert outputs["image_parameter"] == "/penstock/applied/image"
    assert outputs["database_host"] == outputs["reader_host"] == "postgres"
    assert outputs["autoscaling_group_name"] == ""
    assert len(outputs["instance_ids"]) == 1
    assert outputs["image_repository"].endswith("/penstock-applied/penstock")
    assert outputs["dashboard_url"].startswith("https://")
    assert set(outputs["pipeline_role_arns"]) == {"deploy", "plan"}


def test_every_password_is_made_of_letters_and_digits(aws, outputs):
    values = secret(aws, outputs)
    assert set(values) == {
        "postgres_password",
        "owner_password",
        "writer_password",
        "reader_password",
        "shared_key",
        "http_token",
        "grafana_password",
        "anthropic_api_key",
    }
    assert values.pop("anthropic_api_key") == ""
    assert len(set(values.values())) == 7
    for value in values.values():
        assert re.fullmatch("[A-Za-z0-9]{32}", value)


def test_user_data_names_the_deployment_and_is_small(user_data, outputs, tmp_path):
    # The limit is 16 KiB; what is more belongs into the stack's bucket.
    assert len(user_data) < 4_096
    given = dict(re.findall("^([A-Z_]+)=(.*)$", user_data, re.MULTILINE))
    assert given == {
        "REGION": REGION,
        "NAME": "penstock",
        "ENVIRONMENT": "applied",
        "VARIANT": "single",
        "DATABASE": "docker",
        "DATABASE_HOST": "postgres",
        "READER_HOST": "postgres",
        "SECRET_ID": outputs["secret_arn"],
        "STACK_BUCKET": STACK,
        "BACKUP_STORE": f"s3://{BACKUPS}/penstock",
        "DATA_VOLUME_ID": outputs["data_volume_id"],
        "IMAGE_PARAMETER": "/penstock/applied/image",
        "POSTGRES_IMAGE": outputs["postgres_image_repository"] + ":0.1.0",
        "LOG_GROUP": outputs["log_group"],
        "PROFILES": "database,monitoring",
        "RETENTION_DAYS": "30",
    }
    script = tmp_path / "user-data.sh"
    script.write_text(user_data)
    passes("bash", "-n", script)


def test_the_image_that_runs_is_said_by_a_parameter(aws, outputs):
    found = aws.client("ssm").get_parameter(Name=outputs["image_parameter"])
    assert found["Parameter"]["Value"] == outputs["image_repository"] + ":0.1.0"


def test_the_stack_is_uploaded_file_by_file_and_nothing_else(aws):
    s3 = aws.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=STACK)
    there = {each["Key"] for page in pages for each in page.get("Contents", ())}
    folders = "compose nginx instance systemd cloudwatch prometheus grafana".split()
    expected = {
        f"stack/{file.relative_to(DEPLOY)}"
        for folder in folders
        for file in (DEPLOY / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.name != ".env"
    }
    assert there == expected
    some = "stack/systemd/penstock.service"
    body = s3.get_object(Bucket=STACK, Key=some)["Body"].read()
    assert body == (DEPLOY / "systemd" / "penstock.service").read_bytes()


def test_no_secret_is_left_behind(aws, applied, outputs, user_data):
    left = {
        "state": applied.deployment.state.read_text(),
        "printed": applied.printed,
        "plan": json.dumps(applied.deployment.varied(retention_days=31).plan()),
        "plan's file": applied.deployment.state.with_suffix(".tfplan")
        .read_bytes()
        .decode("latin-1"),
        "outputs": json.dumps(outputs),
        "user data": user_data,
    }
    s3 = aws.client("s3")
    for each in s3.list_objects_v2(Bucket=STACK)["Contents"]:
        body = s3.get_object(Bucket=STACK, Key=each["Key"])["Body"].read()
        left[each["Key"]] = body.decode("latin-1")
    ssm = aws.client("ssm")
    found = ssm.get_parameters_by_path(Path="/penstock/applied", Recursive=True)
    left["parameters"] = json.dumps([each["Value"] for each in found["Parameters"]])
    for name, value in secret(aws, outputs).items():
        if value:
            for where, text in left.items():
                assert value not in text, f"{name} is in {where}"
                encoded = base64.b64encode(value.encode()).decode().rstrip("=")
                assert encoded not in text, f"{name} is in {where}, in base64"


def test_a_second_plan_has_nothing_to_do(applied: Applied):
    assert applied.deployment.differences() == set()


def test_what_people_add_to_the_secret_stays(aws, applied, outputs):
    manager = aws.client("secretsmanager")
    values = {**secret(aws, outputs), "tls_certificate": "their own"}
    for _ in range(2):  # the one that Terraform wrote is not even the one before
        manager.put_secret_value(
            SecretId=outputs["secret_arn"], SecretString=json.dumps(values)
        )
    # Another variable of the machine, another type whose AMI is another, another image:
    # the machine is not made anew, nor is anything else.
    changed = applied.deployment.varied(
        retention_days=31,
        instance_type="t3.medium",
        penstock_version="0.2.0",
        postgres_image="postgres:18.6",
    )
    assert changed.differences() == {
        ("module.compute.aws_instance.this[0]", "update"),
    }
    assert secret(aws, outputs) == values


# --- what a machine's role may do, asked of an AWS that looks at policies


@pytest.fixture(scope="module")
def strict(aws: FakeAws, outputs: dict[str, Any]):
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
    aws.post("/moto-api/reset-auth", b"inf")


def denied(call: Any, **named: Any) -> bool:
    """Say whether it is refused for the lack of a right, and not for anything else."""
    try:
        call(**named)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        assert "Denied" in code or code == "UnauthorizedOperation", error
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


def test_a_pruner_deletes_backups_and_leaves_their_versions(strict):
    s3 = strict("backup-pruner", "s3")
    two = {"Bucket": BACKUPS, "Key": "penstock/parts/two"}
    version = s3.put_object(**two, Body=b"rows")["VersionId"]
    assert not denied(s3.delete_object, **two)
    assert denied(s3.delete_bucket, Bucket=BACKUPS)
    assert denied(s3.delete_object, Bucket=STACK, Key="stack/compose/compose.yaml")
    assert denied(
        strict("backup-pruner", "secretsmanager").get_secret_value,
        SecretId="penstock/applied",
    )
    assert version


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
    assert not denied(ssm.put_parameter, Name=image, Value="x:1", Overwrite=True)
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


# --- the end


def test_destroy_leaves_nothing_but_a_snapshot_of_the_data(aws, applied, outputs):
    s3 = aws.client("s3")
    # A bucket that has backups is not deleted: the test's own go first.
    for each in s3.list_object_versions(Bucket=BACKUPS).get("Versions", ()):
        s3.delete_object(Bucket=BACKUPS, Key=each["Key"], VersionId=each["VersionId"])
    for each in s3.list_object_versions(Bucket=BACKUPS).get("DeleteMarkers", ()):
        s3.delete_object(Bucket=BACKUPS, Key=each["Key"], VersionId=each["VersionId"])
    applied.deployment.destroy()
    names = {each["Name"] for each in s3.list_buckets()["Buckets"]}
    assert not names & {BACKUPS, STACK}
    ec2 = aws.client("ec2")
    (snapshot,) = ec2.describe_snapshots(
        Filters=[{"Name": "volume-id", "Values": [outputs["data_volume_id"]]}]
    )["Snapshots"]
    assert snapshot["VolumeSize"] == 50
    state = json.loads(applied.deployment.state.read_text())
    assert state["resources"] == []
