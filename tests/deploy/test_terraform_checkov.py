"""checkov finds nothing that is not argued for, and each argument is still needed."""

import json
import re
from typing import Any

import pytest
import yaml

from tests.deploy.tools import TERRAFORM, run

SETTINGS = TERRAFORM / ".checkov.yaml"
pytestmark = pytest.mark.timeout(240)


def checkov(*arguments: str) -> dict[str, Any]:
    ran = run(
        "checkov",
        f"--directory={TERRAFORM}",
        "--output=json",
        *arguments,
        env={"LOG_LEVEL": "ERROR"},
        seconds=200,
    )
    found: dict[str, Any] = json.loads(ran.output[ran.output.index("{") :])
    assert found["summary"]["parsing_errors"] == 0
    return found


@pytest.fixture(scope="module")
def failed() -> set[tuple[str, str]]:
    """All that it finds, with nothing left out: the check, and the resource."""
    found = checkov("--framework=terraform", "--compact", "--skip-download", "--quiet")
    return {
        (each["check_id"], each["resource"])
        for each in found["results"]["failed_checks"]
    }


def test_what_it_finds_is_argued_for(failed):
    excepted = set(yaml.safe_load(SETTINGS.read_text())["skip-check"])
    assert {each for each in failed if each[0] not in excepted} == set()


def test_no_exception_outlives_its_reason(failed):
    excepted = yaml.safe_load(SETTINGS.read_text())["skip-check"]
    assert set(excepted) - {check for check, _ in failed} == set()


def test_each_exception_has_its_argument():
    lines = SETTINGS.read_text().partition("skip-check:\n")[2].splitlines()
    for number, line in enumerate(lines):
        assert re.fullmatch(r"  (# .{5,}|- CKV2?_AWS_\d+)", line), line
        if line.startswith("  - "):
            assert number, "the first has no comment before it"
