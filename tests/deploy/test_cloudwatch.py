"""deploy/cloudwatch and the module monitoring: an alarm looks at what the agent sends.

The agent itself cannot be had here, so its configuration is held against our own
schema, against its rules of aggregation, and against what alarms and dashboard ask for,
as Terraform resolves them with no AWS. With PENSTOCK_AGENT_SCHEMA naming the agent's
own schema.json it is held against that too.
"""

import copy
import json
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import agent_keys
from tests.deploy.tools import (
    DEPLOY,
    REPOSITORY,
    left_out,
    passes,
    plugin_dir,
    root,
    terraform_environment,
    tool,
)
from tests.metric_names import exposition, names_of

CLOUDWATCH = DEPLOY / "cloudwatch"
MODULE = DEPLOY / "terraform" / "modules" / "monitoring"
AGENT = json.loads((CLOUDWATCH / "amazon-cloudwatch-agent.json").read_text())
SCRAPE = yaml.safe_load((CLOUDWATCH / "prometheus.yml").read_text())
PAGE = (REPOSITORY / "docs" / "alerts.md").read_text()
CONFIGURE = CLOUDWATCH / "configure-agent"
# Debian's for whoever has no files; it stands for the agent's user.
SOMEBODY = "nobody"


# ---- the agent's configuration


def test_the_agents_configuration_has_no_key_that_it_does_not_know() -> None:
    assert agent_keys.troubles(AGENT) == []


def _paths(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield (*path, key)
            yield from _paths(each, *path, key)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _paths(each, *path, number)


@pytest.mark.parametrize("path", sorted(set(_paths(AGENT)), key=str), ids=str)
def test_each_misspelt_key_is_found(path: tuple[Any, ...]) -> None:
    broken = copy.deepcopy(AGENT)
    section = broken
    for step in path[:-1]:
        section = section[step]
    section[f"{path[-1]}s"] = section.pop(path[-1])
    assert agent_keys.troubles(broken) != []


def test_a_cpu_that_is_asked_for_nothing_is_found() -> None:
    """totalcpu false without resources ["*"] collects no CPU metric at all."""
    broken = copy.deepcopy(AGENT)
    broken["metrics"]["metrics_collected"]["cpu"]["totalcpu"] = False
    assert agent_keys.troubles(broken) == [
        "/metrics/metrics_collected/cpu collects nothing"
    ]


def test_the_agents_own_schema_takes_it() -> None:
    schema = os.environ.get("PENSTOCK_AGENT_SCHEMA")
    if schema is None:
        left_out(
            "the CloudWatch agent's own schema",
            "translator/config/schema.json of its repository;"
            " PENSTOCK_AGENT_SCHEMA names the file",
        )
    passes(
        "check-jsonschema",
        "--schemafile",
        schema,
        CLOUDWATCH / "amazon-cloudwatch-agent.json",
    )


def test_the_agent_is_not_root_and_keeps_no_log_for_ever() -> None:
    assert AGENT["agent"]["run_as_user"] == "cwagent"
    for each in AGENT["logs"]["logs_collected"]["files"]["collect_list"]:
        assert each["log_group_name"] == "@LOG_GROUP@"
        # Terraform's group has a retention: the agent leaves it.
        assert each["retention_in_days"] == -1
        # It holds what user data prints, whatever that is.
        assert "cloud-init" not in each["file_path"]
    groups = re.findall(
        r'resource "aws_cloudwatch_log_group".*?\n}',
        (MODULE / "main.tf").read_text(),
        re.S,
    )
    assert len(groups) == 2
    assert all("retention_in_days" in group for group in groups)


def test_what_is_scraped_is_what_is_sent_and_penstock_has_it(tmp_path: Path) -> None:
    selected = agent_keys.selected(AGENT)
    (job,) = SCRAPE["scrape_configs"]
    keep, drop = job["metric_relabel_configs"]
    names = names_of(exposition(tmp_path))
    kept = {name for name in names if re.fullmatch(keep["regex"], name)}
    assert kept == set(selected)
    assert keep["action"] == "keep" and drop["action"] == "drop"
    # Histograms are not passed on.
    assert not any(name.endswith(("_bucket", "_sum", "_count")) for name in selected)
    (target,) = job["static_configs"]
    assert set(target["labels"]) == {"Deployment"}
    for name, dimensions in selected.items():
        kind = ["kind"] if "last_success" in name and "backup" in name else []
        assert dimensions == [["Deployment", *kind]], name
    prometheus = AGENT["logs"]["metrics_collected"]["prometheus"]
    assert prometheus["emf_processor"]["metric_namespace"] == "Penstock"
    assert AGENT["metrics"]["namespace"] == "Penstock"


# ---- the alarms and the dashboard


class Resolved:
    """The module's resources as `terraform test` has resolved them, by run."""

    def __init__(self, output: str) -> None:
        self.runs: dict[str, list[dict[str, Any]]] = {}
        self.failed: list[str] = []
        for line in output.splitlines():
            if not line.startswith("{"):
                continue
            event = json.loads(line)
            if event["type"] == "test_state":
                found = event["test_state"]["root_module"]["resources"]
                self.runs[event["@testrun"]] = found
            if event["type"] == "diagnostic":
                self.failed.append(event["@message"])

    def of(self, run: str, kind: str) -> list[dict[str, Any]]:
        """Return the values of a run's resources of a type."""
        return [each["values"] for each in self.runs[run] if each["type"] == kind]


@pytest.fixture(scope="module")
def resolved(tmp_path_factory: pytest.TempPathFactory) -> Resolved:
    """The module, copied so that no lock file is left in it, and tested."""
    tool("terraform")
    directory = tmp_path_factory.mktemp("monitoring")
    module = directory / "module"
    shutil.copytree(MODULE, module)
    environment = terraform_environment(directory / "data")
    passes("terraform", "init", *plugin_dir(), env=environment, cwd=module)
    command = [tool("terraform"), "test", "-json", "-verbose"]
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        cwd=module,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = Resolved(done.stdout)
    assert done.returncode == 0, found.failed
    return found


def _sent() -> dict[str, list[set[str]]]:
    """Return what the namespace Penstock holds, each metric with its dimensions."""
    ours = {
        name: [set(each) for each in dimensions]
        for name, dimensions in agent_keys.selected(AGENT).items()
    }
    return {**agent_keys.of_host(AGENT), **ours}


def _looked_at(alarms: list[dict[str, Any]]) -> Iterator[tuple[str, set[str]]]:
    for alarm in alarms:
        if alarm["namespace"] == "Penstock":
            yield alarm["metric_name"], set(alarm["dimensions"])
        for query in alarm["metric_query"] or ():
            for metric in query["metric"]:
                assert metric["namespace"] == "Penstock"
                yield metric["metric_name"], set(metric["dimensions"])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("run", ["single", "receivers"])
def test_an_alarm_has_exactly_the_dimensions_that_are_sent(
    resolved: Resolved, run: str
) -> None:
    """An alarm on any other set says INSUFFICIENT_DATA for ever."""
    sent = _sent()
    looked_at = list(_looked_at(resolved.of(run, "aws_cloudwatch_metric_alarm")))
    assert len(looked_at) > 10
    for name, dimensions in looked_at:
        assert dimensions in sent[name], f"{name} is not sent by {dimensions}"


@pytest.mark.timeout(300)
def test_no_metric_is_sent_that_nobody_looks_at(resolved: Resolved) -> None:
    """Each costs by the month."""
    text = json.dumps(resolved.of("single", "aws_cloudwatch_metric_alarm"))
    for each in resolved.of("single", "aws_cloudwatch_dashboard"):
        text += each["dashboard_body"]
    # Where memory is short or disks are slow, these are what one looks up next.
    looked_up = {"cpu_usage_active", "cpu_usage_iowait"}
    assert {name for name in _sent() if name not in text} == looked_up


@pytest.mark.timeout(300)
def test_what_it_costs_is_what_alerts_md_says(resolved: Resolved) -> None:
    ours = len(agent_keys.selected(AGENT))
    # Each disk has its sets; the root's and the data volume's.
    host = sum(
        len(sets) * (2 if {"path"} & set().union(*sets) else 1)
        for sets in agent_keys.of_host(AGENT).values()
    )
    # By Deployment alone both disks are one.
    host -= sum(
        sets.count({"Deployment"})
        for name, sets in agent_keys.of_host(AGENT).items()
        if name == "disk_used_percent"
    )
    alarms = resolved.of("single", "aws_cloudwatch_metric_alarm")
    looked_at = sum(
        sum(len(query["metric"]) for query in alarm["metric_query"] or ()) or 1
        for alarm in alarms
    )
    said = " ".join(PAGE.split())
    assert f"sends {ours + host} metrics ({ours} of Penstock, {host} of the" in said
    assert f"has {len(alarms)} alarms that look at {looked_at}" in said
    dollars = 0.3 * (ours + host) + 0.1 * looked_at + 0.5 + 1
    assert f"about {dollars:.2f} USD" in said


@pytest.mark.timeout(300)
@pytest.mark.parametrize("run", ["single", "receivers"])
def test_each_alarm_says_what_no_data_means_and_when_it_is_over(
    resolved: Resolved, run: str
) -> None:
    (down,) = resolved.of(run, "aws_cloudwatch_composite_alarm")
    assert down["alarm_actions"] == down["ok_actions"] != []
    for alarm in resolved.of(run, "aws_cloudwatch_metric_alarm"):
        assert alarm["treat_missing_data"] in {"breaching", "notBreaching", "missing"}
        assert len(alarm["alarm_description"]) > 30
        assert alarm["alarm_actions"] == alarm["ok_actions"]
        is_part = f'ALARM("{alarm["alarm_name"]}")' in down["alarm_rule"]
        assert bool(alarm["alarm_actions"]) != is_part, alarm["alarm_name"]


@pytest.mark.timeout(300)
def test_alerts_md_explains_each_alarm_and_no_other(resolved: Resolved) -> None:
    words = {"breaching": "alarm", "notBreaching": "fine", "missing": "as before"}
    made: dict[str, str] = {}
    for run in ("single", "receivers"):
        for alarm in resolved.of(run, "aws_cloudwatch_metric_alarm"):
            name = alarm["alarm_name"].removeprefix("penstock-test-")
            made[name] = words[alarm["treat_missing_data"]]
    section = PAGE[PAGE.index("## CloudWatch") :]
    rows = re.findall(r"^\| `([a-z-]+)` \| [^|]+ \| ([^|]*)\|", section, re.M)
    explained = {name: said.strip() for name, said in rows}
    assert explained.pop("down") == ""
    assert explained == made


@pytest.mark.timeout(300)
@pytest.mark.parametrize("run", ["single", "receivers"])
def test_the_dashboard_is_json_that_cloudwatch_takes(
    resolved: Resolved, run: str
) -> None:
    (dashboard,) = resolved.of(run, "aws_cloudwatch_dashboard")
    sent = _sent()
    widgets = json.loads(dashboard["dashboard_body"])["widgets"]
    assert len(widgets) > 7
    places = set()
    for widget in widgets:
        assert 0 <= widget["x"] <= widget["x"] + widget["width"] <= 24
        places.add((widget["x"], widget["y"]))
        for series in widget["properties"].get("metrics", ()):
            namespace, name, *rest = series
            options = rest.pop()
            assert set(options) <= {"stat", "label", "yAxis"}
            assert len(rest) % 2 == 0, "a dimension without a value"
            if namespace == "Penstock":
                assert set(rest[::2]) in sent[name], f"{name} by {rest}"
    assert len(places) == len(widgets), "two widgets in one place"


@pytest.mark.timeout(300)
def test_slack_may_look_and_nothing_else(resolved: Resolved) -> None:
    (slack,) = resolved.of("receivers", "aws_chatbot_slack_channel_configuration")
    (attached,) = resolved.of("receivers", "aws_iam_role_policy_attachment")
    assert slack["guardrail_policy_arns"] == [attached["policy_arn"]]
    (policy,) = resolved.of("receivers", "aws_iam_policy")
    assert attached["policy_arn"] == policy["arn"], "one of AWS's own is wider"
    allowed = {
        action
        for document in resolved.of("receivers", "aws_iam_policy_document")
        for statement in document["statement"]
        if statement["sid"] == "LookAtAlarmsAndCharts"
        for action in statement["actions"]
    }
    # No logs: those of the whole account would be a channel's to read.
    assert allowed
    assert all(re.fullmatch(r"cloudwatch:(Get|Describe)\w+", each) for each in allowed)


# ---- configure-agent


@pytest.fixture
def machine() -> Iterator[Path]:
    """An instance's directories, as far as configure-agent looks at them."""
    root("it gives files to another user")
    tool("setfacl")
    # Not pytest's directory, which nobody else can enter.
    with tempfile.TemporaryDirectory() as directory:
        yield _laid_out(Path(directory))


def _laid_out(tmp_path: Path) -> Path:
    secrets = tmp_path / "run" / "penstock" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "metrics_token").write_text("a-token")
    (secrets / "owner_password").write_text("a-secret")
    (tmp_path / "etc" / "penstock").mkdir(parents=True)
    (tmp_path / "etc" / "penstock" / "instance.env").write_text(
        "NAME=penstock\nENVIRONMENT=staging\nLOG_GROUP=/penstock/staging\nREGION=x\n"
    )
    container = tmp_path / "var" / "lib" / "docker" / "containers" / "c1"
    container.mkdir(parents=True)
    (container / "c1-json.log").write_text("{}\n")
    (container / "config.v2.json").write_text("{}\n")
    # Docker's.
    for directory in (container, container.parent, container.parent.parent):
        directory.chmod(0o710)
    (container / "c1-json.log").chmod(0o640)
    (container / "config.v2.json").chmod(0o600)
    (tmp_path / "var" / "log").mkdir()
    (tmp_path / "var" / "log" / "penstock-boot.log").write_text("booting\n")
    tmp_path.chmod(0o755)
    return tmp_path


def _configure(machine: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(CONFIGURE), *arguments],
        env={
            "PATH": os.environ["PATH"],
            "PENSTOCK_ROOT": str(machine),
            "PENSTOCK_AGENT_USER": SOMEBODY,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def _may_read(path: Path) -> bool:
    """Whether the agent's user can, by trying."""
    login = pwd.getpwnam(SOMEBODY)
    done = subprocess.run(
        ["cat", "--", str(path)],
        user=login.pw_uid,
        group=login.pw_gid,
        extra_groups=[],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def test_shellcheck_has_nothing_to_say() -> None:
    passes("shellcheck", CONFIGURE)


def test_the_agent_gets_its_configuration_and_the_token_and_no_other_secret(
    machine: Path,
) -> None:
    done = _configure(machine)
    assert done.returncode == 0, done.stderr
    configuration = Path(done.stdout.strip())
    rendered = configuration.read_text()
    assert "@" not in rendered.replace("${aws:", "")
    assert agent_keys.troubles(json.loads(rendered)) == []
    assert '"/penstock/staging/metrics"' in rendered
    assert '"Deployment": "penstock-staging"' in rendered
    scrape = configuration.with_name("prometheus.yml")
    (job,) = yaml.safe_load(scrape.read_text())["scrape_configs"]
    labels = job["static_configs"][0]["labels"]
    assert labels == {"Deployment": "penstock-staging"}
    token = machine / job["authorization"]["credentials_file"].lstrip("/")
    assert token.read_text() == "a-token"
    for path in (configuration, scrape, token):
        assert _may_read(path), path
        assert not path.stat().st_mode & stat.S_IRWXO
    secret = machine / "run" / "penstock" / "secrets" / "owner_password"
    secret.parent.chmod(0o750)
    assert not _may_read(secret)


def test_the_agent_reads_the_containers_logs_and_not_their_configuration(
    machine: Path,
) -> None:
    assert _configure(machine, "rights").returncode == 0
    container = machine / "var" / "lib" / "docker" / "containers" / "c1"
    log = container / "c1-json.log"
    assert _may_read(log)
    assert not _may_read(container / "config.v2.json")
    # Docker rotates: a new file, with the mode that it gives each.
    log.rename(container / "c1-json.log.1")
    for name, mode in (("c1-json.log", 0o640), ("config.v3.json", 0o600)):
        os.close(os.open(container / name, os.O_CREAT | os.O_WRONLY, mode))
    assert _may_read(log)
    assert not _may_read(container / "config.v3.json")
    assert _may_read(machine / "var" / "log" / "penstock-boot.log")


def test_it_may_be_run_again_and_needs_no_token_yet(machine: Path) -> None:
    (machine / "run" / "penstock" / "secrets" / "metrics_token").unlink()
    for _ in range(2):
        assert _configure(machine).returncode == 0
    assert not (machine / "run" / "penstock" / "cloudwatch").exists()


def test_what_user_data_did_not_write_is_named_in_one_line(machine: Path) -> None:
    (machine / "etc" / "penstock" / "instance.env").write_text("NAME=penstock\n")
    done = _configure(machine)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "ENVIRONMENT is not in" in done.stderr
