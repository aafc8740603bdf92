"""Keys and certificates are changed while Fluent Bit and Fluentd run.

No connection is cut by that, so no line is missing and none comes twice.
"""

import os
import signal
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.acceptance.penstock_process import Penstock, wait_until
from tests.clients.agents import AGENTS, Agent
from tests.clients.conftest import Serve, in_a_directory
from tests.docs.setups import SERVER_NAME, Site, read_setups

SETUPS = read_setups()
SETUP = SETUPS["TLS"]
# A network's own key, as the page says to change one.
NEW_KEY = "b" * 64
NETWORK = f"""
[[networks]]
cidr = "127.0.0.0/8"
shared_key = "{NEW_KEY}"
"""
# Longer by hand: PENSTOCK_RELOAD_SECONDS=600 make clients ARGS="-k replaced"
SECONDS = float(os.environ.get("PENSTOCK_RELOAD_SECONDS", "15"))
BURST_LINES, BURST_SECONDS = 50, 0.1

pytestmark = pytest.mark.timeout(SECONDS + 240)
RELOADS = "penstock_config_reloads_total"
IS_GOOD = "penstock_config_last_reload_successful"


@pytest.fixture
def both(site: Site, tag: str) -> Iterator[list[Agent]]:
    """Both programs, sending what is written for them."""
    with ExitStack() as stack:
        agents = [stack.enter_context(in_a_directory(each)) for each in AGENTS.values()]
        for agent in agents:
            agent.write(0)
            own = SETUP.fluent_bit if agent.program == "fluent-bit" else SETUP.fluentd
            agent.start(site.placed(own[0]), tag=f"{tag}.{agent.program}")
        yield agents


def test_certificates_are_replaced_while_they_send(
    serve: Serve, both: list[Agent], site: Site, tag: str
) -> None:
    penstock = serve(SETUP)
    seen, written = set(), 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        for agent in both:
            agent.write(BURST_LINES, written)
        written += BURST_LINES
        time.sleep(BURST_SECONDS)
        if written % (5 * BURST_LINES) == 0:
            site.issue_server()
            reload(penstock)
            seen.add(served_certificate(site))
    assert len(seen) == written // (5 * BURST_LINES)
    for agent in both:
        expect_rows(penstock, agent, f"{tag}.{agent.program}", written)


def test_who_was_refused_gets_in_by_itself_when_a_reload_brings_its_key(
    serve: Serve, agent: Agent, site: Site, tag: str
) -> None:
    setup = SETUPS["Shared key"]
    penstock = serve(setup)
    refused = 'penstock_login_failures_total{reason="shared_key"}'
    before = penstock.metric(refused)
    own = setup.fluent_bit if agent.program == "fluent-bit" else setup.fluentd
    agent.write(BURST_LINES)
    agent.start(site.placed(own[0]).replace(site.key, NEW_KEY), tag=tag)
    wait_until(lambda: penstock.metric(refused) > before, "it is refused", 60)
    assert penstock.count(tag) == 0
    file = site.write_penstock(setup)
    file.write_text(file.read_text() + NETWORK)
    reload(penstock)
    expect_rows(penstock, agent, tag, BURST_LINES)
    site.write_penstock(setup)
    reload(penstock)


def expect_rows(penstock: Penstock, agent: Agent, tag: str, written: int) -> None:
    """Wait until each line is a row, once."""
    wait_until(lambda: penstock.count(tag) >= written, f"{written} of {tag}", 90)
    numbers = [row.attributes["n"] for row in penstock.rows(tag)]
    assert sorted(numbers) == list(range(written)), agent.output()
    assert agent.is_running(), agent.output()


def reload(penstock: Penstock) -> None:
    """Send SIGHUP and wait until what it brings is in force."""
    before = penstock.metric(RELOADS)
    os.kill(penstock.pid, signal.SIGHUP)
    wait_until(lambda: penstock.metric(RELOADS) == before + 1, "the reload")
    assert penstock.metric(IS_GOOD) == 1, penstock.stderr()


def served_certificate(site: Site) -> bytes:
    """Return the certificate that a new connection is shown."""
    file = site.directory / "ssl" / "penstock-ca.crt"
    address = (SERVER_NAME, site.ports["24224"])
    return ssl.get_server_certificate(address, ca_certs=str(file)).encode()
