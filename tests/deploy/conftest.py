"""What tests of deploy/ share: AWS, Terraform, the end's word on what was not run."""

from _pytest.terminal import TerminalReporter

from tests.deploy import tools

# Of a session, and so of all modules: one that imported them would have its own.
from tests.deploy.fake_aws import aws as aws
from tests.deploy.terraform_runs import applied as applied
from tests.deploy.terraform_runs import begin as begin
from tests.deploy.terraform_runs import begun as begun
from tests.deploy.terraform_runs import changed as changed
from tests.deploy.terraform_runs import plan_of as plan_of
from tests.deploy.terraform_runs import terraform as terraform


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Say plainly what was not run, and how to get what it needs."""
    if not tools.missing:
        return
    terminalreporter.section("not run, for the lack of a tool")
    for line, tests in sorted(tools.missing.items()):
        count = "1 test" if tests == 1 else f"{tests} tests"
        terminalreporter.write_line(f"{count}: {line}")
