"""A message on its way: what is left of it when its rows are in the ring."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from penstock.net.incoming import Incoming
from tests.unit.net.test_session import Server, message


@pytest.fixture
def no_collector() -> Iterator[None]:
    """A server's collector comes seldom (app.py): nothing may be left to it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> int:
    return sum(isinstance(each, Incoming) for each in gc.get_objects())


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("chunk", [None, "c"])
def test_nothing_of_a_message_but_its_rows_waits_for_the_commit(
    chunk: str | None,
) -> None:
    async def scenario() -> None:
        server = Server()
        first, again = server.connect(), server.connect()
        before = alive()
        for n in range(20):
            await first.send(message(n, chunk and f"{chunk}{n}"))
            await again.send(message(n, chunk and f"{chunk}{n}"))  # a twin, if named
        assert alive() == before, "they wait in the ring"
        server.commit_all()
        assert alive() == before
        assert len(first.acks) == len(again.acks) == (20 if chunk else 0)

    asyncio.run(scenario())
