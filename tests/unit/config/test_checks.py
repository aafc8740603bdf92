"""What cannot be set together is refused, with the place of what is wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from penstock import config
from tests.authority import Authority, key_pem
from tests.unit.config.conftest import Problems

Load = Callable[..., config.Configuration]
USER = "[[users]]\nname = 'a'\npassword = 'b'\n"

WRONG = {
    "[listen]\ntls = 'on'": ":2: tls is on, which needs tls_certificate_file",
    "[[listeners]]\nhost = '::1'\ntls = 'on'": ":3: listeners[0].tls is on, which",
    "[tls]\ntls_key_file = 'penstock.toml'": ":2: tls_key_file: tls_certificate_file",
    "[tls]\ntls_client_names = ['a']": ":2: tls_client_names is set without tls_",
    "[tls]\ntls_certificate_file = 'nowhere'": ":2: tls_certificate_file: nowhere cann",
    '[tls]\ntls_key_file = "a\\u0000"\ntls_certificate_file = "penstock.toml"': ":2: ",
    "[tls]\ntls_client_ca_file = 'penstock.toml'": "holds no certificate as PEM",
    "[tls]\ntls_certificate_file = 'penstock.toml'": "holds no certificate as PEM",
    "[listen]\nhandshake = 'on'": ":2: handshake is on, and there is no shared key",
    "[[listeners]]\nhost = '::1'\nhandshake = 'on'": ":3: listeners[0].handshake is on",
    "[[users]]\nname = 'a'\npassword = 'b'": ":1: users: users log in behind a shared",
    "[security]\nempty_shared_key = 'on'": ":2: empty_shared_key is on, and there are",
    "[security]\nempty_shared_key = 'on'\nshared_key = 'a'\n[[users]]\nname = 'a'\n"
    "password = 'b'": ":2: empty_shared_key is on, and there is a shared key",
    "[security]\nshared_key='a'\n[[users]]\npassword = 'b'": ":3: users[0]: a user has",
    "[security]\nshared_key='a'\n[[users]]\nname = 'b'": ":3: users[0]: b has neither",
    "[[networks]]\ncidr = '10.0.0.1/8'": ":2: networks[0].cidr: 10.0.0.1/8 has host bi",
    "[[networks]]\ncidr = '10.1.0.9/16'": "host bits set; is 10.1.0.0/16 meant?",
    f"[security]\nself_hostname = '{'x' * 256}'": ":2: self_hostname is longer than 25",
    "[[networks]]\ncidr = 'ten'": ":2: networks[0].cidr: 'ten' does not appear",
    "[[networks]]\ntags = ['a']": ":1: networks[0].cidr is missing",
    "[[networks]]\ncidr = '::1'\nusers = ['b']": ":3: networks[0].users: there is no u",
    "[[networks]]\ncidr = '::1'\n[[networks]]\ncidr = '::1/128'": ":4: networks[1].cid",
    "[security]\nother_networks = 'deny'": ":2: other_networks is deny, and there are",
    "[http]\nhttp_token = 'two words'": ":2: http_token has a character that no HTTP",
    "[http]\nread_token = 'two words'": ":2: read_token has a character that no HTTP",
    "[http]\nmetrics_token = 'a'\nread_token = 'a'": ":3: read_token and metrics_token",
    "[http]\ningest_token = 'a'\nhttp_token = 'a'": ":2: ingest_token and http_token",
    "[http]\nhttp_host = '0.0.0.0'": ":2: http_host is 0.0.0.0, which others can reach",
    "[http]\nhttp_host = 'example.org'": ":2: http_host is example.org, which others",
    "[limits]\nmax_connections = 10\nmax_connections_per_address = 11": ":3: max_conne",
    "[[listeners]]\nport = 1": ":1: listeners[0]: a listener has either a host or a pa",
    "[[listeners]]\nhost = '::1'\npath = '/x'": ":1: listeners[0]: a listener has eith",
    "[[listeners]]\nhost = '127.0.0.1'": "127.0.0.1:24224 is listened on twice",
    "[[listeners]]\nhost = '0.0.0.0'": ":1: listeners[0]: 0.0.0.0:24224 is listened on"
    " twice, with 127.0.0.1",
    "[[listeners]]\nhost = '::1'\n[[listeners]]\nhost = '::'": ":3: listeners[1]: :::",
    "[http]\nhttp_port = 24224": ":2: http_port: 127.0.0.1:24224 is listened on twice",
    "[[listeners]]\nhost = '::1'\nmode = '0600'": ":3: listeners[0].mode is for a Unix",
    "[[listeners]]\npath = '/x'\n[[listeners]]\npath = '/x'": ":3: listeners[1]: /x is",
    "[[listeners]]\npath = 'x'": ":2: listeners[0].path is 'x'; it begins with /",
    '[[listeners]]\npath = "/\\u0000"': ":2: listeners[0].path is '/\\x00'; it begins",
    f"[[listeners]]\npath = '/{'x' * 103}'": ":2: listeners[0].path is longer than 103",
    "[[listeners]]\npath = '/x'\ntls = true": ":3: listeners[0].tls: a Unix socket spe",
    "[[listeners]]\npath = '/x'\nmode = '0999'": ":3: listeners[0].mode is '0999'; acc",
    "[[listeners]]\npath = '/x'\nmode = '4777'": ":3: listeners[0].mode is '4777'; acc",
    "[[listeners]]\npath = '/x'\nmode = 'rw'": ":3: listeners[0].mode is 'rw'; accepte",
}


@pytest.mark.parametrize("text", WRONG, ids=[text.replace("\n", " ") for text in WRONG])
def test_what_does_not_go_together_is_refused(problems: Problems, text: str) -> None:
    assert any(WRONG[text] in each for each in problems(text)), problems(text)


@pytest.mark.parametrize(
    "text",
    [
        "[listen]\nhandshake = 'on'\n[security]\nshared_key = 'a'",
        "[listen]\nhandshake = 'on'\n[[networks]]\ncidr = '::1'\nshared_key = 'a'",
        f"[listen]\nhandshake = 'on'\n[security]\nempty_shared_key = 'on'\n{USER}",
        f"[security]\nshared_key = 'a'\n{USER}{USER}[[networks]]\ncidr='::1'",
        "[http]\nhttp_host = '0.0.0.0'\nhttp_token = 'a'",
        "[http]\nhttp_host = '0.0.0.0'\nmetrics_token = 'a'",
        "[http]\nhttp_token = 'a'\nread_token = 'b'\ningest_token = 'c'",
        "[http]\nhttp_host = '127.0.0.2'",
        "[http]\nhttp_host = '::1'",
        "[http]\nhttp_host = 'localhost'",
        "[http]\nhttp_host = '127.1'",  # a way to write 127.0.0.1
        "[limits]\nmax_connections = 10",
        "[listen]\nport = 0\n[[listeners]]\nhost = '127.0.0.1'\nport = 0",
        "[[listeners]]\npath = '/x'\nmode = '600'",
        "[[listeners]]\nhost = '::1'\n[[listeners]]\npath = '/x'",
        "[[listeners]]\nhost = '::'",  # which takes no IPv4
        "[[listeners]]\nhost = '127.0.0.2'",
        "[listen]\nport = 0\n[http]\nhttp_port = 0",
        "[http]\nhttp_host = '::1'\nhttp_port = 24224",
    ],
)
def test_what_goes_together_is_taken(load: Load, text: str) -> None:
    load(text)


@pytest.fixture
def tls(tmp_path: Path, load: Load) -> str:
    """A file's text with TLS on, whose files are good."""
    authority = Authority()
    authority.issue("server").write(tmp_path, "own")
    authority.issue("other").write(tmp_path, "other")
    authority.write(tmp_path)
    text = (
        "[listen]\ntls = 'on'\n[tls]\ntls_certificate_file = 'own.pem'\n"
        "tls_key_file = 'own.key'\ntls_client_ca_file = 'ca.pem'\n"
        "tls_client_names = ['web']\n"
    )
    load(text)
    return text


def test_a_key_is_that_of_the_certificate(problems: Problems, tls: str) -> None:
    (problem,) = problems(tls.replace("own.key", "other.key"))
    assert problem == (
        "penstock.toml:5: tls_key_file: the key in other.key is not that of own.pem"
    )


def test_a_key_is_one_that_can_be_read_without_a_password(
    problems: Problems, tls: str, tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "own.key").write_bytes(key_pem(key, b"hush"))
    (problem,) = problems(tls)
    assert "own.key is encrypted" in problem
    (tmp_path / "own.key").write_text("hush")
    (problem,) = problems(tls)
    assert "own.key holds no private key" in problem


def test_a_key_may_stand_in_the_certificates_file(
    problems: Problems, load: Load, tls: str, tmp_path: Path
) -> None:
    text = tls.replace("tls_key_file = 'own.key'\n", "")
    (problem,) = problems(text)
    assert "own.pem holds no private key as PEM" in problem
    with (tmp_path / "own.pem").open("ab") as file:
        file.write((tmp_path / "own.key").read_bytes())
    load(text)


def test_a_certificate_that_openssl_would_not_speak_with_is_refused(
    problems: Problems, tls: str, tmp_path: Path
) -> None:
    """The key fits and both are PEM; what is between it and its CA is damaged."""
    with (tmp_path / "own.pem").open("ab") as file:
        file.write(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (problem,) = problems(tls)
    assert problem.startswith("penstock.toml:4: tls_certificate_file: ")
    assert "damaged" in problem


def test_a_client_ca_that_nobody_would_be_asked_for_is_refused(
    problems: Problems, tls: str
) -> None:
    (problem,) = problems("[tls]\ntls_client_ca_file = 'ca.pem'")
    assert "tls_certificate_file is missing" in problem


def test_a_certificate_that_has_expired_is_a_warning_with_its_place(
    load: Load, tls: str, tmp_path: Path
) -> None:
    assert load(tls).warnings == ()
    Authority().issue("server", days=(-30, -1)).write(tmp_path, "own")
    (warning,) = load(tls).warnings
    assert warning == (
        "penstock.toml:4: tls_certificate_file: clients will not take own.pem:"
        " certificate has expired"
    )


def test_a_certificate_that_nobody_is_shown_is_a_warning(load: Load, tls: str) -> None:
    (warning,) = load(tls.replace("tls = 'on'", "tls = 'off'")).warnings
    assert warning.startswith("penstock.toml:4: tls_certificate_file is set, and no li")
    both = tls.replace("tls = 'on'", "tls = 'off'")
    assert load(both + "[[listeners]]\nhost = '::1'\ntls = 'on'\n").warnings == ()


def test_a_key_that_nobody_is_asked_for_is_a_warning(load: Load) -> None:
    text = "[listen]\nhandshake = 'off'\n[security]\nshared_key = 'a'\n"
    (warning,) = load(text).warnings
    assert warning.startswith("penstock.toml:4: shared_key is set, and handshake is o")
    assert load(text + "[[listeners]]\nhost = '::1'\n").warnings == ()


def test_a_secret_in_a_file_of_its_own_is_no_default(
    load: Load, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("a")
    origins = load("[security]\nshared_key_file = 'key'\n").origins
    assert origins["shared_key"] == "penstock.toml:2"
