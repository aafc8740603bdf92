"""`penstock doctor` on the places to listen: what is open is never called closed."""

import pytest

from penstock.cli import doctor_network
from penstock.cli.findings import Finding
from penstock.settings import (
    HttpSettings,
    Listener,
    ListenSettings,
    NetworkRule,
    SecuritySettings,
    Settings,
    TlsSettings,
    User,
)

KEY = SecuritySettings(shared_key="a-key-that-is-long-enough")
NO_KEY = SecuritySettings()
CLIENT_CA = TlsSettings(tls_client_ca_file="ca.pem")


def look(
    *listeners: Listener,
    security: SecuritySettings = NO_KEY,
    tls: TlsSettings | None = None,
    listen: ListenSettings | None = None,
    http: HttpSettings | None = None,
) -> list[Finding]:
    listen = listen or ListenSettings(listeners=listeners)
    settings = Settings(
        database_url="",
        listen=listen,
        security=security,
        tls=tls or TlsSettings(),
        http=http or HttpSettings(),
    )
    return list(doctor_network.listening(settings))


def of(findings: list[Finding], where: str) -> Finding:
    (found,) = (each for each in findings if where in each.what)
    return found


def outside(**more: str) -> Listener:
    return Listener(host="0.0.0.0", port=24225, **more)


def test_loopback_needs_nothing() -> None:
    findings = look(Listener(host="::1", port=24226), Listener(host="localhost"))
    assert {each.mark for each in findings} == {"ok"}
    assert "from this machine only" in of(findings, "127.0.0.1:24224").what
    assert "from this machine only" in of(findings, "[::1]:24226").what


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "10.0.0.1", "fd00::1"])
def test_any_other_address_is_open_without_key_and_tls(host: str) -> None:
    for listen in (
        ListenSettings(host=host),
        ListenSettings(listeners=(Listener(host=host),)),
    ):
        found = of(look(listen=listen), f"[{host}]:" if ":" in host else f"{host}:")
        assert found.mark == "warn"
        assert "is open: anybody who can reach it can write logs" in found.what
        assert "shared_key_file" in found.mend


@pytest.mark.parametrize(
    ("listener", "security", "tls", "mark", "words"),
    [
        (outside(), KEY, None, "warn", "asks for a shared key, without TLS"),
        (outside(tls="on"), NO_KEY, None, "warn", "is open: anybody who can reach it"),
        (outside(tls="on"), KEY, None, "ok", "TLS and a shared key"),
        (outside(tls="on"), NO_KEY, CLIENT_CA, "ok", "TLS and a client certificate"),
        (
            outside(tls="on"),
            KEY,
            CLIENT_CA,
            "ok",
            "TLS and a client certificate and a shared key",
        ),
        # The CA is asked for with TLS alone, the key not where it is turned off.
        (outside(), NO_KEY, CLIENT_CA, "warn", "is open"),
        (outside(handshake="off"), KEY, None, "warn", "is open"),
        (outside(handshake="off", tls="on"), KEY, None, "warn", "is open"),
        (outside(handshake="off", tls="on"), KEY, CLIENT_CA, "ok", "certificate"),
    ],
)
def test_what_stands_between_a_sender_and_us(
    listener: Listener,
    security: SecuritySettings,
    tls: TlsSettings | None,
    mark: str,
    words: str,
) -> None:
    found = of(look(listener, security=security, tls=tls), "0.0.0.0:24225")
    assert found.mark == mark
    assert words in found.what
    assert bool(found.mend) == (mark != "ok")


def test_a_key_of_one_network_closes_the_others() -> None:
    rule = NetworkRule(cidr="10.0.0.0/8", shared_key="a-key-that-is-long-enough")
    found = of(look(outside(), security=SecuritySettings(networks=(rule,))), ":24225")
    assert "asks for a shared key" in found.what


def test_asking_for_a_key_that_there_is_not_keeps_all_out() -> None:
    found = of(look(outside(handshake="on")), ":24225")
    assert found.mark == "fail"
    assert "nobody can send" in found.what
    users = SecuritySettings(
        users=(User(name="u", password="a password"),), empty_shared_key="on"
    )
    said = of(look(outside(), security=users), ":24225").what
    assert "asks for a user's password, without TLS" in said
    assert "the password itself cannot be read" in said
    assert "key" not in said


def test_a_file_without_a_key_is_no_key() -> None:
    """The server does not start with it; it must not be called closed."""
    (found,) = look(outside(), security=SecuritySettings(shared_key_file="empty"))
    assert found.mark == "fail"
    assert "holds no secret" in found.what


def test_networks_that_keep_others_out_are_named() -> None:
    rules = (NetworkRule(cidr="10.0.0.0/8"), NetworkRule(cidr="127.0.0.0/8"))
    only = SecuritySettings(networks=rules, other_networks="deny")
    found = of(look(outside(), security=only), ":24225")
    assert found.mark == "warn"
    assert "is open: anybody in 10.0.0.0/8 can write logs" in found.what
    nobody = SecuritySettings(networks=rules[1:], other_networks="deny")
    assert of(look(outside(), security=nobody), ":24225").mark == "ok"


@pytest.mark.parametrize(
    ("mode", "mark"),
    [("0660", "ok"), ("0600", "ok"), ("0666", "warn"), ("0777", "warn"), ("x", "fail")],
)
def test_a_unix_socket_is_as_open_as_its_mode(mode: str, mark: str) -> None:
    listener = Listener(path="/run/penstock/forward.sock", mode=mode)
    # The key is not asked for there, unless said otherwise.
    for security in (NO_KEY, KEY):
        found = of(look(listener, security=security), "/run/penstock/forward.sock")
        assert found.mark == mark
        assert "0660" in found.mend + found.what + "0660" * (mode == "0600")
    asked = Listener(path="/run/p.sock", mode="0666", handshake="on")
    assert of(look(asked, security=KEY), "/run/p.sock").mark == "ok"


def test_a_host_that_is_none_is_a_finding() -> None:
    found = of(look(Listener(host="no.such.host.invalid")), "no.such.host.invalid")
    assert found.mark == "fail"


@pytest.mark.parametrize(
    ("http", "mark", "words"),
    [
        (HttpSettings(), "ok", "from this machine only, without a token"),
        (HttpSettings(http_token="t" * 16), "ok", "with a token"),
        (HttpSettings(http_token="t" * 16, read_token="r" * 16), "ok", "with tokens:"),
        (
            HttpSettings(metrics_token="m" * 16),
            "ok",
            "metrics_token may read metrics, nobody may read logs or send logs",
        ),
        (
            HttpSettings(http_token="t" * 16, read_token="t" * 16),
            "fail",
            "are the same",
        ),
        (HttpSettings(http_host="0.0.0.0"), "fail", "there is no http_token"),
        (
            HttpSettings(http_host="0.0.0.0", http_token="t" * 16),
            "warn",
            "without TLS",
        ),
        (HttpSettings(http_token_file="empty"), "fail", "holds no token"),
        (HttpSettings(http_host="no.such.host.invalid"), "fail", "no such host"),
    ],
)
def test_the_http_side(http: HttpSettings, mark: str, words: str) -> None:
    found = of(look(http=http), "http")
    assert found.mark == mark
    assert words in found.what
    assert bool(found.mend) == (mark != "ok")


@pytest.mark.parametrize("security", [NO_KEY, KEY])
def test_our_name_is_looked_at_where_it_is_told(security: SecuritySettings) -> None:
    named = SecuritySettings(shared_key=security.shared_key, self_hostname="localhost")
    what = " ".join(each.what for each in look(security=named))
    assert ("self_hostname is localhost" in what) == (security is KEY)
