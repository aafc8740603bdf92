"""A server whose senders use up its files, and one that listens at several places."""

import contextlib
import resource
import socket
import time
from pathlib import Path

import msgpack
import psutil

from tests.integration.conftest import Database, Sender, Start, numbers_in, wait_until
from tests.workers import one_worker

REFUSED = "penstock_connections_refused_total"
# Besides those that it has open when it is ready.
FILES_LEFT = 10


@one_worker
def test_a_server_without_files_loses_nobody_and_goes_on(
    start: Start, database: Database
) -> None:
    server = start("serve", "--database-url", database.url).wait_ready()
    with Sender(server.port) as known:
        known.send(range(1), "before")
        assert known.acks(1) == ["before"]
        process = psutil.Process(server.pid)
        # HTTP has connections too: what it may have is part of all.
        few = process.num_fds() + FILES_LEFT
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (few, hard))
        with contextlib.ExitStack() as silent:
            for _ in range(2 * FILES_LEFT):
                silent.enter_context(
                    socket.create_connection(("127.0.0.1", server.port), 30)
                )
            wait_until(lambda: process.num_fds() >= few, "its files are used up")
            # In the backlog: it is taken when there are files again.
            late = silent.enter_context(Sender(server.port))
            late.send(range(1, 2), "late")
            known.send(range(2, 3), "meanwhile")
            assert known.acks(1) == ["meanwhile"], "who is in does not notice"
            used = process.cpu_times()
            time.sleep(0.5)
            now = process.cpu_times()
            assert now.user + now.system - used.user - used.system < 0.4, "it spins"
        with Sender(server.port) as new:
            new.send(range(3, 4), "after")
            assert new.acks(1) == ["after"]
    assert server.metric(REFUSED) > 0
    wait_until(lambda: len(numbers_in(database)) == 4, "all four are stored")
    assert server.stderr.count("has met a limit") == 1, "not a line for each try"
    assert "Traceback" not in server.stderr
    assert server.stop() == 0


def test_a_server_listens_on_addresses_and_unix_sockets_and_leaves_none(
    start: Start, database: Database, home: Path
) -> None:
    path = home / "forward.sock"
    listeners = f'[{{host="127.0.0.2", port=0}}, {{path="{path}", mode="0600"}}]'
    server = start(
        "serve", "--database-url", database.url, PENSTOCK_LISTENERS=listeners
    ).wait_ready()
    assert str(path) in server.stdout and "127.0.0.2:" in server.stdout
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(path))
        link.sendall(msgpack.packb(["test", 1_700_000_000, {"n": 7}, {"chunk": "u"}]))
        assert msgpack.unpackb(link.recv(100)) == {"ack": "u"}
    assert numbers_in(database) == [7]
    assert server.stop() == 0
    assert not path.exists()
