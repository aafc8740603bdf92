"""What compose.yaml runs, run: roles and tables, TLS before the API, one event through.

As processes with the environments and command lines of the file (running.py).
"""

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.deploy import running, tools
from tests.deploy.running import Stack, arguments_of_all, wait_until

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A PostgreSQL with our file, set up and migrated as compose does it."""
    with running.new_home() as home:
        made = Stack(home)
        with running.postgres(made) as log:
            made.log = log
            ended = made.one_shot("setup")
            assert ended.returncode == 0, ended.stderr
            made.migrate()
            yield made


@pytest.fixture(scope="module")
def served(stack: Stack) -> Iterator[Stack]:
    """Penstock on it, and nginx before that."""
    with running.penstock(stack), running.nginx(stack):
        yield stack


# --- PostgreSQL


def test_postgresql_18_takes_each_line_of_the_file(stack: Stack) -> None:
    errors = "SELECT name, error FROM pg_file_settings WHERE error IS NOT NULL"
    # But for what this test says itself, to stay on loopback.
    said = {"listen_addresses", "port", "unix_socket_directories"}
    assert [each for each in stack.fetch(errors) if each[0] not in said] == []
    (version,) = stack.fetch("SHOW server_version_num")[0]
    assert version.startswith("18")
    written = stack.fetch(
        "SELECT name, setting FROM pg_file_settings WHERE name = 'listen_addresses'"
    )
    assert written == [("listen_addresses", "*")], "others can connect in its container"


def test_a_restore_to_any_moment_can_be_switched_on_without_a_restart(
    stack: Stack,
) -> None:
    """ALTER SYSTEM counts, though the file is not PGDATA's own."""
    assert stack.fetch("SHOW archive_mode") == [("on",)]
    assert stack.fetch("SHOW wal_level") == [("replica",)]
    try:
        stack.fetch("ALTER SYSTEM SET archive_command = 'false %p'")
        stack.fetch("SELECT pg_reload_conf()")
        now = "SELECT setting FROM pg_settings WHERE name = 'archive_command'"
        wait_until(lambda: stack.fetch(now) == [("false %p",)], "it is in force")
    finally:
        stack.fetch("ALTER SYSTEM RESET archive_command")
        stack.fetch("SELECT pg_reload_conf()")


# --- setup and migrate


def test_setup_and_migrate_can_be_run_again(stack: Stack) -> None:
    ended = stack.one_shot("setup")
    assert ended.returncode == 0, ended.stderr
    made = [line for line in ended.stdout.splitlines() if not line.startswith("set ")]
    assert made == []
    stack.migrate()


def test_each_login_has_its_own_password_and_its_rights(stack: Stack) -> None:
    for login in ("penstock_owner", "penstock", "log_reader"):
        assert stack.fetch("SELECT current_user", login) == [(login,)]
        swapped = Stack.__new__(Stack)
        swapped.ports = stack.ports
        swapped.secrets = dict.fromkeys(stack.secrets, "somebody's")
        with pytest.raises(asyncpg.InvalidPasswordError):
            swapped.fetch("SELECT 1", login)
    for statement in ("SELECT FROM logs", "DELETE FROM logs"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            stack.fetch(statement, "penstock")
    stack.fetch("SELECT FROM logs", "log_reader")
    # As postgres-exporter, that asks for sizes and for what runs.
    stack.fetch("SELECT count(*) FROM pg_ls_waldir()", "log_reader")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        stack.fetch("INSERT INTO logs (message) VALUES ('x')", "log_reader")


def test_a_changed_secret_is_the_new_password(stack: Stack) -> None:
    file = stack.home / "secrets/reader_password"
    before = file.read_text()
    try:
        file.write_text("another1\n")
        assert stack.one_shot("setup").returncode == 0
        with pytest.raises(asyncpg.InvalidPasswordError):
            stack.fetch("SELECT 1", "log_reader")
    finally:
        file.write_text(before)
        assert stack.one_shot("setup").returncode == 0
    assert stack.fetch("SELECT 1", "log_reader") == [(1,)]


def test_a_managed_postgresqls_master_can_set_up(stack: Stack) -> None:
    """Who has CREATEROLE and CREATEDB, and is no superuser, as on RDS."""
    stack.fetch("CREATE ROLE master LOGIN CREATEROLE CREATEDB PASSWORD 'm'")
    # On RDS all of these are the master's own.
    for role in ("writer", "reader", "asker", "query"):
        stack.fetch(f"GRANT penstock_{role} TO master WITH ADMIN OPTION")
    for login in ("penstock_owner", "penstock", "log_reader"):
        stack.fetch(f"GRANT {login} TO master WITH ADMIN OPTION, SET FALSE")
    words = [*stack.commands("setup"), "--database=others"]
    url = f"postgresql://master:m@127.0.0.1:{stack.ports['postgres']}/postgres"
    ended = stack.one_shot("setup", *words, f"--database-url={url}")
    assert ended.returncode == 0, ended.stderr
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'others'"
    assert stack.fetch(owner) == [("penstock_owner",)]


def test_setup_by_somebody_who_may_not_ends_with_one_line(stack: Stack) -> None:
    url = stack.environment("migrate")["PENSTOCK_DATABASE_URL"]
    words = [*stack.commands("setup"), f"--database-url={url}"]
    ended = stack.one_shot("setup", *words)
    assert ended.returncode == 3
    (line,) = ended.stderr.splitlines()
    assert "may not set up" in line and "superuser" in line


def test_no_password_is_in_the_servers_log_or_a_command_line(served: Stack) -> None:
    log = served.log.read_text()
    lines = b"\n".join(arguments_of_all().values())
    for name, secret in served.secrets.items():
        assert secret not in log, name
        assert secret.encode() not in lines, name
    # Nor what a verifier could be guessed from.
    assert "SCRAM-SHA-256$" not in log


# --- Penstock and nginx


def test_an_event_goes_in_by_tls_and_is_found_over_https(served: Stack) -> None:
    served.send(json.dumps({"message": "order 17 paid", "service": "shop"}))
    answer = served.ask("/api/search?q=service:shop")
    assert answer.status == 200
    assert b"order 17 paid" in answer.body
    assert answer.headers["Strict-Transport-Security"]
    assert answer.headers["Server"] == "nginx"


def test_the_token_is_asked_for_behind_nginx_too(served: Stack) -> None:
    assert served.ask("/api/search?q=x", Authorization="Bearer no").status == 401
    assert served.ask("/ready", Authorization="").status == 401
    assert served.ask("/health", Authorization="").status == 200
    # Prometheus asks inside; nobody from outside does.
    assert served.ask("/metrics").status == 404


def test_a_tail_over_https_comes_at_once(served: Stack) -> None:
    came: list[float] = []
    follows = threading.Event()

    def read() -> None:
        with served.asking("/api/tail?rows=0&q=tag:shop") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            while line := answer.readline():
                if line.startswith(b"event: live"):
                    follows.set()
                if b"follow me" in line:
                    came.append(time.monotonic())
                    return

    reader = threading.Thread(target=read)
    reader.start()
    assert follows.wait(30)
    served.send(json.dumps({"message": "follow me"}))
    acked = time.monotonic()
    reader.join(timeout=30)
    assert came, "the event has not come"
    assert came[0] - acked < 10, "it was kept in a buffer"


def test_a_body_that_is_too_large_is_refused_by_nginx(served: Stack) -> None:
    line = b'{"message": "' + b"x" * 1000 + b'"}\n'
    largest = line * (8 * MIB // len(line))
    kind = {"Content_Type": "application/x-ndjson"}
    answer = served.ask("/api/ingest?tag=big", body=largest, **kind)
    assert answer.status == 200, answer.body
    larger = largest + line * 20
    answer = served.ask("/api/ingest?tag=big", body=larger, **kind)
    assert answer.status == 413
    answer = served.ask("/api/ask", body=b"x" * (2 * MIB))
    assert answer.status == 413


def test_who_asks_too_often_is_told_to_come_later(served: Stack) -> None:
    assert served.statuses_at_once("/health") == {"200", "429"}
    time.sleep(2.5)  # the others have their turn again


def test_what_is_searched_for_is_in_no_log(served: Stack) -> None:
    served.ask("/api/search?q=card:4711-secret")
    access = served.home / "access.log"
    wait_until(lambda: "/api/search" in access.read_text(), "a line of it")
    assert "4711" not in access.read_text()
    assert "Bearer" not in access.read_text()
    # Nor where it is refused: nginx's own words of an error have the whole request.
    assert "429" in served.statuses_at_once("/health?q=card:4711-secret")
    assert "4711" not in (served.home / "nginx.log").read_text()
    time.sleep(2.5)


def test_tls_older_than_1_2_is_refused(served: Stack) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    place = ("127.0.0.1", served.ports["https"])
    with socket.create_connection(place) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain)


def test_the_health_check_of_the_container_says_what_ready_says(served: Stack) -> None:
    ended = served.one_shot("penstock", "health")
    assert (ended.returncode, ended.stdout) == (0, "ready\n")
    ended = served.one_shot("penstock", "health", "--live")
    assert ended.returncode == 0
    other = served.environment("penstock") | {"PENSTOCK_HTTP_PORT": "1"}
    assert other  # a port that nobody listens on
    served.ports["http"], kept = 1, served.ports["http"]
    try:
        ended = served.one_shot("penstock", "health")
    finally:
        served.ports["http"] = kept
    assert ended.returncode == 3
    assert ended.stderr.startswith("penstock: nobody answers at http://127.0.0.1:1/")


def test_nginx_accepts_the_file(stack: Stack, tmp_path: Path) -> None:
    conf = tmp_path / "nginx.conf"
    conf.write_text(running.nginx_conf(stack))
    (stack.home / "tmp/resolver.conf").write_text("resolver 127.0.0.1;\n")
    assert "test is successful" in tools.passes("nginx", "-t", "-c", conf)
