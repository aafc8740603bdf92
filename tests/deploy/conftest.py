"""What the tests of deploy/ share: the end's word on what was not run."""

from _pytest.terminal import TerminalReporter

from tests.deploy import tools


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Say plainly what was not run, and how to get what it needs."""
    if not tools.missing:
        return
    terminalreporter.section("not run, for the lack of a tool")
    for line, tests in sorted(tools.missing.items()):
        count = "1 test" if tests == 1 else f"{tests} tests"
        terminalreporter.write_line(f"{count}: {line}")
