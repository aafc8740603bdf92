"""`penstock doctor`: each finding is what `up` would meet, with its mend."""

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.integration.conftest import (
    Database,
    Here,
    as_another_user,
    clean_environment,
    penstock,
)


def failures(stdout: str) -> list[str]:
    """Return what is to be mended: each finding with the line that says how."""
    lines = stdout.splitlines()
    return [
        f"{line} {following.strip()}"
        for line, following in pairwise(lines)
        if line.startswith("fail")
    ]


@pytest.mark.parametrize("below", ["closed/data", "closed/far/below"])
def test_a_parent_directory_that_is_closed_to_us_is_a_finding(
    here: Here, home: Path, below: str
) -> None:
    home.chmod(0o755)
    (home / "closed" / "data").mkdir(parents=True)
    question = ("doctor", "--data-dir", str(home / below))
    here(*question)  # what it imports may be closed to the other user
    with as_another_user(home / "closed"):
        ended = here(*question)
    assert ended.returncode == 1
    (finding,) = failures(ended.stdout)
    assert str(home / "closed") in finding
    assert "Permission denied" in finding
    assert "--data-dir" in finding


def test_a_place_where_up_can_make_no_files_is_a_finding(here: Here) -> None:
    ended = here("doctor", "--data-dir", "/proc/penstock")
    assert ended.returncode == 1
    (finding,) = failures(ended.stdout)
    assert "/proc cannot be written" in finding


@pytest.mark.parametrize(
    ("url", "mend"),
    [
        ("postgresql://127.0.0.1:1/logs", "-> start it, or correct --database-url"),
        ("foo://x", "-> correct --database-url"),
        ("postgresql://h:port/x", "-> correct --database-url"),
    ],
)
def test_the_mend_fits_what_is_wrong_with_the_database(
    here: Here, url: str, mend: str
) -> None:
    ended = here("doctor", "--database-url", url)
    assert ended.returncode == 1
    (finding,) = failures(ended.stdout)
    assert mend in finding
    assert "Errno" not in finding


def warnings(stdout: str) -> list[str]:
    """Return what is doubtful, each with the line that says how to mend it."""
    lines = stdout.splitlines()
    return [
        f"{line} {following.strip()}"
        for line, following in pairwise(lines)
        if line.startswith("warn")
    ]


@pytest.mark.parametrize("by_flag", [True, False])
def test_it_looks_at_the_settings_that_the_server_would_have(
    here: Here, home: Path, by_flag: bool
) -> None:
    question = ("doctor", "--data-dir", str(home / "data"))
    closed = here(*question)
    assert not [each for each in warnings(closed.stdout) if "open:" in each]
    if by_flag:
        ended = here(*question, "--host", "0.0.0.0", "--port", "24229")
    else:
        ended = here(*question, PENSTOCK_HOST="0.0.0.0", PENSTOCK_PORT="24229")
    assert ended.returncode == 0
    (finding,) = (each for each in warnings(ended.stdout) if "open:" in each)
    assert "0.0.0.0:24229 is open: anybody who can reach it can write" in finding
    assert "-> set shared_key_file" in finding


def test_it_shows_no_secret(here: Here, home: Path) -> None:
    ended = here(
        *("doctor", "--data-dir", str(home / "data"), "--host", "0.0.0.0"),
        PENSTOCK_SHARED_KEY="Xk9-secret",
        PENSTOCK_HTTP_TOKEN="Xt7-secret",
        PENSTOCK_HTTP_HOST="0.0.0.0",
    )
    assert ended.returncode == 0
    found = warnings(ended.stdout)
    for words in ("shared key, without TLS", "a token, without TLS", "key is short"):
        assert [each for each in found if words in each], words
    assert "secret" not in ended.stdout.replace("docs/security", "") + ended.stderr


def test_a_file_that_all_may_read_is_told_with_its_mend(here: Here, home: Path) -> None:
    file = home / "penstock.toml"
    file.write_text('[security]\nshared_key = "a-key-that-is-long-enough"\n')
    file.chmod(0o644)
    question = ("doctor", "--data-dir", str(home / "data"))
    ended = here(*question, "--config", str(file))
    (finding,) = (each for each in warnings(ended.stdout) if str(file) in each)
    assert finding.endswith(f"-> chmod o-r {file}")


def test_a_setting_that_is_wrong_is_a_finding(here: Here, home: Path) -> None:
    question = ("doctor", "--data-dir", str(home / "data"))
    ended = here(*question, PENSTOCK_PORT="99999")
    assert ended.returncode == 1
    (finding,) = failures(ended.stdout)
    assert "PENSTOCK_PORT" in finding


def test_a_metrics_page_for_all_without_a_token_is_a_failure(
    here: Here, home: Path
) -> None:
    question = ("doctor", "--data-dir", str(home / "data"))
    ended = here(*question, PENSTOCK_HTTP_HOST="0.0.0.0")
    assert ended.returncode == 1
    (finding,) = failures(ended.stdout)
    assert "PENSTOCK_HTTP_HOST" in finding
    assert "http_token_file" in finding


def test_fewer_open_files_than_connections_is_a_finding(home: Path) -> None:
    """In a process of its own: a hard limit is lowered for good."""
    limited = ("sh", "-c", 'ulimit -n 1024; exec "$@"', "sh")
    question = ("doctor", "--data-dir", str(home / "data"), "--max-connections")
    found = {}
    for most in ("500", "1000"):
        ended = subprocess.run(
            (*limited, *penstock(*question, most)),
            env=clean_environment(),
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stderr
        found[most] = [e for e in warnings(ended.stdout) if "open files" in e]
    assert found["500"] == []
    (finding,) = found["1000"]
    assert "1,024 open files allowed, fewer than max_connections (1,000)" in finding
    assert "LimitNOFILE" in finding


def rights_of(here: Here, url: str) -> list[str]:
    """Return what is said of the rights of the login in this URL."""
    ended = here("doctor", "--database-url", url)
    return [each for each in warnings(ended.stdout) if "the login" in each]


def test_a_login_with_rights_that_it_does_not_need_is_a_finding(
    here: Here, database: Database
) -> None:
    (finding,) = rights_of(here, database.url)
    assert "the login postgres is a superuser" in finding
    assert "-> let the server log in as a member of penstock_writer" in finding
    login = f"patient_{database.name}"
    database.administer(f"CREATE ROLE {login} LOGIN")
    database.fetch(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {login}")
    url = database.url.replace("postgres@", f"{login}@")
    assert rights_of(here, url) == []
    database.fetch(f"ALTER TABLE logs OWNER TO {login}")
    writer = "FROM pg_roles WHERE rolname = 'penstock_writer'"
    is_there = bool(database.administer(f"SELECT 1 {writer}"))
    if not is_there:
        assert rights_of(here, url) == [], "there is no other role to be"
        database.administer("CREATE ROLE penstock_writer")
    try:
        (finding,) = rights_of(here, url)
    finally:
        if not is_there:
            database.administer("DROP ROLE penstock_writer")
    assert f"the login {login} owns the tables" in finding


CONFIGURATION = """
[listen]
host = "127.0.0.1"
handshake = "off"

[[listeners]]
host = "0.0.0.0"
port = 24230

[[listeners]]
path = "/run/penstock/forward.sock"
mode = "0666"

[security]
shared_key_file = "{key}"
"""


def test_every_listener_of_the_file_is_looked_at(here: Here, home: Path) -> None:
    key, file = home / "key", home / "penstock.toml"
    key.write_text("a-key-that-is-long-enough\n")
    key.chmod(0o644)
    file.write_text(CONFIGURATION.format(key=key))
    ended = here("doctor", "--data-dir", str(home / "data"), "--config", str(file))
    assert ended.returncode == 0, ended.stdout
    found = "\n".join(warnings(ended.stdout))
    assert "0.0.0.0:24230 asks for a shared key, without TLS" in found
    assert "forward.sock is open: every user of this machine" in found
    assert f"shared_key: {key} has mode 0644" in found
    assert f"-> chmod o= {key}" in found
    assert "127.0.0.1:24224: from this machine only" in ended.stdout
    key.write_text("\n")
    ended = here("doctor", "--data-dir", str(home / "data"), "--config", str(file))
    assert ended.returncode == 1
    (finding,) = failures(ended.stdout)
    assert f"{key} is empty" in finding
    assert "from this machine only" not in ended.stdout, "nothing is called closed"


def test_a_certificate_that_has_expired_is_told_once(here: Here, home: Path) -> None:
    issued = Authority().issue("x.example", days=(-30, -1))
    certificate, key = issued.write(home, "server")
    key.chmod(0o600)
    file = home / "penstock.toml"
    tls = f"tls_certificate_file = '{certificate}'\ntls_key_file = '{key}'\n"
    question = ("doctor", "--data-dir", str(home / "data"), "--config", str(file))
    for spoken, exit_code in (("on", 1), ("off", 0)):
        file.write_text(f"[listen]\ntls = '{spoken}'\n[tls]\n{tls}")
        ended = here(*question)
        assert ended.returncode == exit_code
        assert ended.stdout.count("expired") == 1, ended.stdout
