"""Each setup of docs/security.md lets in who has what it asks for, and nobody else.

Penstock's configurations are the page's own; the senders here are Python's, and
Docker's way of sending. Fluent Bit and Fluentd, with the page's configurations of
theirs, are in tests/clients.
"""

import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.acceptance.forward_sender import (
    ForwardSender,
    another_address,
    packed_forward,
)
from tests.acceptance.penstock_process import (
    Penstock,
    clean_environment,
    wait_until,
)
from tests.authority import Authority
from tests.docs.docker_driver import DockerDriver
from tests.docs.setups import Setup, Site, read_setups

SETUPS = read_setups()
T = 1_700_000_000

LOGIN = "penstock_login_failures_total"
TLS = "penstock_tls_failures_total"
REFUSED = "penstock_connections_refused_total"


class Running(NamedTuple):
    """A Penstock with the configuration of one section."""

    penstock: Penstock
    site: Site
    setup: Setup

    def port(self, on_the_page: str = "24224") -> int:
        return self.site.ports[on_the_page]

    @contextmanager
    def counts(self, metric: str, reason: str) -> Iterator[None]:
        """Expect the block to be counted once, for this reason."""
        name = f'{metric}{{reason="{reason}"}}'
        before = self.penstock.metric(name)
        yield
        wait_until(lambda: self.penstock.metric(name) > before, name)
        assert self.penstock.metric(name) == before + 1


Start = Callable[[Setup], Running]


@pytest.fixture
def site() -> Iterator[Site]:
    directory = Path(tempfile.mkdtemp(prefix="penstock-site-"))  # short, for the socket
    yield Site(directory)
    shutil.rmtree(directory)


@pytest.fixture
def start(start_penstock: Callable[..., Penstock], site: Site) -> Start:
    def start(setup: Setup) -> Running:
        file = site.write_penstock(setup)
        port = str(site.ports["24224"])
        penstock = start_penstock("--config", str(file), "--port", port)
        return Running(penstock, site, setup)

    return start


def events(tag: str, chunk: str | None = "a chunk") -> bytes:
    return packed_forward(tag, [(T, {"message": "hello"})], chunk)


def send(sender: ForwardSender, tag: str) -> None:
    """Send an event and wait for its ack."""
    sender.send(events(tag))
    assert sender.read_ack() == "a chunk"


def is_kept_out(port: int, context: ssl.SSLContext, tag: str) -> bool:
    """Tell whether a sender that writes at once is closed without an answer."""
    try:
        with ForwardSender(port, another_address(), tls=context) as sender:
            sender.send(events(tag))
            return sender.read(1) == b""
    except (ssl.SSLError, ConnectionError):
        return True


def test_loopback_only_takes_the_port_the_socket_and_docker(
    start: Start, tag: str
) -> None:
    running = start(SETUPS["Loopback only"])
    with ForwardSender(running.port()) as sender:
        send(sender, tag)
    with ForwardSender.on_unix_socket(running.site.socket_path) as sender:
        send(sender, tag)
    assert running.penstock.count(tag) == 2
    assert Path(running.site.socket_path).stat().st_mode & 0o777 == 0o660
    docker_sends(running, "docker.web-1")


def test_a_shared_key_lets_in_who_has_it(start: Start, tag: str) -> None:
    running = start(SETUPS["Shared key"])
    with ForwardSender(running.port()) as sender:
        assert sender.log_in(running.site.key) == ""
        send(sender, tag)
    with (
        running.counts(LOGIN, "shared_key"),
        ForwardSender(running.port(), another_address()) as sender,
    ):
        assert sender.log_in("another key") == "shared_key mismatch"
        assert sender.read(1) == b""
    with (
        running.counts(LOGIN, "no_ping"),
        ForwardSender(running.port(), another_address()) as sender,
    ):
        sender.send(events(tag))
        assert b"invalid ping message" in sender.finish()
    assert running.penstock.count(tag) == 1


def test_tls_is_spoken_with_who_trusts_us_and_has_the_key(
    start: Start, tag: str
) -> None:
    running = start(SETUPS["TLS"])
    trusting = running.site.client_context()
    with ForwardSender(running.port(), tls=trusting) as sender:
        assert sender.log_in(running.site.key) == ""
        send(sender, tag)
    with (
        running.counts(LOGIN, "shared_key"),
        ForwardSender(running.port(), another_address(), tls=trusting) as sender,
    ):
        assert sender.log_in("another key") == "shared_key mismatch"
    others = Authority().certificate.decode()
    with (
        running.counts(TLS, "handshake"),
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ForwardSender(
            running.port(), tls=ssl.create_default_context(cadata=others)
        ).close()
    with (
        running.counts(TLS, "handshake"),
        ForwardSender(running.port(), another_address()) as sender,
    ):
        sender.send(events(tag))  # in clear
        sender.finish()
    assert running.penstock.count(tag) == 1


def test_mtls_lets_in_whose_certificate_is_named(start: Start, tag: str) -> None:
    running = start(SETUPS["TLS with client certificates"])
    site = running.site
    with ForwardSender(running.port(), tls=site.client_context("web-1")) as sender:
        send(sender, tag)
    site.issue("foreign", "web-1.clients.example.org", Authority())
    site.issue("unnamed", "web-1.example.org")
    for certificate, reason in (
        ("", "handshake"),
        ("foreign", "handshake"),
        ("unnamed", "client_name"),
    ):
        with running.counts(TLS, reason):
            context = site.client_context(certificate)
            assert is_kept_out(running.port(), context, tag), certificate
    assert running.penstock.count(tag) == 1


def test_several_listeners_ask_each_for_its_own(start: Start, tag: str) -> None:
    running = start(SETUPS["Several listeners"])
    trusting = running.site.client_context()
    with ForwardSender(running.port("24224")) as sender:
        send(sender, tag)
    with ForwardSender(running.port("24225"), tls=trusting) as sender:
        assert sender.log_in(running.site.key) == ""
        send(sender, tag)
    with (
        running.counts(LOGIN, "no_ping"),
        ForwardSender(running.port("24225"), another_address(), tls=trusting) as sender,
    ):
        sender.send(events(tag))
        assert b"invalid ping message" in sender.read(1000)
    assert running.penstock.count(tag) == 2
    docker_sends(running, "docker.web-1")


def test_users_and_networks_let_in_who_is_allowed(start: Start, tag: str) -> None:
    running = start(SETUPS["Users and networks"])
    site, port = running.site, running.port()
    trusting = site.client_context()
    allowed = f"shop.{tag}"
    with ForwardSender(port, tls=trusting) as sender:
        assert sender.log_in(site.shop_key, "shop", site.password) == ""
        send(sender, allowed)
        send(sender, tag)  # acked: sent again it would be refused again
    office = (site.directory / "etc/users/office").read_text().strip()
    for key, user, password, reason in (
        (site.key, "shop", site.password, "shared_key"),
        (site.shop_key, "shop", "guessed", "password"),
        (site.shop_key, "nobody", site.password, "password"),
        (site.shop_key, "office", office, "user_not_allowed"),
    ):
        with (
            running.counts(LOGIN, reason),
            ForwardSender(port, another_address(), tls=trusting) as sender,
        ):
            assert sender.log_in(key, user, password)
            assert sender.read(1) == b""
    assert running.penstock.count(allowed) == 1
    assert running.penstock.count(tag) == 0
    wait_until(lambda: rejections(running.penstock, tag), "the rejected event")
    assert rejections(running.penstock, tag) == ["tag_not_allowed"]


def test_who_is_in_no_network_is_told_so(start: Start, site: Site, tag: str) -> None:
    setup = SETUPS["Users and networks"]
    elsewhere = setup.penstock[0].replace('"10.', '"11.')
    running = start(replace(setup, penstock=(elsewhere,)))
    with (
        running.counts(REFUSED, "network_denied"),
        ForwardSender(running.port(), tls=site.client_context()) as sender,
    ):
        assert "denied" in sender.log_in(site.shop_key, "shop", site.password)
    assert running.penstock.count(f"shop.{tag}") == 0


@pytest.mark.parametrize("section", SETUPS)
def test_config_check_takes_the_configuration_of_the_page(
    section: str, site: Site
) -> None:
    file = site.write_penstock(SETUPS[section])
    check = subprocess.run(
        (sys.executable, "-m", "penstock", "config", "check", "--config", str(file)),
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (check.returncode, check.stderr) == (0, "")


def test_each_way_of_the_page_has_a_setup_for_each_sender() -> None:
    assert list(SETUPS) == [
        "Loopback only",
        "Shared key",
        "TLS",
        "TLS with client certificates",
        "Several listeners",
        "Users and networks",
    ]
    for setup in SETUPS.values():
        assert setup.fluent_bit and setup.fluentd, setup.section
        assert len(setup.penstock) == 1, setup.section
    with_docker = [each.section for each in SETUPS.values() if each.docker]
    assert with_docker == ["Loopback only", "Several listeners"]


@pytest.mark.parametrize(
    "daemon_json",
    [
        '{"log-driver": "fluentd", "log-opts": {"fluentd-adress": "x:1"}}',
        '{"log-driver": "fluentd", "log-opts": {"fluentd-address": "http://x:1"}}',
        '{"log-driver": "fluentd", "log-opts": {"fluentd-async": true}}',
    ],
)
def test_what_docker_would_not_take_is_noticed(daemon_json: str) -> None:
    with pytest.raises(ValueError, match=r"unknown options|unsupported|a text"):
        DockerDriver.of(daemon_json)


def docker_sends(running: Running, tag: str) -> None:
    """Send as Docker does with the page's daemon.json, and find the lines."""
    before = running.penstock.count(tag)
    driver = DockerDriver.of(running.site.placed(running.setup.docker[0]))
    assert driver.tag == tag
    driver.send(["one", "two"], running.site.client_context())
    running.penstock.wait_for_count(tag, before + 2)


def rejections(penstock: Penstock, tag: str) -> list[str]:
    found = penstock.fetch("SELECT reason FROM rejected_event WHERE tag = $1", tag)
    return [each["reason"] for each in found]
