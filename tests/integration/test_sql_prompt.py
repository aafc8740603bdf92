"""The prompt of `penstock sql`, on a terminal of its own."""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.embedded import EmbeddedPostgres
from tests import msgpack_bytes as m
from tests.integration.conftest import (
    AT_TERMINAL,
    PATIENCE_SECONDS,
    Database,
    batch_of,
    clean_environment,
    create_database,
    new_home,
    penstock,
    run_async,
    store_in,
    wait_until,
)
from tests.integration.test_sql_cli import SLOW, asleep_in

# What moves the cursor and colours text; and the question where the cursor is.
ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[()][A-B0-2]|[=>78])")
# Spaces, as prompt_toolkit writes them.
RIGHT = re.compile(r"\x1b\[(\d*)C")
CURSOR_ASKED = b"\x1b[6n"
CTRL_C, CTRL_D, ENTER, TAB, UP = "\x03", "\x04", "\r", "\t", "\x1b[A"


class Terminal:
    """A prompt, typed at and read by a test."""

    def __init__(self, state: Path, *arguments: str, lines: int = 24) -> None:
        self._mine, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", lines, 80, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", AT_TERMINAL, *penstock("sql", *arguments)],
            stdin=its,
            stdout=its,
            stderr=its,
            env=clean_environment(
                TERM="xterm", XDG_STATE_HOME=str(state), PAGER="sed s/^/paged:/"
            ),
            start_new_session=True,
        )
        os.close(its)
        self._shown = ""

    def type(self, text: str) -> None:
        os.write(self._mine, text.encode())

    def wait_for(self, text: str) -> str:
        """Read until a text is shown; return what was, and forget it."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while text not in self._shown:
            assert time.monotonic() < give_up, f"no {text!r} in {self._shown!r}"
            self._read()
        before, _, self._shown = self._shown.partition(text)
        return before + text

    def type_until(self, key: str, text: str) -> None:
        """Type a key as often as it takes for a text to be shown."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while text not in self._shown:
            assert time.monotonic() < give_up, f"no {text!r} in {self._shown!r}"
            self.type(key)
            self._read()

    def _read(self) -> None:
        if select.select([self._mine], [], [], 0.1)[0]:
            try:
                block = os.read(self._mine, 65536)
            except OSError:  # the other end is closed
                block = b""
            if CURSOR_ASKED in block:
                os.write(self._mine, b"\x1b[1;1R")
            text = RIGHT.sub(
                lambda n: " " * int(n[1] or 1), block.decode(errors="replace")
            )
            self._shown += ESCAPE.sub("", text)

    def ended(self) -> int:
        while self.process.poll() is None:
            self._read()
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self._mine)


@pytest.fixture(scope="module")
def asked(postgres: EmbeddedPostgres, template: str) -> Database:
    made = create_database(postgres, template)
    at = m.uint32(int(time.time()))
    entries = m.entry({"n": 1, "request id": "a", "took_ms": 555}, at)
    run_async(store_in(made, batch_of(entries)))
    return made


@pytest.fixture
def state() -> Iterator[Path]:
    home = new_home()
    yield home
    shutil.rmtree(home)


@pytest.fixture
def prompt(asked: Database, state: Path) -> Iterator[Terminal]:
    terminal = Terminal(state, "--database-url", asked.url)
    try:
        terminal.wait_for("penstock> ")
        yield terminal
    finally:
        terminal.close()


def ask(prompt: Terminal, statement: str, answer: str) -> str:
    """Type a statement; return what is shown until an answer that it does not say."""
    prompt.type(statement + ENTER)
    return prompt.wait_for(answer)


def test_statements_are_answered_until_the_end(prompt: Terminal) -> None:
    assert "42" in ask(prompt, "select 40 + 2 as answer;", "(1 row, ")
    prompt.type(ENTER)
    assert "44" in ask(prompt, "select 40 + 4 as answer;", "(1 row, ")
    prompt.type("\\q" + ENTER)
    assert prompt.ended() == 0


def test_a_statement_may_have_many_lines(prompt: Terminal) -> None:
    prompt.type("select 40 +" + ENTER)
    prompt.wait_for("...")
    assert "42" in ask(prompt, "2 as answer;", "(1 row, ")
    prompt.wait_for("penstock>")
    prompt.type(CTRL_D)
    assert prompt.ended() == 0


def test_an_error_ends_nothing_and_shows_its_place(prompt: Terminal) -> None:
    shown = ask(prompt, "selec 1;", "^")
    assert 'penstock: at 1: syntax error at or near "selec"' in shown
    assert re.search(r"LINE 1: selec 1;\r\n        \^", shown)
    ask(prompt, "drop table logs;", "penstock: DROP")
    ask(prompt, "select 1/0;", "division by zero")
    assert "42" in ask(prompt, "select 40 + 2 as n;", "(1 row, ")


def test_ctrl_c_ends_the_statement_and_not_the_prompt(
    prompt: Terminal, asked: Database
) -> None:
    for _ in range(2):
        prompt.type(SLOW + ";" + ENTER)
        wait_until(lambda: asleep_in(asked), "it runs")
        prompt.type(CTRL_C)
        prompt.wait_for("the statement was cancelled")
        wait_until(lambda: not asleep_in(asked), "it is ended on the server")
        assert "42" in ask(prompt, "select 40 + 2 as n;", "(1 row, ")
        prompt.type("select 1")
        prompt.wait_for("select 1")
        prompt.type(CTRL_C)  # what is typed is dropped
        assert "43" in ask(prompt, "select 40 + 3 as n;", "(1 row, ")


def test_what_is_typed_is_completed(prompt: Terminal) -> None:
    prompt.type("select attri" + TAB)
    prompt.wait_for("butes")  # what it adds
    prompt.type(" ->> 'took")
    prompt.type_until(TAB, "_ms")  # the keys are looked up meanwhile
    assert "555" in ask(prompt, "' as t from logs;", "(1 row, ")


def test_the_history_is_kept_for_its_owner_only(asked: Database, state: Path) -> None:
    for typed in ("select 41 + 1 as n;" + ENTER, UP + ENTER):
        terminal = Terminal(state, "--database-url", asked.url)
        terminal.wait_for("penstock> ")
        terminal.type(typed)
        terminal.wait_for("(1 row, ")
        terminal.wait_for("penstock>")
        terminal.type(CTRL_D)
        assert terminal.ended() == 0
        terminal.close()
    (file,) = state.rglob("sql_history")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "select 41 + 1 as n;" in file.read_text()


def test_a_long_result_goes_through_the_pager(prompt: Terminal) -> None:
    ask(prompt, "select 'a long one' from generate_series(1, 100);", "paged:")
    prompt.wait_for("(100 rows, ")


def test_commands_say_what_there_is(prompt: Terminal) -> None:
    ask(prompt, "\\d", "received_at")
    ask(prompt, "\\?", "Ctrl-D or")
    ask(prompt, "\\x", "there is no command")


def test_a_database_out_of_reach_is_told_before_any_prompt(state: Path) -> None:
    terminal = Terminal(state, "--database-url", "postgresql://me@127.0.0.1:1/logs")
    assert "cannot use the database" in terminal.wait_for("\n")
    assert terminal.ended() == 3
    terminal.close()
