"""A deployment's directory, and what it refuses."""

import json
import stat
from pathlib import Path

import pytest

from penstock.errors import ProvisionError, SettingsError
from penstock.provision.deployment import (
    Deployment,
    check_names,
    find_deployment,
    find_root,
    problems_of,
)
from penstock.provision.images import platform_of
from penstock.provision.state import backend, bucket_name
from penstock.provision.upgrade import check_image


def test_variables_come_back_as_they_were_and_are_nobody_elses(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "a")
    assert not deployment.is_there()
    deployment.write_variables({"region": "eu-central-1", "profiles": ["monitoring"]})
    assert deployment.variables()["profiles"] == ["monitoring"]
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    assert {each.name for each in (tmp_path / "a").iterdir()} == {
        ".gitignore",
        "deployment.tfvars.json",
    }


def test_without_init_or_with_broken_json_it_says_what_to_do(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    with pytest.raises(ProvisionError, match="penstock deploy init makes one"):
        deployment.variables()
    for text in ("{", "[]"):
        deployment.variables_file.write_text(text)
        with pytest.raises(ProvisionError, match="is no JSON"):
            deployment.variables()
    deployment.variables_file.unlink()
    deployment.variables_file.mkdir()
    with pytest.raises(ProvisionError, match="cannot be read: Is a directory"):
        deployment.variables()


def test_what_a_removal_leaves_is_forgotten_and_never_guessed(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    deployment.write_kept(["aws_ebs_volume.data"])
    assert deployment.kept() == ["aws_ebs_volume.data"]
    deployment.forget_kept()
    assert deployment.kept() is None
    deployment.forget_kept()
    for text in ("[", "7"):
        deployment.kept_file.write_text(text)
        with pytest.raises(ProvisionError, match="penstock deploy apply first"):
            deployment.kept()


def test_a_variable_that_is_none_is_refused_with_the_one_that_is_meant() -> None:
    check_names(find_root(None), ["region", "data_volume_gib"])
    with pytest.raises(SettingsError) as refused:
        check_names(find_root(None), ["retention_dayz", "region", "colour"])
    assert refused.value.problems == (
        "there is no variable colour",
        "there is no variable retention_dayz; retention_days?",
    )


def test_the_only_deployment_is_found_and_of_several_one_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="there is no deployment in"):
        find_deployment(None, None)
    find_deployment(None, "staging").write_variables({})
    assert find_deployment(None, None).directory == tmp_path / "penstock-deploy/staging"
    find_deployment(None, "production").write_variables({})
    with pytest.raises(SettingsError, match="--environment production, staging"):
        find_deployment(None, None)
    assert find_deployment("elsewhere", None).directory == tmp_path / "elsewhere"


def test_terraforms_files_are_those_of_the_checkout_or_named(tmp_path: Path) -> None:
    assert (find_root(None) / "outputs.tf").exists()
    with pytest.raises(SettingsError, match=r"there is no \*\.tf in"):
        find_root(str(tmp_path))


@pytest.mark.parametrize(
    ("region", "environment", "email", "problems"),
    [
        ("eu-central-1", "production", "a@example.org", 0),
        ("us-gov-west-1", "ab", "a+b@sub.example.org", 0),
        ("frankfurt", "p", "nobody", 3),
        ("eu-central-1", "Production", "a@b", 2),
        ("eu-central-1", "../../etc", "a@example.org", 1),
        ("eu-central-1", "twelve-chars-x", "a@example.org", 1),
        ("", "", "", 3),
    ],
)
def test_what_aws_could_not_use_is_a_line_each(
    region: str, environment: str, email: str, problems: int
) -> None:
    assert len(problems_of(region, environment, email)) == problems


def test_the_bucket_of_the_state_is_named_as_deploy_terraform_expects_it() -> None:
    text = (find_root(None) / "main.tf").read_text()
    assert "${var.name}-tfstate-${local.account_id}-${var.region}" in text
    assert bucket_name("penstock", "1", "r") == "penstock-tfstate-1-r"


def test_the_state_is_locked_without_a_table_and_has_no_credentials() -> None:
    text = backend("b", "penstock", "production", "eu-central-1", "")
    lines = dict(each.split(" = ") for each in text.splitlines())
    assert json.loads(lines["use_lockfile"]) is True
    assert json.loads(lines["encrypt"]) is True
    assert json.loads(lines["key"]) == "penstock/production/terraform.tfstate"
    assert not {"access_key", "secret_key", "dynamodb_table"} & set(lines)


@pytest.mark.parametrize(
    ("instance_type", "platform"),
    [
        *(
            (name, "linux/arm64")
            for name in ("", "t4g.medium", "m7gd.large", "im4gn.x")
        ),
        *((name, "linux/amd64") for name in ("t3.medium", "g5.xlarge", "m7i.large")),
    ],
)
def test_images_are_built_for_what_the_machines_are(
    instance_type: str, platform: str
) -> None:
    assert platform_of(instance_type) == platform


@pytest.mark.parametrize(
    "image",
    [
        "1.dkr.ecr.eu-central-1.amazonaws.com/penstock-production/penstock:0.1.0",
        "registry.example:5000/penstock@sha256:" + "0" * 64,
    ],
)
def test_an_image_by_tag_or_digest_is_taken(image: str) -> None:
    check_image(image)


@pytest.mark.parametrize(
    "image", ["", "penstock", "a:b c", "a:b;c", "a:$(c)", "a@sha256:0", "-a:b", "a:`b`"]
)
def test_what_a_shell_could_take_for_more_is_no_image(image: str) -> None:
    with pytest.raises(SettingsError):
        check_image(image)
