"""The two halves of `make test`: what is run, what comes of it, how it is ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.halves import code_of

ROOT = Path(__file__).resolve().parents[2]
# To import all plugins takes a second, eight times.
BARE = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
# As a shell starts what it runs in the background.
DEAF = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")

SIGINT_IS_HEARD = """
import signal

def test_half():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""
ENDLESS = """
import threading
from pathlib import Path

import pytest

@pytest.fixture
def server():
    Path(__file__).with_suffix(".begun").touch()
    yield
    Path(__file__).with_suffix(".ended").touch()

def test_half(server):
    threading.Event().wait()
"""


def halves(folder: Path, *, shown: str, logged: str, also: str = "") -> list[str]:
    """The command that runs two files of tests."""
    files = {"shown": folder / "test_shown.py", "logged": folder / "test_logged.py"}
    files["shown"].write_text(shown)
    files["logged"].write_text(logged)
    command = [*DEAF, sys.executable, "-m", "tests.halves"]
    for name, file in files.items():
        command += [f"--{name}", str(file)]
    # Of this folder alone: the project's own settings are not for these.
    quiet = ["-p", "no:cacheprovider", f"--rootdir={folder}", "-c", "/dev/null"]
    log = str(folder / "build" / "logged.log")
    return [*command, "--log", log, "--", *quiet, *also.split()]


def test_both_halves_hear_sigint_and_both_are_told_of(tmp_path: Path) -> None:
    command = halves(tmp_path, shown=SIGINT_IS_HEARD, logged=SIGINT_IS_HEARD)
    done = subprocess.run(command, cwd=ROOT, env=BARE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("1 passed") == 2
    # The arguments are for both: here they leave each without a test.
    command = halves(tmp_path, shown="", logged="", also="-k nothing")
    done = subprocess.run(command, cwd=ROOT, env=BARE, capture_output=True, text=True)
    assert done.returncode == 5, done.stdout


@pytest.mark.parametrize(
    ("codes", "code"),
    [((0, 0), 0), ((0, 5), 0), ((5, 0), 0), ((5, 5), 5), ((1, 0), 1), ((5, 2), 2)],
)
def test_a_half_that_fails_is_a_failure_and_one_without_tests_is_none(
    codes: tuple[int, int], code: int
) -> None:
    assert code_of(codes) == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_halves_end_what_they_have_started(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = halves(tmp_path, shown=ENDLESS, logged=ENDLESS)
    with subprocess.Popen(
        command, cwd=ROOT, env=BARE, stdout=subprocess.DEVNULL
    ) as running:
        while len(list(tmp_path.glob("*.begun"))) < 2:
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(number)
        assert running.wait() == 2  # pytest's code of one that was interrupted
    assert len(list(tmp_path.glob("*.ended"))) == 2
