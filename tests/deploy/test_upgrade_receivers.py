"""An upgrade of receivers: their group waits with replacing what drains."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.provision.aws import Aws
from penstock.provision.upgrade import Asked, upgrade_all
from tests.deploy.fake_aws import REGION, FakeAws
from tests.deploy.fake_ssm import PROGRAM_OF

GROUP = "penstock-test-receivers"
ASKED = Asked("registry.example/penstock:2", "/penstock/test/image", 60)
OUTPUTS = {"autoscaling_group_name": GROUP}


@pytest.fixture
def group(
    aws: FakeAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """Make a group of two machines; return their ids. Only the first one is well."""
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    ec2, scaling = aws.client("ec2"), aws.client("autoscaling")
    ami = ec2.describe_images()["Images"][0]["ImageId"]
    template = {"LaunchTemplateName": GROUP}
    ec2.create_launch_template(
        **template, LaunchTemplateData={"ImageId": ami, "InstanceType": "t4g.small"}
    )
    scaling.create_auto_scaling_group(
        AutoScalingGroupName=GROUP,
        LaunchTemplate=template,
        MinSize=2,
        MaxSize=2,
        AvailabilityZones=[f"{REGION}a"],
    )
    ids = sorted(each["InstanceId"] for each in described(aws)["Instances"])
    for number, machine in enumerate(ids):
        program = tmp_path / machine
        program.write_text(f"#!/bin/sh\nexit {number}\n")
        program.chmod(0o755)
        aws.client("ssm").put_parameter(
            Name=PROGRAM_OF.format(machine=machine),
            Value=str(program),
            Type="String",
        )
    yield ids
    scaling.delete_auto_scaling_group(AutoScalingGroupName=GROUP, ForceDelete=True)
    ec2.delete_launch_template(**template)


def described(aws: FakeAws) -> Any:
    found = aws.client("autoscaling").describe_auto_scaling_groups(
        AutoScalingGroupNames=[GROUP]
    )
    return found["AutoScalingGroups"][0]


def suspended(aws: FakeAws) -> list[str]:
    return [each["ProcessName"] for each in described(aws)["SuspendedProcesses"]]


def test_a_group_replaces_no_receiver_while_it_is_upgraded_and_does_again_then(
    aws: FakeAws, group: list[str]
) -> None:
    seen = []
    results = list(
        upgrade_all(
            Aws(REGION),
            OUTPUTS,
            ASKED,
            lambda machine, _: seen.append((machine, suspended(aws))),
        )
    )
    assert seen == [(each, ["ReplaceUnhealthy"]) for each in group]
    assert [each.is_well for each in results] == [True, False]
    assert suspended(aws) == []


def test_an_upgrade_that_is_interrupted_has_the_group_replace_again(
    aws: FakeAws, group: list[str]
) -> None:
    began = upgrade_all(Aws(REGION), OUTPUTS, ASKED, lambda *_: None)
    with contextlib.closing(began) as results:
        assert next(results).machine == group[0]
        assert suspended(aws) == ["ReplaceUnhealthy"]
    assert suspended(aws) == []
