"""The commands in the README and in docs/ work as they stand there.

Each page has a directory of its own and, if its commands call penstock, a server of its
own: PENSTOCK_DATA_DIR, PENSTOCK_PORT and PENSTOCK_HTTP_PORT name it to the commands.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.doc_blocks import DocBlock, doc_pages, parse_blocks

ROOT = Path(__file__).resolve().parents[2]
PAGES = [str(page.relative_to(ROOT)) for page in doc_pages(ROOT)]

# Generous: a loaded CI machine starts PostgreSQL in some seconds.
START_SECONDS = 60
STOP_SECONDS = 30
COMMAND_SECONDS = 60
# These leave the page's directory: they clone, or act on the checkout itself.
NOT_OURS_TO_RUN = ("git clone", "make ", "sudo ")


def blocks_of(page: str) -> list[DocBlock]:
    return parse_blocks((ROOT / page).read_text())


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory with a short path: PostgreSQL's socket in it may have 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="penstock-docs-", dir="/tmp"))
    # Open to others, for as root PostgreSQL runs as another user.
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def reader_environment(scratch: Path) -> dict[str, str]:
    """What a reader's shell has, with settings that keep the commands in `scratch`."""
    ours = ("PENSTOCK_", "MAKE", "PYTEST_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    port, http_port = free_ports(2)
    return environment | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(scratch),
        "PENSTOCK_DATA_DIR": str(scratch / "data"),
        "PENSTOCK_PORT": str(port),
        "PENSTOCK_HTTP_PORT": str(http_port),
    }


def is_ready(environment: dict[str, str]) -> bool:
    url = f"http://127.0.0.1:{environment['PENSTOCK_HTTP_PORT']}/ready"
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


@contextlib.contextmanager
def running_server(scratch: Path, environment: dict[str, str]) -> Iterator[None]:
    """A `penstock up` for one page's commands; it has to stop cleanly too."""
    log = scratch / "penstock.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "penstock", "up"],
            cwd=scratch,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not is_ready(environment):
            assert server.poll() is None, f"penstock up ended:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"not ready:\n{log.read_text()}"
            time.sleep(0.05)
        yield
        server.send_signal(signal.SIGTERM)
        status = server.wait(STOP_SECONDS)
        assert status == 0, f"penstock up ended with {status}:\n{log.read_text()}"
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def run_block(
    page: str, block: DocBlock, cwd: Path, environment: dict[str, str]
) -> None:
    """Run a block as a shell would, ending at the first command that fails.

    Output goes to a file: a pipe would be held open by what a block leaves running.
    """
    with tempfile.TemporaryFile() as output:
        shell = subprocess.Popen(
            ["sh", "-eu", "-c", block.text],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status: int | str = shell.wait(COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            status = f"no end within {COMMAND_SECONDS} s"
        finally:
            # What the block started goes with it, be it done or not.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
        output.seek(0)
        said = output.read().decode(errors="replace")
    if status != 0:
        said = f"{page}:{block.line}: {status}\n{block.text}\n---\n{said}"
        pytest.fail(said, pytrace=False)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work(page: str, scratch: Path) -> None:
    blocks = [block for block in blocks_of(page) if block.is_run]
    environment = reader_environment(scratch)
    with contextlib.ExitStack() as stack:
        if any("penstock" in block.text for block in blocks):
            stack.enter_context(running_server(scratch, environment))
        for block in blocks:
            run_block(page, block, scratch, environment)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_is_run_and_why_the_rest_is_not(page: str) -> None:
    for block in blocks_of(page):
        where = f"{page}:{block.line}"
        if block.not_run is not None:
            assert block.tag == "sh", f"{where}: only sh blocks are run"
            assert block.not_run, f"{where}: no reason given"
        if block.is_run:
            lines = block.text.splitlines()
            strays = [line for line in lines if line.startswith(NOT_OURS_TO_RUN)]
            assert not strays, f"{where}: mark it <!-- not run: reason -->: {strays}"
        if block.tag == "console":
            answers = [n for n in block.text.splitlines() if not n.startswith("$ ")]
            assert answers, f"{where}: commands without output belong in an sh block"
        assert block.tag not in {"bash", "shell", "zsh"}, f"{where}: tag it sh"


def test_blocks_are_found_with_their_tags_lines_and_reasons() -> None:
    page = """\
```sh
echo one
```
<!-- not run: it needs two machines -->

```sh
echo two
```
<!-- not run: -->
```sh
echo three
```
<!-- not run: it stands too far away -->
Text between.
1. In a list:
   ```sh
   echo four
   ```
````markdown
```sh
echo shown
```
````
"""
    assert parse_blocks(page) == [
        DocBlock(2, "sh", "echo one", None),
        DocBlock(7, "sh", "echo two", "it needs two machines"),
        DocBlock(11, "sh", "echo three", ""),
        DocBlock(17, "sh", "echo four", None),
        DocBlock(20, "markdown", "```sh\necho shown\n```", None),
    ]


def test_a_block_that_is_not_closed_is_an_error() -> None:
    with pytest.raises(ValueError, match="line 1"):
        parse_blocks("```sh\necho")


def test_a_failing_command_names_its_page_and_line(tmp_path: Path) -> None:
    block = DocBlock(7, "sh", "echo before; false; echo after", None)
    with pytest.raises(pytest.fail.Exception, match=r"page\.md:7: 1\n") as failure:
        run_block("page.md", block, tmp_path, dict(os.environ))
    assert str(failure.value).endswith("---\nbefore\n")


def test_commands_find_penstock_and_keep_to_their_directory(scratch: Path) -> None:
    environment = reader_environment(scratch)
    text = 'penstock --version; touch ~/here; test "$PENSTOCK_PORT" -gt 0'
    run_block("page.md", DocBlock(1, "sh", text, None), scratch, environment)
    assert (scratch / "here").exists()
