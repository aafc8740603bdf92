"""The parts of `make test`: what is run, what comes of it, how it is ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.side_by_side import code_of

ROOT = Path(__file__).resolve().parents[2]
# To import all plugins takes a second, twelve times.
BARE = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
# As a shell starts what it runs in the background.
DEAF = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")

SIGINT_IS_HEARD = """
import signal

def test_part():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""
ENDLESS = """
import threading
from pathlib import Path

import pytest

@pytest.fixture
def server():
    yield
    Path(__file__).with_suffix(".ended").touch()

def test_part(server):
    Path(__file__).with_suffix(".begun").touch()  # from now on it is cleaned up
    threading.Event().wait()
"""


def side_by_side(folder: Path, test: str, also: str = "") -> list[str]:
    """The command that runs three files of tests, all alike."""
    command = [*DEAF, sys.executable, "-m", "tests.side_by_side"]
    for number, option in enumerate(("--shown", "--logged", "--logged")):
        file = folder / f"test_{number}.py"
        file.write_text(test)
        command += [option, str(file)]
    # Of this folder alone: the project's own settings are not for these.
    quiet = ["-p", "no:cacheprovider", f"--rootdir={folder}", "-c", "/dev/null"]
    logs = str(folder / "build")
    return [*command, "--logs", logs, "--", *quiet, *also.split()]


def test_all_parts_hear_sigint_and_all_are_told_of(tmp_path: Path) -> None:
    command = side_by_side(tmp_path, SIGINT_IS_HEARD)
    done = subprocess.run(command, cwd=ROOT, env=BARE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("1 passed") == 3
    # The arguments are for all: here they leave each without a test.
    command = side_by_side(tmp_path, "", also="-k nothing")
    done = subprocess.run(command, cwd=ROOT, env=BARE, capture_output=True, text=True)
    assert done.returncode == 5, done.stdout


@pytest.mark.parametrize(
    ("codes", "code"),
    [((0, 0), 0), ((0, 5), 0), ((5, 0), 0), ((5, 5), 5), ((1, 0), 1), ((5, 2), 2)],
)
def test_a_part_that_fails_is_a_failure_and_one_without_tests_is_none(
    codes: tuple[int, int], code: int
) -> None:
    assert code_of(codes) == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_all_parts_end_what_they_have_started(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = side_by_side(tmp_path, ENDLESS)
    with subprocess.Popen(
        command, cwd=ROOT, env=BARE, stdout=subprocess.DEVNULL
    ) as running:
        while len(list(tmp_path.glob("*.begun"))) < 3:
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(number)
        assert running.wait() == 2  # pytest's code of one that was interrupted
    assert len(list(tmp_path.glob("*.ended"))) == 3
