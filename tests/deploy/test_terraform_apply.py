"""A single machine as it is on the fake AWS: applied, looked at, planned, destroyed."""

import base64
import json
import re
from typing import Any

import pytest

from tests.deploy.fake_aws import ACCOUNT, REGION, FakeAws
from tests.deploy.terraform_runs import (
    PATIENCE_SECONDS,
    Applied,
)
from tests.deploy.tools import DEPLOY, passes

pytestmark = pytest.mark.timeout(PATIENCE_SECONDS)
BACKUPS = f"penstock-applied-backups-{ACCOUNT}"
STACK = f"penstock-applied-stack-{ACCOUNT}"
SETTINGS = "stack/instance.env"


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


def test_user_data_names_the_deployment_and_is_small(aws, user_data, outputs, tmp_path):
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
    # What a machine takes at its next upgrade is the same, until something is changed.
    body = aws.client("s3").get_object(Bucket=STACK, Key=SETTINGS)["Body"].read()
    assert dict(line.split("=", 1) for line in body.decode().splitlines()) == given
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
    assert there == expected | {SETTINGS}
    some = "stack/systemd/penstock.service"
    body = s3.get_object(Bucket=STACK, Key=some)["Body"].read()
    assert body == (DEPLOY / "systemd" / "penstock.service").read_bytes()


def test_no_secret_is_left_behind(aws, applied, outputs, user_data, changed):
    left = {
        "state": applied.deployment.state.read_text(),
        "printed": applied.printed,
        "plan": json.dumps(changed),
        "plan's file": applied.deployment.plan_file(),
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


def test_a_second_plan_has_nothing_to_do_and_the_secret_keeps_what_people_added(
    aws, applied, outputs
):
    manager = aws.client("secretsmanager")
    values = {**secret(aws, outputs), "tls_certificate": "their own"}
    for _ in range(2):  # the one that Terraform wrote is not even the one before
        manager.put_secret_value(
            SecretId=outputs["secret_arn"], SecretString=json.dumps(values)
        )
    assert applied.deployment.differences() == set()
    assert secret(aws, outputs) == values


def test_what_is_set_anew_makes_no_machine_anew_and_comes_with_an_upgrade(changed):
    differs = {
        each["address"]: each["change"]
        for each in changed["resource_changes"]
        if each["change"]["actions"] != ["no-op"] and each["mode"] == "managed"
    }
    settings = differs.pop("module.compute.aws_s3_object.settings")["after"]["content"]
    assert {"RETENTION_DAYS=31", "POSTGRES_IMAGE=postgres:18.6"} < {
        *settings.splitlines()
    }
    assert list(differs) == ["module.compute.aws_instance.this[0]"]
    (change,) = differs.values()
    assert change["actions"] == ["update"]
    before, after = change["before"], change["after"]
    assert {name for name in after if after[name] != before.get(name)} == {
        "instance_type"
    }


# --- the end


def test_a_machine_that_is_lost_is_made_anew_with_its_volume_and_its_address(
    aws, applied, outputs
):
    ec2 = aws.client("ec2")
    ec2.terminate_instances(InstanceIds=outputs["instance_ids"])
    applied.deployment.apply()
    now = applied.deployment.outputs()
    assert now["instance_ids"] != outputs["instance_ids"]
    assert now["forward_endpoint"] == outputs["forward_endpoint"]
    (volume,) = ec2.describe_volumes(VolumeIds=[outputs["data_volume_id"]])["Volumes"]
    (attached,) = volume["Attachments"]
    assert attached["InstanceId"] in now["instance_ids"]
    assert applied.deployment.differences() == set()


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
