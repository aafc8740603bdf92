"""What is not run is said: a run without a tool names it and how to get it."""

import os
import subprocess
import sys

from tests.deploy.tools import REPOSITORY, WHOLE

_PROBE = """
from tests.deploy.conftest import pytest_terminal_summary
from tests.deploy.tools import tool

def test_needs_it():
    tool("a-tool-that-nobody-has")
"""


def _run(tmp_path, whole: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "test_probe.py").write_text(_PROBE)
    (tmp_path / "conftest.py").write_text(
        "from tests.deploy.conftest import pytest_terminal_summary\n"
    )
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path)],
        env={**os.environ, WHOLE: whole, "PYTHONPATH": str(REPOSITORY)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_missing_tool_is_named_at_the_end_with_how_to_get_it(tmp_path):
    done = _run(tmp_path, whole="")
    assert done.returncode == 0
    assert "not run, for the lack of a tool" in done.stdout
    assert "1 test: a-tool-that-nobody-has is missing: " in done.stdout


def test_where_nothing_may_be_missing_a_missing_tool_fails(tmp_path):
    done = _run(tmp_path, whole="1")
    assert done.returncode == 1
    assert "a-tool-that-nobody-has is missing" in done.stdout
