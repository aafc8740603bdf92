"""One Penstock for all acceptance tests, and one for those that stop theirs."""

import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.penstock_process import Penstock


@pytest.fixture(scope="session")
def penstock() -> Iterator[Penstock]:
    """The Penstock that all tests share which leave it running."""
    shared = Penstock()
    try:
        shared.start()
        yield shared
        assert shared.stop() == 0, shared.stderr()
        assert not shared.postgres_processes(), "PostgreSQL outlives `penstock up`"
    finally:
        shared.remove()


@pytest.fixture(scope="session")
def stopped_penstock() -> Iterator[Penstock]:
    """A data directory to start on: to make one takes longer than most tests."""
    stopped = Penstock()
    try:
        yield stopped
    finally:
        stopped.remove()


@pytest.fixture
def start_penstock(stopped_penstock: Penstock) -> Iterator[Callable[..., Penstock]]:
    """Start a Penstock, with the flags given, that this test may stop and kill."""

    def start(*flags: str) -> Penstock:
        stopped_penstock.start(*flags)
        return stopped_penstock

    yield start
    stopped_penstock.end()


@pytest.fixture
def tag() -> str:
    """A tag that no other test has: what is stored under it is this test's."""
    return f"acceptance.{uuid.uuid4().hex[:12]}"
