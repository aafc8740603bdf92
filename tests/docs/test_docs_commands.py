"""The commands in the README and in docs/ work as they stand there.

Each page has a directory of its own and, if its commands call penstock, a server of its
own: PENSTOCK_DATA_DIR, PENSTOCK_PORT and PENSTOCK_HTTP_PORT name it to the commands. A
page about backups has an S3 too, which PENSTOCK_BACKUP_STORE names.
What a page shows as a command's answer is compared with what it answers.
"""

import contextlib
import difflib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from penstock import app, config
from penstock.cli import first_steps
from penstock.embedded.programs import find_bin_dir
from tests.acceptance.penstock_process import Penstock
from tests.docs.backup_place import STORE, backup_place
from tests.docs.doc_blocks import DocBlock, Exchange, agree, doc_pages, parse_blocks

ROOT = Path(__file__).resolve().parents[2]
PAGES = [str(page.relative_to(ROOT)) for page in doc_pages(ROOT)]

# None that hangs is waited for longer; a base backup on a loaded machine takes 30 s.
COMMAND_SECONDS = 180
# These leave the page's directory: they clone, or act on the checkout itself.
NOT_OURS_TO_RUN = ("git clone", "make ", "sudo ")


class BlockError(Exception):
    """A block does not do what its page says; the text is for whoever mends it."""


def blocks_of(page: str) -> list[DocBlock]:
    return parse_blocks((ROOT / page).read_text())


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A page's directory, and the home of who reads it."""
    path = Path(tempfile.mkdtemp(prefix="penstock-docs-"))
    yield path
    shutil.rmtree(path)


@contextlib.contextmanager
def running_penstock() -> Iterator[Penstock]:
    """A `penstock up` for one page's commands, on ports that it has chosen itself.

    It has to stop cleanly too. Whatever a block did to it, nothing of it is left.
    """
    penstock = Penstock()
    try:
        penstock.start()
        yield penstock
        status = penstock.stop()
        assert status == 0, f"penstock up ended with {status}:\n{penstock.stderr()}"
    finally:
        penstock.remove()


def calls_penstock(blocks: list[DocBlock]) -> bool:
    """Whether there has to be a server: `${PENSTOCK_HTTP_PORT:-8000}` names it too."""
    return any("penstock" in block.text.lower() for block in blocks)


def reader_environment(scratch: Path, penstock: Penstock | None) -> dict[str, str]:
    """What a reader's shell has, with settings that keep the commands in `scratch`."""
    ours = ("PENSTOCK_", "MAKE", "PYTEST_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(scratch),
    }
    # psql is PostgreSQL's own, where a machine has none.
    environment["PATH"] += f"{os.pathsep}{find_bin_dir()}"
    if penstock is None:
        return environment | {"PENSTOCK_DATA_DIR": str(scratch / "data")}
    return environment | {
        "PENSTOCK_DATA_DIR": str(penstock.data_dir),
        "PENSTOCK_PORT": str(penstock.port),
        "PENSTOCK_HTTP_PORT": str(penstock.http_port),
    }


def run_shell(text: str, cwd: Path, environment: dict[str, str]) -> tuple[str, str]:
    """Run commands as a shell would, ending at the first that fails.

    Return what went wrong, empty if nothing did, and what was printed. Output goes to
    a file: a pipe would be held open by what a block leaves running.
    """
    wrong = ""
    with tempfile.TemporaryFile() as output:
        shell = subprocess.Popen(
            ["sh", "-eu", "-c", text],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            if status := shell.wait(COMMAND_SECONDS):
                wrong = f"exit code {status}"
        except subprocess.TimeoutExpired:
            wrong = f"no end within {COMMAND_SECONDS} s"
        finally:
            # What the block started goes with it, be it done or not.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
        output.seek(0)
        return wrong, output.read().decode(errors="replace")


def run_block(
    page: str, block: DocBlock, cwd: Path, environment: dict[str, str]
) -> None:
    """Run a block; of a session each answer has to be the one that is shown.

    Raises:
        BlockError: a command fails, or answers otherwise.
    """
    if block.tag == "console":
        for exchange in block.exchanges():
            run_exchange(page, exchange, cwd, environment)
        return
    wrong, said = run_shell(block.text, cwd, environment)
    if wrong:
        raise BlockError(f"{page}:{block.line}: {wrong}\n{block.text}\n---\n{said}")


def run_exchange(
    page: str, exchange: Exchange, cwd: Path, environment: dict[str, str]
) -> None:
    command = on_this_server(exchange.command, environment)
    wrong, said = run_shell(command, cwd, environment)
    where = f"{page}:{exchange.line}"
    if wrong:
        raise BlockError(f"{where}: {wrong}\n{command}\n---\n{said}")
    shown = [line.rstrip() for line in exchange.answer.rstrip().splitlines()]
    printed = [line.rstrip() for line in said.rstrip().splitlines()]
    if not agree("\n".join(shown), "\n".join(printed)):
        differ = "\n".join(difflib.ndiff(shown, printed))
        raise BlockError(f"{where}: not the answer shown\n{command}\n---\n{differ}")


def on_this_server(command: str, environment: dict[str, str]) -> str:
    """A session's command, which is shown with the usual ports, with the page's own."""
    for port, name in (("24224", "PENSTOCK_PORT"), ("8000", "PENSTOCK_HTTP_PORT")):
        command = command.replace(f":{port}", f":{environment.get(name, port)}")
    return command


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work(page: str, scratch: Path) -> None:
    blocks = [block for block in blocks_of(page) if block.is_run]
    with contextlib.ExitStack() as stack:
        penstock = None
        place = stack.enter_context(backup_place(blocks))
        if calls_penstock(blocks):
            penstock = stack.enter_context(running_penstock())
        environment = reader_environment(scratch, penstock)
        if place is not None:
            environment["PENSTOCK_BACKUP_STORE"] = STORE
        failure = ""
        try:
            for block in blocks:
                if place is not None:
                    place.replicate()
                run_block(page, block, scratch, environment)
        except BlockError as error:
            log = f"\n--- penstock up\n{penstock.stderr()}" if penstock else ""
            failure = f"{error}{log}"
        if failure:
            pytest.fail(failure, pytrace=False)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_is_run_and_why_the_rest_is_not(page: str) -> None:
    for block in blocks_of(page):
        where = f"{page}:{block.line}"
        if block.not_run is not None:
            assert block.tag in {"sh", "console"}, f"{where}: a {block.tag} never is"
            assert block.not_run, f"{where}: no reason given"
        if block.is_run:
            lines = [line.removeprefix("$ ") for line in block.text.splitlines()]
            strays = [line for line in lines if line.startswith(NOT_OURS_TO_RUN)]
            assert not strays, f"{where}: mark it <!-- not run: reason -->: {strays}"
        if block.tag == "console":
            exchanges = block.exchanges()
            assert exchanges, f"{where}: no command stands after a `$ `"
            for each in exchanges:
                assert each.answer, f"{where}: it shows no answer; tag it sh"
        assert block.tag not in {"bash", "shell", "zsh"}, f"{where}: tag it sh"


def test_what_up_says_is_what_first_logs_shows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = [
        exchange.answer
        for block in blocks_of("docs/first-logs.md")
        for exchange in block.exchanges()
        if block.tag == "console" and exchange.command == "make up"
    ]
    # As root's, with the usual ports, by the command that make calls.
    data_dir = Path("/var/lib/penstock")
    monkeypatch.setattr(first_steps, "default_data_dir", lambda: data_dir)
    monkeypatch.setattr("sys.argv", [".venv/bin/penstock"])
    url = f"postgresql://postgres@/penstock?host={data_dir}/run&port=5432"
    listening = app.Listening("127.0.0.1", 24224, "127.0.0.1", 8000)
    first_steps.print_ready(listening, config.load({}), url, data_dir)
    assert shown == [capsys.readouterr().out.rstrip() + "\n"]


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


def test_a_session_is_read_as_commands_with_their_answers() -> None:
    block = DocBlock(5, "console", "$ one\n1\n\n1\n$ two --of=$x\n2", None)
    assert block.exchanges() == [
        Exchange(5, "one", "1\n\n1\n"),
        Exchange(9, "two --of=$x", "2\n"),
    ]


def test_only_an_id_and_a_time_that_is_now_may_differ_from_what_is_shown() -> None:
    shown = '{"id":891426791572283392,"ts":"2026-01-02T03:04:05.5Z","ms":2140}'
    now = datetime.now(UTC)
    for printed in (
        shown,
        shown.replace("891426791572283392", "901426791572283393"),
        shown.replace("2026-01-02T03:04:05.5Z", now.isoformat(sep=" ")),
    ):
        assert agree(shown, printed)
    yesterday = (now - timedelta(days=1)).isoformat()
    for printed in (
        "",
        f"{shown} ",
        shown.replace("2140", "2141"),
        shown.replace("891426791572283392", "7"),
        shown.replace("891426791572283392", f'"{now.isoformat()}"'),
        shown.replace("2026-01-02T03:04:05.5Z", yesterday),
        f"{shown}\n{shown}",
    ):
        assert not agree(shown, printed)


def test_a_session_that_answers_otherwise_fails(tmp_path: Path) -> None:
    environment = dict(os.environ)
    same = DocBlock(3, "console", "$ echo a; echo b\na\nb", None)
    run_block("page.md", same, tmp_path, environment)
    other = DocBlock(3, "console", "$ true\n\n$ echo b; echo c\nb\nd", None)
    with pytest.raises(BlockError, match=r"page\.md:5: not the answer") as error:
        run_block("page.md", other, tmp_path, environment)
    assert str(error.value).endswith("---\n  b\n- d\n+ c")
    failing = DocBlock(3, "console", "$ echo a; exit 3\na", None)
    with pytest.raises(BlockError, match=r"page\.md:3: exit code 3\n"):
        run_block("page.md", failing, tmp_path, environment)


def test_a_failing_command_names_its_page_and_line(tmp_path: Path) -> None:
    block = DocBlock(7, "sh", "echo before; false; echo after", None)
    with pytest.raises(BlockError, match=r"page\.md:7: exit code 1\n") as error:
        run_block("page.md", block, tmp_path, dict(os.environ))
    assert str(error.value).endswith("---\nbefore\n")


def test_a_page_that_names_the_server_only_by_its_port_has_one() -> None:
    url = "http://127.0.0.1:${PENSTOCK_HTTP_PORT:-8000}/metrics"
    assert calls_penstock([DocBlock(1, "sh", f"curl -fsS {url}", None)])
    assert not calls_penstock([DocBlock(1, "sh", "curl --version", None)])


def test_the_usual_ports_in_a_session_stand_for_those_of_the_pages_server() -> None:
    environment = {"PENSTOCK_PORT": "1", "PENSTOCK_HTTP_PORT": "2"}
    shown = "curl http://127.0.0.1:8000/ready; nc :24224; echo 8000"
    ours = "curl http://127.0.0.1:2/ready; nc :1; echo 8000"
    assert on_this_server(shown, environment) == ours
    assert on_this_server(shown, {}) == shown


def test_commands_find_penstock_and_keep_to_their_directory(scratch: Path) -> None:
    environment = reader_environment(scratch, None)
    text = "penstock --version; touch ~/here"
    run_block("page.md", DocBlock(1, "sh", text, None), scratch, environment)
    assert (scratch / "here").exists()
