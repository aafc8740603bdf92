"""What `penstock up` says to try works as it stands: it has what a place asks for."""

import shlex
from pathlib import Path

import pytest

from penstock import app, config
from penstock.cli.first_steps import print_ready
from penstock.cli.guards import open_places
from penstock.net.places import ListenedOn
from tests.authority import Authority

KEY = "a-key-that-is-long-enough"
HERE = app.Listening("127.0.0.1", 24224, "127.0.0.1", 8000)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["penstock"])
    for name in ("CONFIG", "SHARED_KEY", "SHARED_KEY_FILE"):
        monkeypatch.delenv(f"PENSTOCK_{name}", raising=False)
    Path("key").write_text(KEY)
    for name in ("key", "password"):
        Path(name).write_text(KEY)


def said(
    capsys: pytest.CaptureFixture[str],
    text: str = "",
    *others: ListenedOn,
    **flags: str,
) -> str:
    Path("p.toml").write_text(text)
    Path("p.toml").chmod(0o600)
    given = {"config": "p.toml"} | flags if text else flags
    print_ready(
        HERE._replace(others=others), config.load(given), "pg://x", Path("/tmp/x")
    )
    return capsys.readouterr().out


def sending(text: str) -> list[str]:
    """Return the words behind `penstock send`, of the line that sends."""
    (line,) = (each for each in text.splitlines() if "penstock send" in each)
    return shlex.split(line.partition(" send")[2])


def test_each_place_is_told_with_what_it_asks_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Authority().issue("x").write(Path(), "own")
    text = said(
        capsys,
        f"""\
[tls]
tls_certificate_file = "own.pem"
tls_key_file = "own.key"
[security]
shared_key = "{KEY}"
[[listeners]]
host = "::1"
port = 24225
tls = "on"
[[listeners]]
path = "/run/forward.sock"
""",
        ListenedOn("::1", 24225),
        ListenedOn("", 0, "/run/forward.sock"),
    )
    assert "forward protocol  127.0.0.1:24224     shared key\n" in text
    assert " [::1]:24225         TLS, shared key\n" in text
    assert " /run/forward.sock\n" in text


def test_a_key_in_the_file_is_taken_from_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = said(capsys, f'[security]\nshared_key = "{KEY}"\n')
    file = str(tmp_path / "p.toml")
    assert sending(text) == ["--port", "24224", "--config", file]
    assert KEY not in text
    assert "fluent-bit" not in text
    assert "docs/security.md" in text


def test_a_key_in_a_file_of_its_own_is_taken_from_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["--shared-key-file", str(tmp_path / "key")]
    assert sending(said(capsys, shared_key_file="key")) == words
    # A path in the configuration is meant from where the server was started.
    text = '[security]\nshared_key_file = "key"\n'
    assert sending(said(capsys, text)) == words


def test_a_user_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = said(
        capsys,
        f'[security]\nshared_key = "{KEY}"\n'
        '[[users]]\nname = "a b"\npassword_file = "password"\n',
    )
    password = str(tmp_path / "password")
    assert sending(text)[-4:] == ["--user", "a b", "--password-file", password]


@pytest.mark.parametrize(
    "text",
    [
        "[security]\nempty_shared_key='on'\n[[users]]\nname='a'\npassword='b'",
        f"[security]\nshared_key = '{KEY}'\n[[users]]\nname = 'a'\npassword = 'b'\n",
        f"[[networks]]\ncidr = '127.0.0.0/8'\nshared_key = '{KEY}'\n",
        "[security]\nother_networks = 'deny'\n[[networks]]\ncidr = '10.0.0.0/8'\n",
    ],
)
def test_a_line_that_would_not_work_is_left_out(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    told = said(capsys, text)
    assert "penstock send" not in told
    assert "fluent-bit" not in told
    assert "docs/security.md" in told


def test_a_key_of_the_environment_is_not_in_the_other_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_SHARED_KEY", KEY)
    told = said(capsys)
    assert "penstock send" not in told and KEY not in told


@pytest.mark.parametrize("days", [(-1, 90), (-30, -1)])
def test_tls_is_spoken_by_a_name_that_the_certificate_is_for(
    capsys: pytest.CaptureFixture[str], days: tuple[int, int]
) -> None:
    dns = ["*.example.org", "logs.example.org"]
    Authority().issue("x", dns=dns, days=days).write(Path(), "own")
    flags = {"tls_certificate_file": "own.pem", "tls_key_file": "own.key"}
    text = said(capsys, tls="on", **flags)
    assert sending(text) == ["--host", "logs.example.org", "--tls"]
    assert "fluent-bit" not in text


def test_a_place_is_open_where_others_reach_it_and_need_to_prove_nothing() -> None:
    outside = {"host": "0.0.0.0"}
    assert list(open_places(config.load(outside).settings)) == ["0.0.0.0:24224"]
    assert list(open_places(config.load({}).settings)) == []
    guarded = config.load(outside | {"shared_key_file": "key"}).settings
    assert list(open_places(guarded)) == []
