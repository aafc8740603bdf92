"""`penstock send` to a real listener that asks for TLS, certificates, keys, users.

The listener, its doorways and its sessions are the real ones, in a thread of their own;
a writer's steps are by hand. The exit code, the lines on stderr and the rows are looked
at.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.cli.main import main
from penstock.net.certificates import TlsServer, load_terms
from penstock.settings import SecuritySettings, TlsSettings, User
from tests.authority import Authority
from tests.integration.conftest import PATIENCE_SECONDS
from tests.integration.net.test_handshake import Server, serving

Send = Callable[..., tuple[int, str]]
KEY = SecuritySettings(shared_key="secret", self_hostname="server")
OPEN = SecuritySettings()
# Reaching 127.0.0.1 by the name that the certificate has.
HOST = ("--host", "localhost")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def tls(authority: Authority, tmp_path: Path) -> TlsSettings:
    certificate, key = authority.issue("server", dns=["localhost"]).write(
        tmp_path, "server"
    )
    return TlsSettings(tls_certificate_file=str(certificate), tls_key_file=str(key))


@pytest.fixture
def ca(authority: Authority, tmp_path: Path) -> str:
    return str(authority.write(tmp_path))


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str, str], str]:
    """Write a file, and return its name."""

    def write(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


@pytest.fixture
def lines(file: Callable[[str, str], str]) -> str:
    return file("lines", "".join(f'{{"n": {n}}}\n' for n in range(2_500)))


@contextmanager
def listening(
    security: SecuritySettings, tls: TlsSettings | None = None
) -> Iterator[Server]:
    """Serve, and commit what comes, in a thread."""
    started, ended = threading.Event(), asyncio.Event()
    found: list[tuple[asyncio.AbstractEventLoop, Server]] = []

    async def serve() -> None:
        terms = None if tls is None else TlsServer(load_terms(tls))
        async with serving(security, terms) as server:
            found.append((asyncio.get_running_loop(), server))
            started.set()
            while not ended.is_set():
                server.behind.commit_all()
                await asyncio.sleep(0.002)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert started.wait(PATIENCE_SECONDS)
        yield found[0][1]
    finally:
        if found:
            found[0][0].call_soon_threadsafe(ended.set)
        thread.join(PATIENCE_SECONDS)


@pytest.fixture
def send(capsys: pytest.CaptureFixture[str]) -> Send:
    """Run the command in this process; return its exit code and stderr."""

    def run(server: Server, *args: Any) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["send", "--port", str(server.listener.port), *map(str, args)])
        return int(ended.value.code or 0), capsys.readouterr().err

    return run


@pytest.mark.parametrize("ack", [(), ("--no-ack",)])
def test_within_tls_all_arrives(
    send: Send, tls: TlsSettings, ca: str, lines: str, ack: tuple[str, ...]
) -> None:
    with listening(OPEN, tls) as server:
        code, err = send(server, *HOST, "--tls", "--tls-ca-file", ca, *ack, lines)
        assert (code, err.split(",")[0]) == (0, "sent 2")
    assert server.behind.numbers() == list(range(2_500))
    assert server.behind.metric("penstock_tls_failures_total", reason="broken") == 0


def test_a_long_line_passes_tls(
    send: Send, tls: TlsSettings, ca: str, file: Callable[[str, str], str]
) -> None:
    with listening(OPEN, tls) as server:
        long = file("long", '{"n": 1, "x": "' + "y" * 500_000 + '"}')
        code, _ = send(server, *HOST, "--tls", "--tls-ca-file", ca, long)
        assert code == 0
    [row] = server.behind.rows()
    assert row.attributes["x"] == "y" * 500_000


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--host", "127.0.0.1"), "IP address mismatch"),
        (("--host", "localhost", "no ca"), "unable to get local issuer certificate"),
    ],
)
def test_a_server_that_is_not_the_one_meant_gets_nothing(
    send: Send,
    tls: TlsSettings,
    ca: str,
    lines: str,
    options: tuple[str, ...],
    why: str,
) -> None:
    trusted = () if "no ca" in options else ("--tls-ca-file", ca)
    with listening(OPEN, tls) as server:
        code, err = send(server, *options[:2], "--tls", *trusted, lines)
    assert code == 3
    assert "cannot reach" in err and "TLS failed: the peer's certificate: " in err
    assert why in err
    assert server.behind.numbers() == []


def test_a_server_without_tls_is_named_as_such(send: Send, ca: str, lines: str) -> None:
    with listening(KEY) as server:  # it speaks first: HELO
        code, err = send(server, *HOST, "--tls", "--tls-ca-file", ca, lines)
    assert code == 3
    assert err.endswith(": it does not speak TLS\n")


def test_a_server_that_asks_for_a_certificate_is_shown_ours(
    send: Send,
    authority: Authority,
    tls: TlsSettings,
    ca: str,
    lines: str,
    tmp_path: Path,
) -> None:
    mutual = TlsSettings(
        tls_certificate_file=tls.tls_certificate_file,
        tls_key_file=tls.tls_key_file,
        tls_client_ca_file=ca,
        tls_client_names=("sender",),
    )
    issued = authority.issue("sender", for_clients=True)
    certificate, key = issued.write(tmp_path, "sender")
    trust = (*HOST, "--tls", "--tls-ca-file", ca)
    own = ("--tls-certificate-file", certificate, "--tls-key-file", key)
    with listening(OPEN, mutual) as server:
        code, err = send(server, *trust, "--timeout", "3", lines)
        assert code in (1, 3)
        assert "certificate required" in err or "closed by the server" in err
        assert send(server, *trust, *own, lines)[0] == 0
        assert {peer.certificate_name for peer in server.peers} == {"sender"}
    assert server.behind.numbers() == list(range(2_500))


@pytest.mark.parametrize("within_tls", [False, True])
def test_the_shared_key_lets_us_in(
    send: Send,
    tls: TlsSettings,
    ca: str,
    lines: str,
    file: Callable[[str, str], str],
    within_tls: bool,
) -> None:
    options = ("--tls", "--tls-ca-file", ca) if within_tls else ()
    with listening(KEY, tls if within_tls else None) as server:
        key = file("key", "secret\n")
        code, _ = send(server, *HOST, *options, "--shared-key-file", key, lines)
        assert code == 0
    assert server.behind.numbers() == list(range(2_500))


def test_the_key_is_taken_from_the_environment_too(
    send: Send, lines: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with listening(KEY) as server:
        monkeypatch.setenv("PENSTOCK_SHARED_KEY", "secret")
        assert send(server, lines)[0] == 0
        monkeypatch.delenv("PENSTOCK_SHARED_KEY")
        (tmp_path / "key").write_text("secret")
        monkeypatch.setenv("PENSTOCK_SHARED_KEY_FILE", str(tmp_path / "key"))
        assert send(server, lines)[0] == 0
    assert len(server.behind.numbers()) == 5_000


def test_a_wrong_key_is_refused_in_the_servers_words(
    send: Send, lines: str, file: Callable[[str, str], str]
) -> None:
    with listening(KEY) as server:
        code, err = send(server, "--shared-key-file", file("key", "guess"), lines)
        port = server.listener.port
    assert code == 3
    assert err == (
        f"penstock: 127.0.0.1:{port} refuses the login: shared_key mismatch\n"
    )


def test_a_server_that_asks_for_a_key_is_named_with_the_option(
    send: Send, lines: str
) -> None:
    with listening(KEY) as server:
        code, err = send(server, lines)
    assert code == 3
    assert "asks for a shared key (HELO); give it with --shared-key-file" in err


def test_a_server_that_asks_for_no_key_is_not_waited_for_long(
    send: Send, lines: str, file: Callable[[str, str], str]
) -> None:
    with listening(OPEN) as server:
        key = file("key", "secret")
        code, err = send(server, "--shared-key-file", key, "--timeout", "0.3", lines)
    assert code == 3
    assert err.endswith(": it asks for no key within 0.3 s\n")


@pytest.mark.parametrize(
    ("password", "code"), [("open sesame", 0), ("open, please", 3)]
)
def test_a_user_logs_in_with_a_password(
    send: Send,
    lines: str,
    file: Callable[[str, str], str],
    password: str,
    code: int,
) -> None:
    users = SecuritySettings(
        shared_key="secret",
        self_hostname="server",
        users=(User(name="alice", password="open sesame"),),
    )
    key, secret = file("key", "secret"), file("password", password)
    login = ("--shared-key-file", key, "--user", "alice", "--password-file", secret)
    with listening(users) as server:
        ended, err = send(server, *login, lines)
        assert ended == code
        assert [peer.user for peer in server.peers] == ["alice"] * (code == 0)
    assert ("username/password mismatch" in err) == (code != 0)
    assert password not in err


def test_a_login_is_made_again_after_a_lost_connection(
    send: Send,
    tls: TlsSettings,
    ca: str,
    file: Callable[[str, str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, data = file("key", "secret"), file("data", '{"n": 1}\n{"n": 2}\n')
    with listening(KEY, tls) as server:
        trust = (*HOST, "--tls", "--tls-ca-file", ca, "--shared-key-file", key)
        commit_all = server.behind.commit_all
        lost: list[bool] = []

        def lose_the_first() -> None:
            if server.events and not lost:
                lost.append(True)
                for each in server.entrants:
                    if each.session is not None:
                        each.session.abort()
            elif lost:
                commit_all()

        monkeypatch.setattr(server.behind, "commit_all", lose_the_first)
        code, err = send(server, *trust, data)
        assert code == 0
        assert ", 1 reconnect, " in err
    assert set(server.behind.numbers()) == {1, 2}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--tls-ca-file", "ca"), "--tls-ca-file needs --tls"),
        (("--user", "alice"), "--user and --password-file need each other"),
        (("--tls", "--tls-key-file", "ca"), "--tls-key-file needs --tls-certif"),
        (
            ("--tls", "--tls-ca-file", "missing"),
            "--tls-ca-file: missing cannot be read",
        ),
        (("--shared-key-file", "missing"), "--shared-key-file: missing cannot be read"),
    ],
)
def test_options_that_do_not_fit_are_usage(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca").write_text("")
    with pytest.raises(SystemExit) as ended:
        main(["send", *options, "/dev/null"])
    assert ended.value.code == 2
    assert why in capsys.readouterr().err
