"""Fluent Bit and Fluentd, with the configurations of docs/security.md, get in.

And when one thing of them is wrong, they do not: nothing is stored, it is counted by
its reason, and with that thing right again all that they have is stored, once.
"""

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from tests.acceptance.penstock_process import Penstock, wait_until
from tests.authority import Authority
from tests.clients.agents import Agent, FluentBit
from tests.clients.conftest import Serve
from tests.docs.doc_blocks import parse_blocks
from tests.docs.docker_driver import DockerDriver
from tests.docs.setups import CLIENT_NAME, PAGE, Setup, Site, read_setups
from tests.ports import free_port

SETUPS = read_setups()
# The page says that Docker's configuration is that of this page then.
FIRST_LOGS = PAGE.with_name("first-logs.md").read_text()
(FIRST_DAEMON_JSON,) = [b.text for b in parse_blocks(FIRST_LOGS) if b.tag == "json"]
LINES = 20
# Fluentd takes seconds to start, and both try again after some.
SENT_SECONDS = 60.0

LOGIN = "penstock_login_failures_total"
TLS = "penstock_tls_failures_total"
REFUSED = "penstock_connections_refused_total"
BROKEN = "penstock_protocol_errors_total"
REJECTED = "penstock_rejected_events_total"


def documented(agent: Agent, setup: Setup, site: Site) -> str:
    """The page's configuration for this program, with what is this machine's own."""
    own = setup.fluent_bit if isinstance(agent, FluentBit) else setup.fluentd
    return site.placed(own[0])


def stored(penstock: Penstock, tag: str) -> list[int]:
    """The numbers of the lines that are rows, in order."""
    return sorted(row.attributes["n"] for row in penstock.rows(tag))


def expect_rows(penstock: Penstock, agent: Agent, tag: str) -> None:
    """Wait until each line is a row, and none is twice."""
    try:
        wait_until(
            lambda: penstock.count(tag) >= LINES or not agent.is_running(),
            f"{LINES} rows of {tag}",
            SENT_SECONDS,
        )
    except AssertionError as error:
        raise AssertionError(
            f"{error}\n{agent.output()}\n{penstock.stderr()}"
        ) from None
    assert stored(penstock, tag) == list(range(LINES)), agent.output()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("section", SETUPS)
def test_what_the_page_configures_is_stored(
    section: str, serve: Serve, agent: Agent, site: Site, tag: str
) -> None:
    penstock = serve(SETUPS[section])
    agent.write(LINES)
    agent.start(documented(agent, SETUPS[section], site), tag=tag)
    expect_rows(penstock, agent, tag)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: how a right configuration is spoiled, and the reason."""

    section: str
    name: str
    spoil: Callable[[str, Site], str]
    metric: str
    reason: str

    def __str__(self) -> str:
        return f"{self.section}-{self.name}".replace(" ", "-")


def without(*patterns: str) -> Callable[[str, Site], str]:
    """Take out all that these patterns match; each program's has one at least."""

    def spoil(configuration: str, _: Site) -> str:
        spoiled = configuration
        for pattern in patterns:
            spoiled = re.sub(pattern, "", spoiled, flags=re.MULTILINE | re.DOTALL)
        return spoiled

    return spoil


def with_another(file: str, other: str) -> Callable[[str, Site], str]:
    """Name other files."""
    return lambda configuration, _: configuration.replace(f"/{file}", f"/{other}")


def another_key(configuration: str, site: Site) -> str:
    return configuration.replace(site.key, "a" * 64)


def common_key(configuration: str, site: Site) -> str:
    return configuration.replace(site.shop_key, site.key)


def another_password(configuration: str, site: Site) -> str:
    return configuration.replace(site.password, "guessed")


def another_user(configuration: str, site: Site) -> str:
    """A user who may not log in from there, with the right password."""
    office = (site.directory / "etc/users/office").read_text().strip()
    configuration = configuration.replace(site.password, office)
    return re.sub("(username:? )shop", r"\1office", configuration)


def to_the_port_for_others(configuration: str, site: Site) -> str:
    """Send in clear to the listener that speaks TLS and asks for the key."""
    ours, theirs = site.ports["24224"], site.ports["24225"]
    return configuration.replace(str(ours), str(theirs))


NO_KEY = without(
    r"^ +(shared_key|self_hostname): [^\n]*\n", r"^ +<security>.*</security>\n"
)
NO_CERTIFICATE = without(
    r"^ +tls\.(crt|key)_file: [^\n]*\n", r"^ +tls_client_\w+ [^\n]*\n"
)
MTLS = "TLS with client certificates"
NETWORKS = "Users and networks"

FAULTS = [
    Fault("Shared key", "another key", another_key, LOGIN, "shared_key"),
    Fault("Shared key", "no key", NO_KEY, LOGIN, "no_ping"),
    Fault("TLS", "another key", another_key, LOGIN, "shared_key"),
    Fault("TLS", "no key", NO_KEY, LOGIN, "no_ping"),
    Fault(
        "TLS",
        "another CA",
        with_another("penstock-ca.crt", "other-ca.crt"),
        TLS,
        "handshake",
    ),
    Fault(MTLS, "no certificate", NO_CERTIFICATE, TLS, "handshake"),
    Fault(
        MTLS,
        "a certificate of another CA",
        with_another("web-1.", "foreign."),
        TLS,
        "handshake",
    ),
    Fault(
        MTLS,
        "a name that is not allowed",
        with_another("web-1.", "unnamed."),
        TLS,
        "client_name",
    ),
    Fault("Several listeners", "no TLS", to_the_port_for_others, TLS, "handshake"),
    Fault(NETWORKS, "the common key", common_key, LOGIN, "shared_key"),
    Fault(NETWORKS, "another password", another_password, LOGIN, "password"),
    Fault(NETWORKS, "another user", another_user, LOGIN, "user_not_allowed"),
]


@pytest.fixture(scope="session", autouse=True)
def wrong_files(site: Site) -> None:
    """Certificates that a sender should not have."""
    ca = Authority("Another CA").certificate
    (site.directory / "ssl" / "other-ca.crt").write_bytes(ca)
    site.issue("foreign", CLIENT_NAME, Authority("Another CA"))
    site.issue("unnamed", "web-1.example.org")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_sender_that_is_set_up_wrong_is_kept_out_until_it_is_right(
    fault: Fault, serve: Serve, agent: Agent, site: Site, tag: str
) -> None:
    setup = SETUPS[fault.section]
    penstock = serve(setup)
    right = documented(agent, setup, site)
    wrong = fault.spoil(right, site)
    assert wrong != right
    agent.write(LINES)
    expect_refusal(penstock, agent, (fault.metric, fault.reason), wrong, tag)
    assert penstock.count(tag) == 0
    agent.start(right, tag=tag)
    expect_rows(penstock, agent, tag)


def expect_refusal(
    penstock: Penstock, agent: Agent, why: tuple[str, str], wrong: str, tag: str
) -> None:
    """Run the program until it is refused, for this reason and no other."""
    # One that was killed in the middle of its handshake is counted too.
    wait_until(lambda: penstock.metric("penstock_connections") == 0, "nobody is there")
    refusals = Refusals(penstock)
    agent.start(wrong, tag=tag)
    try:
        counted = wait_until(
            lambda: refusals.news() or not agent.is_running(), str(why), SENT_SECONDS
        )
    except AssertionError as error:
        raise AssertionError(
            f"{error}\n{agent.output()}\n{penstock.stderr()}"
        ) from None
    agent.end()
    assert counted == {f'{why[0]}{{reason="{why[1]}"}}'}, agent.output()


class Refusals:
    """What is counted of refused senders, from now on."""

    def __init__(self, penstock: Penstock) -> None:
        self._penstock = penstock
        self._before = self._counts()

    def news(self) -> set[str]:
        """Return the counters that have gone up."""
        now = self._counts()
        return {name for name, value in now.items() if value > self._before[name]}

    def _counts(self) -> dict[str, float]:
        _, body = self._penstock.http("/metrics")
        lines = [line.rpartition(" ") for line in body.splitlines()]
        metrics = (LOGIN, TLS, REFUSED, BROKEN, REJECTED)
        found = {n: float(v) for n, _, v in lines if n.startswith(metrics)}
        return Defaulting(found)


class Defaulting(dict[str, float]):
    """Counters; one that is not there yet is 0."""

    def __missing__(self, name: str) -> float:
        return 0.0


@pytest.mark.timeout(300)
def test_a_tag_that_is_not_allowed_is_rejected_and_acked(
    serve: Serve, agent: Agent, site: Site, tag: str
) -> None:
    setup = SETUPS[NETWORKS]
    penstock = serve(setup)
    other = tag.replace("shop.", "office.")
    right = documented(agent, setup, site)
    wrong = right.replace("'shop.*'", "'*'").replace("shop.**", "**")
    agent.write(LINES)
    why = (REJECTED, "tag_not_allowed")
    expect_refusal(penstock, agent, why, wrong, other)
    sql = "SELECT reason, count(*) FROM rejected_event WHERE tag = $1 GROUP BY 1"
    wait_until(lambda: penstock.fetch(sql, other), "the rejected events")
    assert [tuple(row) for row in penstock.fetch(sql, other)] == [
        ("tag_not_allowed", LINES)
    ]
    assert penstock.count(other) == 0
    agent.start(right, tag=tag)
    expect_rows(penstock, agent, tag)


@pytest.mark.timeout(300)
def test_a_network_that_is_not_listed_is_denied_until_it_is(
    serve: Serve, agent: Agent, site: Site, tag: str
) -> None:
    setup = SETUPS[NETWORKS]
    (configuration,) = setup.penstock
    elsewhere = replace(setup, penstock=(configuration.replace('"10.', '"11.'),))
    penstock = serve(elsewhere)
    right = documented(agent, setup, site)
    agent.write(LINES)
    expect_refusal(penstock, agent, (REFUSED, "network_denied"), right, tag)
    assert penstock.count(tag) == 0
    penstock = serve(setup)
    agent.start(right, tag=tag)
    expect_rows(penstock, agent, tag)


@pytest.mark.timeout(300)
def test_tls_with_a_key_is_the_way_to_the_listener_for_others(
    serve: Serve, agent: Agent, site: Site, tag: str
) -> None:
    penstock = serve(SETUPS["Several listeners"])
    right = to_the_port_for_others(documented(agent, SETUPS["TLS"], site), site)
    agent.write(LINES)
    agent.start(right, tag=tag)
    expect_rows(penstock, agent, tag)


@pytest.mark.timeout(300)
def test_docker_sends_through_a_fluent_bit_that_has_the_key(
    serve: Serve, fluent_bit: Agent, site: Site
) -> None:
    setup = SETUPS["Shared key"]
    penstock = serve(setup)
    before = penstock.count("docker.web-1")
    output, inputs = setup.fluent_bit
    port = free_port()  # 24224 of the Docker host, not of Penstock's machine
    inputs = inputs.replace("24224", str(port))
    fluent_bit.write(0)
    fluent_bit.start(site.placed(inputs), site.placed(output))
    driver = DockerDriver.of(FIRST_DAEMON_JSON.replace("24224", str(port)))
    wait_until(lambda: is_open(port), "Fluent Bit listens")
    driver.send(["one", "two"], site.client_context())
    wait_until(lambda: penstock.count("docker.web-1") - before >= 2, "Docker's lines")
    assert penstock.count("docker.web-1") - before == 2


def is_open(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
