"""A fake AWS on loopback that Terraform's provider can apply to, destroy and plan on.

It is moto's server with the gaps closed that the provider falls into; run as a program
it is the server, imported it starts one. It knows no Terraform: see terraform_runs.py.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy.fake_ssm import let_commands_run
from tests.deploy.tools import REPOSITORY
from tests.ports import free_port
from tests.s3_server import PATIENCE_SECONDS, client_of, without_aws

REGION = "us-east-1"
# moto's own account.
ACCOUNT = "123456789012"


class FakeAws:
    """The server, started as a process on a port of its own."""

    def __init__(self) -> None:
        for _ in range(3):  # somebody may take the port in between
            port = free_port()
            self.address = f"http://127.0.0.1:{port}"
            self._log = tempfile.TemporaryFile()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.deploy.fake_aws", f"{port}"],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                env=without_aws(os.environ)
                | {"MOTO_PORT": f"{port}", "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"},
                start_new_session=True,  # Ctrl-C is pytest's
            )
            if self._answers():
                return
            said = self.log()
            self.close()
        raise AssertionError(f"the fake AWS does not start: {said}")

    @property
    def environment(self) -> dict[str, str]:
        """Return boto3's and Terraform's variables: this AWS, and nothing else's."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    def client(self, service: str, **keys: str) -> Any:
        """Return a client of boto3's: keys `key` and `secret` are another user's."""
        return client_of(self.address, service, **keys)

    def post(self, path: str, body: bytes = b"") -> None:
        """Ask moto's own interface, such as /moto-api/reset-auth."""
        self._ask(path, body)

    def log(self) -> str:
        """Return what the server has printed: each request is a line."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _ask(self, path: str, body: bytes | None = None) -> None:
        # As a form the body would not be seen.
        kind = {"Content-Type": "text/plain"}
        request = urllib.request.Request(
            self.address + path, body, kind, method="GET" if body is None else "POST"
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(request, timeout=PATIENCE_SECONDS).close()

    def _answers(self) -> bool:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < give_up and self._process.poll() is None:
            try:
                self._ask("/moto-api/data.json")
                return True
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        return False


@pytest.fixture(scope="session")
def aws() -> Iterator[FakeAws]:
    """The AWS that all tests of a session share; each has its own names in it."""
    server = FakeAws()
    yield server
    server.close()


# --- the server


def _replace(owner: type, name: str, made: Any) -> None:
    setattr(owner, name, made)


def _watch_instances() -> None:
    """Turn detailed monitoring on and off, which is not there and would be retried."""
    from moto.core.responses import ActionResult
    from moto.ec2.responses.monitoring import Monitoring

    def turned(state: str) -> Any:
        def run(self: Any) -> Any:
            found = self._get_param("InstanceIds", [])
            for instance in found:
                self.ec2_backend.get_instance(instance).monitoring_state = state
            said = [{"InstanceId": i, "Monitoring": {"State": state}} for i in found]
            return ActionResult({"InstanceMonitorings": said})

        return run

    _replace(Monitoring, "monitor_instances", turned("enabled"))
    _replace(Monitoring, "unmonitor_instances", turned("disabled"))


def _tell_databases_apart() -> None:
    """Give each database an id: all have the same, and the provider looks by it."""
    from moto.rds import models

    made = models.DBInstance.__init__
    replicated = models.RDSBackend.create_db_instance_read_replica

    def fresh() -> str:
        return f"db-{secrets.token_hex(13).upper()}"

    def init(self: Any, *arguments: Any, **named: Any) -> None:
        made(self, *arguments, **named)
        self.dbi_resource_id = fresh()

    def replica(self: Any, settings: Any) -> Any:
        database = replicated(self, settings)
        database.dbi_resource_id = fresh()
        return database

    _replace(models.DBInstance, "__init__", init)
    _replace(models.RDSBackend, "create_db_instance_read_replica", replica)


def _know_alarms_and_budgets() -> None:
    """Take alarms of alarms, and say that a budget has no tags."""
    from moto.budgets.responses import BudgetsResponse
    from moto.cloudwatch.responses import CloudWatchResponse

    alarm = CloudWatchResponse.put_metric_alarm
    _replace(CloudWatchResponse, "put_composite_alarm", alarm)

    def no_tags(self: Any) -> str:
        return json.dumps({"ResourceTags": []})

    _replace(BudgetsResponse, "list_tags_for_resource", no_tags)


def _refresh_groups() -> None:
    """Take the order to replace a group's machines one by one, which is not there."""
    from moto.autoscaling.responses import AutoScalingResponse
    from moto.core.responses import ActionResult

    def start(self: Any) -> Any:
        return ActionResult({"InstanceRefreshId": secrets.token_hex(8)})

    _replace(AutoScalingResponse, "start_instance_refresh", start)


def _keep_groups() -> None:
    """Keep an instance's groups, that it has no public address, and a rule's text.

    They would be changed again at each apply.
    """
    from moto.ec2.models.elastic_network_interfaces import NetworkInterface
    from moto.ec2.models.instances import Instance
    from moto.ec2.models.security_groups import SecurityGroupRule

    made = Instance.__init__
    associated: Any = vars(NetworkInterface)["association"].fget

    def init(self: Any, *arguments: Any, **named: Any) -> None:
        made(self, *arguments, **named)
        if not self.security_groups and 0 in self.nics:
            self.security_groups = list(self.nics[0]._group_set)

    def association(self: Any) -> Any:
        return associated(self) or None  # an empty one is one, for the provider

    def description(self: Any) -> Any:
        return self.ip_range.get("Description") or self.source_group.get("Description")

    _replace(Instance, "__init__", init)
    _replace(NetworkInterface, "association", property(association))
    _replace(SecurityGroupRule, "description", property(description))


def _free_addresses() -> None:
    """Give back what address a machine had that has ended, for the one in its place."""
    from moto.ec2.models.instances import Instance

    ended = Instance.terminate

    def terminate(self: Any) -> Any:
        for nic in self.nics.values():
            nic.subnet.del_subnet_ip(nic.private_ip_address)
        return ended(self)

    _replace(Instance, "terminate", terminate)


def _count_as_tls() -> None:
    """Let a policy's "TLS only" pass: it is denied here whatever its condition says."""
    from moto.iam import access_control

    statement = access_control.IAMPolicyStatement
    asked = statement.is_action_permitted

    def permitted(self: Any, *arguments: Any, **named: Any) -> Any:
        condition = self._statement.get("Condition", {})
        if "aws:SecureTransport" in condition.get("Bool", {}):
            return access_control.PermissionResult.NEUTRAL
        return asked(self, *arguments, **named)

    _replace(statement, "is_action_permitted", permitted)


def _know_owners() -> None:
    """Refuse a bucket that is another account's than the one that is expected."""
    from moto.s3.responses import S3Response

    asked = S3Response.head_bucket

    def head(self: Any) -> Any:
        expected = self.headers.get("x-amz-expected-bucket-owner")
        code, headers, body = asked(self)
        if code == 200 and expected is not None:
            found = self.backend.get_bucket(self.bucket_name)
            if found.account_id != expected:
                return 403, {}, ""
        return code, headers, body

    _replace(S3Response, "head_bucket", head)


def _look_at_resources() -> None:
    """Ask policies about a secret or a parameter by its ARN; here it would be "*"."""
    from moto.iam.access_control import IAMRequest

    asked = IAMRequest.check_action_permitted

    def check(self: Any, resource: str) -> None:
        begin = f"arn:aws:{self._service}:{self._region}:{self.account_id}"
        if resource == "*" and self._service in {"secretsmanager", "ssm"}:
            named = json.loads(self._body or b"{}")
            if secret := named.get("SecretId"):
                known = secret.startswith("arn:")
                resource = secret if known else f"{begin}:secret:{secret}"
            elif parameter := named.get("Name"):
                resource = f"{begin}:parameter/{parameter.lstrip('/')}"
        asked(self, resource)

    _replace(IAMRequest, "check_action_permitted", check)


def serve(port: int) -> None:
    """Be the fake AWS."""
    import moto.server

    _watch_instances()
    _tell_databases_apart()
    _know_alarms_and_budgets()
    _refresh_groups()
    _keep_groups()
    _free_addresses()
    _count_as_tls()
    _know_owners()
    _look_at_resources()
    let_commands_run()
    moto.server.main(["-H", "127.0.0.1", "-p", f"{port}"])


if __name__ == "__main__":
    serve(int(sys.argv[1]))
