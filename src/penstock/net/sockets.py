"""What the system is asked of a connection's socket. It reads and writes nothing."""

import asyncio
import fcntl
import socket
import struct
import termios
from contextlib import suppress

# A peer that is gone without a word is noticed ten minutes after it was heard last:
# five minutes of silence, and five questions, one a minute.
KEEPALIVE_IDLE_SECONDS = 300
KEEPALIVE_INTERVAL_SECONDS = 60
KEEPALIVE_QUESTIONS = 5
# macOS has another name for the first.
_IDLE = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))


def keep_alive(connection: socket.socket) -> None:
    """Have the system look whether the peer is still there.

    The only way to notice one that is gone without a word: idle connections are healthy
    (Docker holds one for each container) and are never timed out.
    """
    with suppress(OSError):  # it may be gone already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (_IDLE, KEEPALIVE_IDLE_SECONDS),
            (socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS),
            (socket.TCP_KEEPCNT, KEEPALIVE_QUESTIONS),
        ):
            if option is not None:
                connection.setsockopt(socket.IPPROTO_TCP, option, value)


def unread_bytes(transport: asyncio.Transport | None) -> int:
    """Return how many bytes the peer has written that wait to be read."""
    if transport is None or transport.is_closing():
        return 0
    with_tls: int | None = transport.get_extra_info("unread_bytes")
    if with_tls is not None:  # it holds some that it has read
        return with_tls
    raw_socket = transport.get_extra_info("socket")
    answer = fcntl.ioctl(raw_socket.fileno(), termios.FIONREAD, b"\0" * 4)
    waiting_bytes: int = struct.unpack("i", answer)[0]
    return waiting_bytes
