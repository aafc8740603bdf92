"""Every variant's plan, read as a security engineer reads it."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy.terraform_runs import resources
from tests.deploy.tools import TERRAFORM

Plan = dict[str, Any]
WORLD = {"0.0.0.0/0", "::/0"}
# One plan takes ten seconds, on a busy machine more.
pytestmark = pytest.mark.timeout(240)


# The others are planned, and applied, by full/test_variants.py.
@pytest.fixture(params=["single", "receivers-spot"])
def plan(request: pytest.FixtureRequest, plan_of: Callable[[str], Plan]) -> Plan:
    """Each variant's in turn."""
    return plan_of(request.param)


def test_nobody_is_let_in_from_everywhere_nor_by_ssh(plan: Plan):
    rules = resources(plan, "aws_vpc_security_group_ingress_rule")
    assert rules
    for address, rule in rules.items():
        assert rule["cidr_ipv4"] not in WORLD, address
        assert rule["cidr_ipv6"] is None, address
        assert rule["from_port"] == rule["to_port"], address
        assert rule["from_port"] in {443, 5432, 24224}, address
        if rule["from_port"] != 443:
            assert rule["cidr_ipv4"] is None, address
    # Rules inside a group would be seen by none of this.
    for file in TERRAFORM.rglob("*.tf"):
        assert not re.search(r"^\s+(in|e)gress\s*{", file.read_text(), re.M), file
    for kind in ("aws_instance", "aws_launch_template"):
        for address, machine in resources(plan, kind).items():
            assert not machine.get("key_name"), address
    assert not resources(plan, "aws_key_pair")


def test_names_and_texts_are_some_that_aws_takes(plan: Plan):
    # The fake takes any. AWS's references of CreateSecurityGroup, CreateTargetGroup ...
    text = re.compile(r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{1,255}")
    for kind in (
        "aws_security_group",
        "aws_vpc_security_group_ingress_rule",
        "aws_vpc_security_group_egress_rule",
    ):
        for address, each in resources(plan, kind).items():
            assert text.fullmatch(each["description"]), address
    for kind, longest in (
        ("aws_lb", 32),
        ("aws_lb_target_group", 32),
        ("aws_iam_role", 64),
        ("aws_s3_bucket", 63),
        ("aws_db_instance", 63),
    ):
        for address, each in resources(plan, kind).items():
            found = each.get("name") or each.get("bucket")
            name = str(found or each["identifier"])
            # As long as name and environment may be, together with the hyphen.
            room = 16 + 1 + 12 - len(prefix_of(plan))
            assert len(name) + room <= longest, address


def prefix_of(plan: Plan) -> str:
    variables = plan["variables"]
    return f"penstock-{variables['environment']['value']}"


def test_machines_go_out_by_https_and_to_their_database_only(plan: Plan):
    for address, rule in resources(plan, "aws_vpc_security_group_egress_rule").items():
        assert rule["ip_protocol"] == "tcp", address
        if rule["cidr_ipv4"] is not None:
            assert (rule["from_port"], rule["to_port"]) == (443, 443), address


def test_all_that_keeps_anything_is_encrypted(plan: Plan):
    for address, disk in resources(plan, "aws_ebs_volume").items():
        assert disk["encrypted"] is True, address
        assert disk["type"] == "gp3", address
    for address, machine in resources(plan, "aws_instance").items():
        (disk,) = machine["root_block_device"]
        assert (disk["encrypted"], disk["volume_type"]) == (True, "gp3"), address
        assert disk["delete_on_termination"] is True, address
    for address, template in resources(plan, "aws_launch_template").items():
        (mapped,) = template["block_device_mappings"]
        assert mapped["ebs"][0]["encrypted"] == "true", address
    for address, database in resources(plan, "aws_db_instance").items():
        assert database["storage_encrypted"] is True, address
    buckets = resources(plan, "aws_s3_bucket")
    rules = resources(plan, "aws_s3_bucket_server_side_encryption_configuration")
    assert len(rules) == len(buckets) == 2


def test_machines_answer_imdsv2_only_and_have_a_role(plan: Plan):
    machines = resources(plan, "aws_instance") | resources(plan, "aws_launch_template")
    assert len(machines) == 1
    for address, machine in machines.items():
        (metadata,) = machine["metadata_options"]
        assert metadata["http_tokens"] == "required", address
        # Backups run in a container, and have the machine's role.
        assert metadata["http_put_response_hop_limit"] == 2, address
        assert machine["iam_instance_profile"], address


def test_every_bucket_is_closed_versioned_and_tls_only(plan: Plan):
    count = len(resources(plan, "aws_s3_bucket"))
    blocks = resources(plan, "aws_s3_bucket_public_access_block")
    assert len(blocks) == count
    for address, block in blocks.items():
        for each in (
            "block_public_acls",
            "block_public_policy",
            "ignore_public_acls",
            "restrict_public_buckets",
        ):
            assert block[each] is True, f"{address}: {each}"
    for kind in ("versioning", "policy", "ownership_controls"):
        assert len(resources(plan, f"aws_s3_bucket_{kind}")) == count, kind


def test_no_rule_expires_a_backup_that_is_current(plan: Plan):
    rules = resources(plan, "aws_s3_bucket_lifecycle_configuration")
    backups = rules["module.storage.aws_s3_bucket_lifecycle_configuration.backups"]
    for rule in backups["rule"]:
        for expiration in rule["expiration"]:
            assert not expiration.get("days"), rule["id"]
            assert not expiration.get("date"), rule["id"]
        for transition in rule["transition"]:
            # The archive tiers would make a restore wait.
            assert transition["storage_class"] == "INTELLIGENT_TIERING"
            assert rule["filter"][0]["prefix"] == "penstock/parts/"
    assert any(rule["abort_incomplete_multipart_upload"] for rule in backups["rule"])


def test_destroy_finds_the_data_guarded(plan: Plan):
    for database in resources(plan, "aws_db_instance").values():
        if not database["replicate_source_db"]:
            assert database["deletion_protection"] is True
            assert database["skip_final_snapshot"] is False
            assert database["backup_retention_period"] >= 7
            assert database["publicly_accessible"] is False
    for volume in resources(plan, "aws_ebs_volume").values():
        assert volume["final_snapshot"] is True
    buckets = resources(plan, "aws_s3_bucket")
    assert buckets["module.storage.aws_s3_bucket.backups"]["force_destroy"] is False
    kept = plan["planned_values"]["outputs"]["kept_on_destroy"]["value"]
    there = {each["address"] for each in plan["resource_changes"]}
    assert set(kept) <= there
    for kind in ("aws_db_instance", "aws_ebs_volume"):
        for address, each in resources(plan, kind).items():
            if not each.get("replicate_source_db"):
                assert address in kept


def test_no_password_is_in_a_plan(plan: Plan):
    text = json.dumps(plan["planned_values"])
    for address, version in resources(
        plan, "aws_secretsmanager_secret_version"
    ).items():
        assert version.get("secret_string_wo") is None, address
        assert not version.get("secret_string"), address
    for address, database in resources(plan, "aws_db_instance").items():
        assert database.get("password_wo") is None, address
        assert not database.get("password"), address
    assert '"password":"' not in text


def test_nobody_has_a_key_and_no_role_has_a_policy_of_someone_else(plan: Plan):
    for kind in ("user", "access_key", "role_policy_attachment", "policy_attachment"):
        assert not resources(plan, f"aws_iam_{kind}"), kind
    for address, role in resources(plan, "aws_iam_role").items():
        assert not role.get("managed_policy_arns"), address


def test_a_single_machine_is_reached_by_nobody_though_it_has_a_way_out(plan_of):
    plan = plan_of("single")
    (machine,) = resources(plan, "aws_instance").values()
    assert machine["associate_public_ip_address"] is True
    assert not resources(plan, "aws_nat_gateway")
    open_to = [
        rule["cidr_ipv4"]
        for rule in resources(plan, "aws_vpc_security_group_ingress_rule").values()
        if rule["cidr_ipv4"]
    ]
    assert open_to == ["203.0.113.0/24"]  # those of https_cidrs


def test_readers_read_the_replica(plan_of):
    plan = plan_of("receivers-spot")
    databases = resources(plan, "aws_db_instance")
    replica = databases["module.database[0].aws_db_instance.replica[0]"]
    primary = databases["module.database[0].aws_db_instance.this"]
    assert replica["replicate_source_db"] == primary["identifier"]
    assert primary["performance_insights_enabled"] is True
    assert len(resources(plan, "aws_db_subnet_group")) == 1
    (group,) = resources(plan, "aws_db_parameter_group").values()
    settings = {each["name"]: each["value"] for each in group["parameter"]}
    assert settings["rds.force_ssl"] == "1"
    # CloudWatch gets its log: what somebody searches for is not in it.
    assert settings["log_min_error_statement"] == "panic"
    assert settings["log_parameter_max_length"] == "0"


def test_receivers_on_spot_keep_one_on_demand(plan_of):
    (group,) = resources(plan_of("receivers-spot"), "aws_autoscaling_group").values()
    (mixed,) = group["mixed_instances_policy"]
    (spread,) = mixed["instances_distribution"]
    assert spread["spot_allocation_strategy"] == "price-capacity-optimized"
    assert spread["on_demand_base_capacity"] == 1
    assert spread["on_demand_percentage_above_base_capacity"] == 0
    assert group["capacity_rebalance"] is True
    assert len(mixed["launch_template"][0]["override"]) >= 4
    assert group["instance_refresh"][0]["preferences"][0]["auto_rollback"] is True
    (policy,) = resources(plan_of("receivers-spot"), "aws_autoscaling_policy").values()
    assert policy["policy_type"] == "TargetTrackingScaling"


def test_without_nat_receivers_reach_aws_by_endpoints(plan_of):
    endpoints = resources(plan_of("receivers-spot"), "aws_vpc_endpoint").values()
    names = {each["service_name"].rsplit("us-east-1.", 1)[1] for each in endpoints}
    assert {"s3", "ecr.api", "ecr.dkr", "ssm", "ssmmessages", "secretsmanager"} <= names
    assert not resources(plan_of("receivers-spot"), "aws_nat_gateway")
    (gateway,) = [e for e in endpoints if e["vpc_endpoint_type"] == "Gateway"]
    assert gateway["service_name"].endswith(".s3")


def test_workflows_get_a_role_in_one_environment_of_one_repository_only(plan_of):
    plan = plan_of("single")
    roles = resources(plan, "aws_iam_role")
    for key, environment in (("deploy", "applied"), ("plan", "applied-plan")):
        role = roles[f'module.pipeline[0].aws_iam_role.this["{key}"]']
        assert role["max_session_duration"] == 3600
        (statement,) = json.loads(role["assume_role_policy"])["Statement"]
        assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
        issuer = "token.actions.githubusercontent.com"
        assert statement["Condition"] == {
            "StringEquals": {
                f"{issuer}:aud": "sts.amazonaws.com",
                f"{issuer}:sub": f"repo:acme/penstock:environment:{environment}",
            }
        }
    assert not [
        a for a in resources(plan_of("receivers-spot"), "aws_iam_role") if "pipe" in a
    ]


def test_what_a_pull_request_proposes_runs_with_a_role_that_reads_no_secret():
    pipeline = (TERRAFORM / "modules" / "pipeline" / "main.tf").read_text()
    assert "secretsmanager:GetSecretValue" not in pipeline
