"""Connections to PostgreSQL: that a lost peer is noticed, and what a failure says."""

import asyncio
import contextlib
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import pytest
import uvloop

from penstock.errors import DatabaseUnavailableError
from penstock.postgres.connection import connect, unless_lost
from tests.integration.conftest import PATIENCE_SECONDS, Database


def pump(source: socket.socket, target: socket.socket) -> None:
    while data := source.recv(65536):
        target.sendall(data)
    with contextlib.suppress(OSError):  # the other end has gone already
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def by_tcp(url: str) -> Iterator[str]:
    """Lend a database's URL by TCP, for one connection; ours has a Unix socket only."""
    ((name, socket_dir, port),) = re.findall(r"/(\w+)\?host=(.*)&port=(\d+)", url)

    def serve() -> None:
        with listener.accept()[0] as client, socket.socket(socket.AF_UNIX) as server:
            server.connect(f"{socket_dir}/.s.PGSQL.{port}")
            answers = threading.Thread(target=pump, args=(server, client))
            answers.start()
            pump(client, server)
            answers.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        own_port = listener.getsockname()[1]
        yield f"postgresql://postgres@127.0.0.1:{own_port}/{name}?sslmode=disable"
        thread.join()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_machine_that_vanishes_is_noticed_within_a_minute(
    database: Database, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def look() -> None:
        with by_tcp(database.url) as url:
            connection = await connect(url)
            try:
                # asyncpg shows it to nobody.
                link = cast("Any", connection)._transport.get_extra_info("socket")
                kept = link.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                seconds = [
                    link.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
                    if hasattr(socket, name)
                ]
            finally:
                await connection.close()
            assert kept == 1
            assert seconds == [30, 10, 3][-len(seconds) :]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(look())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_refused_connection_is_told_in_words(
    host: str, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with (
        asyncio.Runner(loop_factory=new_loop) as runner,
        pytest.raises(DatabaseUnavailableError) as caught,
    ):
        runner.run(connect(f"postgresql://{host}:1/logs"))
    where = f"postgresql://{host}:1/logs"
    assert str(caught.value) == f"cannot use the database {where}: connection refused"


@pytest.mark.parametrize("column", ["id", "none"])
def test_a_copy_that_is_given_up_leaves_a_connection_that_can_be_closed(
    database: Database, column: str
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"1\n"
            await asyncio.sleep(0)

    async def give_up() -> None:
        connection = await connect(database.url)
        await connection.execute("CREATE TEMPORARY TABLE ids (id int)")
        # PostgreSQL refuses the second at once; asyncpg asks it to cancel it all the
        # same, and gets no answer.
        copying = connection.copy_to_table(
            "ids", source=endless(), columns=[column], format="text"
        )
        task = asyncio.ensure_future(unless_lost(connection, copying))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.wait_for(connection.close(), PATIENCE_SECONDS)

    with asyncio.Runner() as runner:
        runner.run(give_up())
