"""What Terraform says with -json, as values: recorded lines of Terraform 1.11.4."""

import json

import pytest

from penstock.provision.terraform_events import (
    Change,
    Diagnostic,
    Lock,
    Refreshed,
    Step,
    Summary,
    Words,
    lock_in,
    parse_line,
    plain,
)

LOCKED = """Error message: operation error S3: PutObject, https response error \
StatusCode: 412, api error PreconditionFailed: At least one of the pre-conditions you \
specified did not hold
Lock Info:
  ID:        7a5a0f3e-46d5-ab1d-0c40-d7b2a3c8a6c2
  Path:      penstock-tfstate-1-eu-central-1/penstock/production/terraform.tfstate
  Operation: OperationTypeApply
  Who:       kim@laptop
  Version:   1.11.4
  Created:   2026-11-30 03:34:54.123456 +0000 UTC
  Info:

Terraform acquires a state lock to protect the state from being written
by multiple users at the same time."""


def line(kind: str, **rest: object) -> bytes:
    told = {"@level": "info", "@message": "x", "type": kind, **rest}
    return json.dumps(told).encode() + b"\n"


def planned(action: str, kind: str = "aws_ebs_volume", **rest: str) -> bytes:
    resource = {"addr": f"module.compute.{kind}.data", "resource_type": kind}
    return line(
        "planned_change", change={"resource": resource, "action": action} | rest
    )


@pytest.mark.parametrize("action", ["create", "update", "delete", "replace"])
def test_a_planned_change_is_named_with_what_it_loses(action: str) -> None:
    change = parse_line(planned(action, reason="cannot_update"))
    assert isinstance(change, Change)
    assert change.address == "module.compute.aws_ebs_volume.data"
    assert change.reason == "cannot_update"
    assert change.is_data_loss == (action in ("delete", "replace"))


@pytest.mark.parametrize(
    "kind", ["aws_db_instance", "aws_s3_bucket", "aws_secretsmanager_secret"]
)
def test_databases_buckets_and_secrets_are_data_and_a_machine_is_none(
    kind: str,
) -> None:
    lost = parse_line(planned("replace", kind))
    assert isinstance(lost, Change)
    assert lost.is_data_loss
    machine = parse_line(planned("replace", "aws_instance"))
    assert isinstance(machine, Change)
    assert machine.is_loss
    assert not machine.is_data_loss


@pytest.mark.parametrize("action", ["noop", "read", "move", "import", "remove"])
def test_what_changes_nothing_is_no_change(action: str) -> None:
    assert parse_line(planned(action)) is None


def test_steps_are_counted_with_their_time() -> None:
    hook = {"resource": {"addr": "aws_vpc.this"}, "action": "create"}
    assert parse_line(line("apply_start", hook=hook)) == Step(
        "start", "aws_vpc.this", "create"
    )
    done = parse_line(line("apply_complete", hook=hook | {"elapsed_seconds": 12}))
    assert done == Step("complete", "aws_vpc.this", "create", 12)


def test_a_summary_has_its_total() -> None:
    changes = {"add": 3, "change": 1, "remove": 2, "import": 0, "operation": "plan"}
    summary = parse_line(line("change_summary", changes=changes))
    assert summary == Summary("plan", 3, 1, 2)
    assert isinstance(summary, Summary)
    assert summary.total == 6


def test_what_is_looked_at_is_told() -> None:
    hook = {"resource": {"addr": "aws_vpc.this"}}
    assert parse_line(line("refresh_complete", hook=hook)) == Refreshed("aws_vpc.this")


def test_a_diagnostic_says_where_it_is() -> None:
    told = {
        "severity": "error",
        "summary": "Invalid\nvalue",
        "detail": "why",
        "range": {"filename": "main.tf", "start": {"line": 7}},
    }
    found = parse_line(line("diagnostic", diagnostic=told))
    assert found == Diagnostic("error", "Invalid value", "why", "main.tf:7")
    found = parse_line(line("diagnostic", diagnostic=told | {"address": "aws_vpc.x"}))
    assert isinstance(found, Diagnostic)
    assert found.where == "aws_vpc.x"


def test_a_lock_names_who_has_it_since_when_and_how_to_give_it_back() -> None:
    told = {"summary": "Error acquiring the state lock", "detail": LOCKED}
    found = parse_line(line("diagnostic", diagnostic=told | {"severity": "error"}))
    assert isinstance(found, Diagnostic)
    assert lock_in(found) == Lock(
        *("kim@laptop", "apply", "2026-11-30 03:34:54"),
        "7a5a0f3e-46d5-ab1d-0c40-d7b2a3c8a6c2",
    )
    assert lock_in(found._replace(summary="Something else")) is None


@pytest.mark.parametrize("text", [b"Killed\n", b'"text"\n', b"[1]\n", b"{broken\n"])
def test_what_is_no_line_of_terraforms_is_kept_as_it_is(text: bytes) -> None:
    assert parse_line(text) == Words(text.decode().strip(), is_json=False)


@pytest.mark.parametrize(
    "text", [b"\n", line("version"), line("apply_start_of_the_future"), b"{}"]
)
def test_what_nobody_needs_or_knows_is_passed_over(text: bytes) -> None:
    found = parse_line(text)
    assert found is None or isinstance(found, Step)


def test_colours_do_not_get_through() -> None:
    assert plain(b"\x1b[31mred\x1b[0m") == "red"
