"""Certificates replaced, again and again, while Fluent Bit and Fluentd send.

No connection is cut, so no line is missing and none comes twice.
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

SETUP = read_setups()["TLS"]
# Longer by hand: PENSTOCK_RELOAD_SECONDS=600 make clients ARGS="-k replaced"
SECONDS = float(os.environ.get("PENSTOCK_RELOAD_SECONDS", "15"))
BURST_LINES, BURST_SECONDS = 50, 0.1
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
