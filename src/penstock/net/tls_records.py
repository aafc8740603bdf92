"""What has come over a TLS connection and OpenSSL has not been given yet.

It owns where the records are in it, which stands in clear before each (RFC 8446, 5.1),
so that OpenSSL works on a few of them at a time. It must not know what is in them.
"""

from collections.abc import Iterator

HEADER_BYTES = 5
# A record holds so much plaintext at most (RFC 8446, 5.1).
MAX_PLAINTEXT_BYTES = 16 * 1024
# Handed over in one go, the event loop's other work in between: what one read of the
# socket brings of large records, some 200 microseconds. A record may be a mere change
# of the key instead, for which OpenSSL takes 10 microseconds, so not many of them.
SLICE_BYTES = 256 * 1024
SLICE_RECORDS = 64
# Given to OpenSSL at once: what it holds has a third as much again of room, which it
# keeps for as long as the connection lives.
PIECE_BYTES = 32 * 1024

_NOTHING = memoryview(b"")


class Ciphertext:
    """Bytes from the peer, given out in slices that end with a record if they can."""

    def __init__(self) -> None:
        self._data = _NOTHING
        self._body_left_bytes = 0  # of the record that was given out in part

    def receive(self, data: bytes) -> None:
        """Take what has come."""
        self._data = memoryview(bytes(self._data) + data if self._data else data)

    @property
    def waiting_bytes(self) -> int:
        """Return how much can be given out."""
        if not self._body_left_bytes and len(self._data) < HEADER_BYTES:
            return 0  # a part of a header says nothing yet
        return len(self._data)

    def slice(self) -> Iterator[memoryview]:
        """Give out a slice in pieces: whole records, and what there is of the next."""
        records = given_bytes = 0
        while self.waiting_bytes:
            if records >= SLICE_RECORDS or given_bytes >= SLICE_BYTES:
                break
            piece, count = self._take(SLICE_RECORDS - records)
            records += count
            given_bytes += len(piece)
            yield piece

    def _take(self, most_records: int) -> tuple[memoryview, int]:
        data, end = self._data, self._body_left_bytes
        last_start = min(len(data), PIECE_BYTES) - HEADER_BYTES
        records = 0
        while end <= last_start and records < most_records:
            end += HEADER_BYTES + int.from_bytes(data[end + 3 : end + 5], "big")
            records += 1
        self._body_left_bytes = max(0, end - len(data))
        rest = data[end:]
        # A view of a few bytes, or of none, would keep all that was read.
        is_short = len(rest) < HEADER_BYTES
        self._data = memoryview(bytes(rest)) if is_short else rest
        return data[:end], records

    def clear(self) -> None:
        """Forget all of it."""
        self._data = _NOTHING
        self._body_left_bytes = 0
