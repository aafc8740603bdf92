"""One Penstock for all of the page's setups, and the real programs that send to it."""

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.penstock_process import Penstock
from tests.clients.agents import AGENTS, Agent, FluentBit
from tests.docs.setups import Setup, Site

Serve = Callable[[Setup], Penstock]


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """This machine, in the place of the page's."""
    directory = Path(tempfile.mkdtemp(prefix="penstock-site-"))
    yield Site(directory)
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def serve(site: Site) -> Iterator[Serve]:
    """Have a Penstock with this setup; the one that runs already, if it is that."""
    penstock = Penstock()
    running: list[Setup] = []

    def serve(setup: Setup) -> Penstock:
        if running != [setup]:
            if running:
                running.clear()
                assert penstock.stop() == 0, penstock.stderr()
            file = site.write_penstock(setup)
            port = str(site.ports["24224"])
            penstock.start("--config", str(file), "--port", port)
            running.append(setup)
        return penstock

    try:
        yield serve
    finally:
        penstock.remove()


@pytest.fixture(params=AGENTS)
def agent(request: pytest.FixtureRequest) -> Iterator[Agent]:
    """Fluent Bit, then Fluentd."""
    with in_a_directory(AGENTS[request.param]) as agent:
        yield agent


@pytest.fixture
def fluent_bit() -> Iterator[Agent]:
    """Fluent Bit."""
    with in_a_directory(FluentBit) as agent:
        yield agent


@contextmanager
def in_a_directory(program: type[Agent]) -> Iterator[Agent]:
    """A program in a directory of its own; neither outlives the block."""
    directory = Path(tempfile.mkdtemp(prefix="penstock-agent-"))
    try:
        agent = program(directory)
        try:
            yield agent
        finally:
            agent.end()
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def tag() -> str:
    """A tag that no other test has, one of those that the shop may send."""
    return f"shop.{uuid.uuid4().hex[:12]}"
