"""One connection of our sender, against a server that does as the test says."""

import select
import socket
import ssl
import threading
from pathlib import Path

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
    goodbyes: list[bytes] = []

    def serve() -> None:
        with serving.wrap_socket(theirs, server_side=True) as within:
            rest = within.unwrap()  # returns once our goodbye has come
            goodbyes.append(rest.recv(1))

    server = threading.Thread(target=serve)
    server.start()
    within = trusting.wrap_socket(ours, server_hostname="localhost")
    within.setblocking(False)
    link = Link(within)
    assert select.select([within], [], [], PATIENCE_SECONDS)[0]
    link.end_writing()
    link.end_writing()
    link.close()
    server.join(PATIENCE_SECONDS)
    assert goodbyes == [b""]
