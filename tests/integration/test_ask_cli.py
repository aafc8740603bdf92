"""`penstock ask`: what somebody sees, says yes to, and gets."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from benchmarks import fake_model
from benchmarks.fake_model import FakeModel, sql
from penstock.embedded import EmbeddedPostgres, url_as
from penstock.sink.roles import make_roles
from tests.integration.ask_parts import KEY, SECRET, seed
from tests.integration.conftest import (
    PATIENCE_SECONDS,
    Database,
    Here,
    clean_environment,
    create_database,
    drop_database,
    penstock,
    run_async,
    the_line,
    wait_until,
)

COUNT = "SELECT service, count(*) AS n\nFROM logs WHERE id < 1000 GROUP BY 1 ORDER BY 1"
SERIES = (
    "SELECT date_bin('10 minutes', ts, '2020-01-01') AS at, count(*) AS events"
    " FROM logs WHERE id < 1000 GROUP BY 1 ORDER BY 1"
)


@pytest.fixture(scope="module")
def logs(postgres: EmbeddedPostgres, template: str) -> Iterator[Database]:
    made = create_database(postgres, template)
    seed(made)
    yield made
    drop_database(made)


@pytest.fixture(scope="module")
def server() -> Iterator[FakeModel]:
    with fake_model.fake_model() as model:
        yield model


class Ask:
    """`penstock ask` on one database, with one model."""

    def __init__(self, here: Here, logs: Database, model: FakeModel) -> None:
        self._here = here
        self.logs = logs
        self.model = model
        self.environment = {
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": model.url,
            "PENSTOCK_DATABASE_URL": logs.url,
            "TZ": "Asia/Seoul",
        }

    def __call__(
        self, *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return self._here("ask", *arguments, **self.environment | environment)

    def outcome(self) -> str:
        return str(
            self.logs.value(
                "SELECT outcome FROM penstock_question ORDER BY id DESC LIMIT 1"
            )
        )


@pytest.fixture
def ask(here: Here, logs: Database, server: FakeModel) -> Ask:
    server.will()
    server.decide = None
    return Ask(here, logs, server)


def test_with_yes_it_runs_and_only_rows_are_on_stdout(ask: Ask) -> None:
    ask.model.will(
        sql(
            COUNT,
            "서비스별 이벤트 수입니다.",
            assumptions=["최근 24시간"],
            since="2026-11-29T03:00:00Z",
            until="2026-11-29T12:00:00+09:00",
        )
    )
    ended = ask("--yes", "-o", "json", "서비스별 이벤트 수는?")
    assert ended.returncode == 0, ended.stderr
    assert [json.loads(line) for line in ended.stdout.splitlines()] == [
        {"service": "checkout", "n": 25},
        {"service": "search", "n": 25},
    ]
    assert "서비스별 이벤트 수입니다." in ended.stderr
    assert "  - 최근 24시간" in ended.stderr
    assert (
        "2026-11-29 12:00:00 to 2026-11-29 12:00:00 (Asia/Seoul),"
        " 2026-11-29 03:00:00 to 2026-11-29 03:00:00 (UTC)" in ended.stderr
    )
    assert COUNT in ended.stderr
    assert re.search(
        r"\(cost \$0\.00015: claude-haiku-5-5, 1,000 \+ 100 tokens\)", ended.stderr
    )
    assert "Asia/Seoul" in ask.model.requests[0].turns[0]


@pytest.mark.parametrize("form", ["table", "csv"])
def test_rows_come_in_the_form_that_is_asked_for(ask: Ask, form: str) -> None:
    ask.model.will(sql(COUNT))
    ended = ask("--yes", "-o", form, "q")
    assert ended.returncode == 0
    if form == "csv":
        assert ended.stdout == "service,n\ncheckout,25\nsearch,25\n"
    else:
        assert "│ checkout │ 25 │" in ended.stdout


def test_a_dry_run_prints_the_sql_and_runs_nothing(ask: Ask) -> None:
    ask.model.will(sql(COUNT, "Counts."))
    ended = ask("--dry-run", "q")
    assert (ended.returncode, ended.stdout) == (0, f"{COUNT}\n")
    assert "Counts." in ended.stderr
    assert ask.outcome() == "proposed"


def test_without_a_terminal_nothing_runs_that_nobody_said_yes_to(ask: Ask) -> None:
    ask.model.will(sql(COUNT))
    ended = ask("q")
    assert (ended.returncode, ended.stdout) == (1, f"{COUNT}\n")
    assert "--yes runs it at once" in ended.stderr
    assert ask.outcome() == "proposed"


def test_an_error_while_it_runs_is_mended_with_yes(ask: Ask) -> None:
    ask.model.will(sql("SELECT sum(message::int) FROM logs"), sql(COUNT))
    ended = ask("--yes", "-o", "csv", "q")
    assert ended.returncode == 0
    assert ended.stdout.startswith("service,n\n")
    assert "SQL mended once" in ended.stderr
    assert "claude-haiku-5-5, claude-sonnet-5-5" in ended.stderr
    assert SECRET not in str(ask.model.requests[1].body)


def test_sql_that_nobody_could_mend_is_one_line_and_exit_code_1(ask: Ask) -> None:
    ask.model.will(*[sql("SELECT pg_sleep(9) FROM logs")] * 3)
    ended = ask("--yes", "q")
    assert (ended.returncode, ended.stdout) == (1, "")
    told = [line for line in ended.stderr.splitlines() if "penstock: " in line]
    assert len(told) == 1
    assert "pg_sleep" in told[0]


def test_what_a_model_writes_does_not_command_the_terminal(ask: Ask) -> None:
    ask.model.will(
        sql(
            "SELECT 'a\x1b[2J\u202e' AS x FROM logs LIMIT 1",
            "\x1b]0;title\x07Reads \u202eit.",
            assumptions=["one\r\x1b[31m"],
        )
    )
    ended = ask("--yes", "q")
    assert ended.returncode == 0
    for each in ("\x1b", "\x07", "\r"):
        assert each not in ended.stdout + ended.stderr
    assert "\u202e" not in ended.stderr
    assert "Reads \\u202eit." in ended.stderr


def test_explain_needs_a_word_that_rows_may_be_sent(ask: Ask) -> None:
    line = ask("--explain", "--yes", "q").stderr
    assert "--share-rows" in line
    assert not ask.model.requests


def test_explain_puts_the_result_into_words(ask: Ask) -> None:
    ask.model.will(sql(COUNT), fake_model.Reply(text="반반입니다.\x1b[0m"))
    ended = ask("--explain", "--share-rows", "--yes", "-o", "csv", "q")
    assert ended.returncode == 0
    assert ended.stdout == "service,n\ncheckout,25\nsearch,25\n"
    assert "반반입니다.\\u001b[0m" in ended.stderr
    assert "checkout" in ask.model.requests[1].turns[0]
    assert "tokens)" in ended.stderr


def test_share_rows_alone_shares_none(ask: Ask) -> None:
    ask.model.will(sql("SELECT message FROM logs WHERE id < 9"))
    ended = ask("--share-rows", "--yes", "q")
    assert SECRET in ended.stdout
    assert SECRET not in str([request.body for request in ask.model.requests])


def test_saved_it_is_an_example_of_the_next_question(ask: Ask) -> None:
    ask.model.will(sql(COUNT), sql(COUNT))
    assert ask("--save", "--yes", "our favourite").returncode == 0
    assert ask("--dry-run", "q").returncode == 0
    assert "our favourite" in ask.model.requests[1].turns[0]


@pytest.mark.parametrize(
    ("environment", "exit_code", "words"),
    [
        ({"ANTHROPIC_API_KEY": ""}, 2, "set ANTHROPIC_API_KEY, or ask_api_key_file"),
        ({"ANTHROPIC_API_KEY": "sk\u00e9"}, 2, "the key"),
        ({"ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}, 3, "cannot reach the model"),
        ({"ANTHROPIC_BASE_URL": "ftp://x"}, 2, "http"),
        ({"PENSTOCK_ASK_PRICES": "claude-haiku-5-5"}, 2, "ask_prices"),
        ({"PENSTOCK_ASK_MODEL": "other"}, 2, "no price for other"),
        ({"PENSTOCK_ASK_SPEND_PER_DAY": "-1"}, 2, "PENSTOCK_ASK_SPEND_PER_DAY"),
        ({"PENSTOCK_ASK_API_KEY_FILE": "/nowhere/key"}, 2, "/nowhere/key"),
        ({"PENSTOCK_DATABASE_URL": "postgresql://127.0.0.1:1/x"}, 3, "database"),
    ],
)
def test_what_is_missing_is_one_line(
    ask: Ask, environment: dict[str, str], exit_code: int, words: str
) -> None:
    line = the_line(ask("--yes", "q", **environment), exit_code)
    assert words in line
    assert KEY not in line


def test_without_the_sdk_it_says_what_to_install(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "penstock.ask.model", raising=False)
    monkeypatch.setitem(sys.modules, "anthropic", None)
    assert "pip install 'penstock[ask]'" in the_line(ask("--yes", "q"), 1)


def test_a_key_of_a_file_is_used_and_shown_nowhere(ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-from-a-file\n")
    ask.model.will(sql(COUNT))
    ended = ask("--yes", "q", PENSTOCK_ASK_API_KEY_FILE=str(file))
    assert ended.returncode == 0
    assert "sk-from-a-file" in str(ask.model.requests[0].headers)
    assert "sk-from-a-file" not in ended.stdout + ended.stderr


def test_a_database_without_the_tables_is_one_line(
    ask: Ask, empty_database: Database
) -> None:
    ended = ask("--yes", "q", PENSTOCK_DATABASE_URL=empty_database.url)
    assert "penstock db migrate" in the_line(ended, 3)


def test_who_may_only_read_may_not_ask_and_an_asker_may(
    ask: Ask, here: Here, logs: Database
) -> None:
    url = url_as(logs.url, "some_asker")
    logs.administer("CREATE ROLE some_asker LOGIN")
    try:
        at = ("--database-url", logs.url)
        assert here("db", "roles", "--reader", "some_asker", *at).returncode == 0
        line = the_line(ask("--yes", "q", PENSTOCK_DATABASE_URL=url), 1)
        assert "penstock db roles --asker some_asker" in line
        assert here("db", "roles", "--asker", "some_asker", *at).returncode == 0
        ask.model.will(sql(COUNT))
        ended = ask("--yes", "q", PENSTOCK_DATABASE_URL=url)
        assert ended.returncode == 0, ended.stderr
        assert logs.value(
            "SELECT login FROM penstock_question ORDER BY id DESC LIMIT 1"
        ) == ("some_asker")
    finally:
        logs.fetch("DROP OWNED BY some_asker")
        logs.administer("DROP ROLE some_asker")


FORGED = (
    "UPDATE penstock_question SET question = 'x'",
    "UPDATE penstock_question SET login = 'x'",
    "UPDATE penstock_model_call SET cost_usd = 0",
    "DELETE FROM penstock_model_call",
    "DELETE FROM penstock_question",
    "INSERT INTO penstock_question (asked_by, question, login) VALUES ('', '', '')",
    "SELECT * FROM logs",
    "SELECT * FROM penstock_read.logs",
)


def test_an_asker_can_neither_forge_the_record_nor_undo_what_was_spent(
    logs: Database,
) -> None:
    logs.administer("CREATE ROLE only_asker LOGIN")
    run_async(make_roles(logs.url, askers=["only_asker"]))
    logs.administer("REVOKE penstock_reader FROM only_asker")
    try:
        as_asker = logs._replace(url=url_as(logs.url, "only_asker"))
        for statement in FORGED:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                as_asker.fetch(statement)
    finally:
        logs.fetch("DROP OWNED BY only_asker")
        logs.administer("DROP ROLE only_asker")


# --- at a terminal


class Terminal:
    """`penstock ask` on a terminal of so many columns, and somebody before it."""

    def __init__(self, ask: Ask, *arguments: str, columns: int = 80) -> None:
        self._mine, its = pty.openpty()
        self.shown = ""
        environment = ask.environment | {"TERM": "xterm", "COLUMNS": str(columns)}
        self.process = subprocess.Popen(
            penstock("ask", *arguments),
            stdin=its,
            stdout=its,
            stderr=its,
            env=clean_environment(**environment),
            start_new_session=True,
        )
        os.close(its)
        os.set_blocking(self._mine, False)

    def _read(self) -> bool:
        try:
            self.shown += os.read(self._mine, 65536).decode()
        except BlockingIOError:
            return False
        except OSError:  # it has ended
            return True
        return False

    def until(self, words: str) -> None:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while words not in self.shown:
            assert not self._read() or words in self.shown, self.shown
            assert time.monotonic() < give_up, self.shown
            time.sleep(0.01)

    def type(self, text: str) -> None:
        self.shown = ""
        os.write(self._mine, text.encode())

    def end(self) -> int:
        wait_until(self._read, "the end")
        os.close(self._mine)
        return self.process.wait(PATIENCE_SECONDS)


def test_at_a_terminal_it_asks_runs_draws_and_goes_on(ask: Ask) -> None:
    ask.model.will(sql(SERIES, "시간별 이벤트"), sql(COUNT), sql(COUNT))
    at = Terminal(ask, columns=60)
    at.until("Question: ")
    at.type("시간별로 몇 개?\n")
    at.until("Run it? [y/N]: ")
    assert "시간별 이벤트" in at.shown
    assert "FROM logs" in at.shown
    at.type("y\n")
    at.until("Enter ends): ")
    assert "█" in at.shown
    assert "events by at" in at.shown
    at.type("그리고 서비스별로?\n")
    at.until("Run it? [y/N]: ")
    at.type("\n")  # a yes has to be said
    at.until("Enter ends): ")
    assert "checkout" not in at.shown
    assert ask.outcome() == "declined"
    at.type("/save\n")
    at.until("kept as an example")
    at.until("Enter ends): ")
    at.type("\n")
    assert at.end() == 0
    assert "그리고 서비스별로?" in ask.model.requests[1].turns[2]


def test_ctrl_c_while_it_runs_ends_it_on_the_server_too(ask: Ask) -> None:
    heavy = (
        "SELECT count(*) FROM logs a, logs b, logs c, logs d, logs e"
        " WHERE a.message || b.message || c.message || d.message || e.message LIKE 'x'"
    )
    ask.model.will(sql(heavy))
    at = Terminal(ask, "q")
    at.until("Run it? [y/N]: ")
    at.type("y\n")
    active = (
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"
        " AND query LIKE '%logs e%' AND pid <> pg_backend_pid()"
    )
    wait_until(lambda: ask.logs.value(active), "the query runs")
    os.killpg(at.process.pid, signal.SIGINT)
    assert at.end() == 130
    wait_until(lambda: not ask.logs.value(active), "the query has ended")
    assert "Traceback" not in at.shown
