"""Small pieces of bytes, joined to what is worth a write.

It owns how large that is. It must not know what is in them.
"""

from collections.abc import Iterable, Iterator

# The socket's buffer or so: each piece that is written costs a message's head and a
# place in a list.
PIECE_BYTES = 64 * 1024


def joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in pieces of PIECE_BYTES or somewhat more."""
    waiting: list[bytes] = []
    size_bytes = 0
    for piece in pieces:
        waiting.append(piece)
        size_bytes += len(piece)
        if size_bytes >= PIECE_BYTES:
            yield b"".join(waiting)
            waiting.clear()
            size_bytes = 0
    if waiting:
        yield b"".join(waiting)
