"""One connection of our sender, against a server that does as the test says."""

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.net.client_link import Link
from tests.authority import Authority

PATIENCE_SECONDS = 30


def test_a_server_that_says_goodbye_first_ends_the_connection_in_order(
    tmp_path: Path,
) -> None:
    """As one does that is stopped: then our goodbye is the last, and comes once."""
    authority = Authority()
    files = authority.issue("server", dns=["localhost"]).write(tmp_path, "server")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(*files)
    trusting = ssl.create_default_context(cafile=str(authority.write(tmp_path)))
    # As Python 3.13 does of itself: so it is tried with each.
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()
    with ThreadPoolExecutor(1) as pool:
        greeted = pool.submit(serving.wrap_socket, theirs, server_side=True)
        within = trusting.wrap_socket(ours, server_hostname="localhost")
        server = greeted.result(PATIENCE_SECONDS)
    # By turns, so that its goodbye is there before ours on the slowest machine too.
    server.setblocking(False)
    with pytest.raises(ssl.SSLWantReadError):
        server.unwrap()  # says goodbye, and would wait for ours
    within.setblocking(False)
    link = Link(within)
    link.end_writing()
    link.end_writing()
    link.close()
    with server.unwrap() as rest:
        assert rest.recv(1) == b""
