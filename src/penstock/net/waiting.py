"""What has been read from senders and is not yet in the ring: how much it is at most.

One connection that waits, for its turn or for room, is not read further. But each
sender may make many, and close them: what they wrote waits all the same. It owns the
bound on all of it; past it a connection that is new, or was not read, waits unread, and
they are read on in turn, one in each round of the event loop.
"""

import asyncio
from collections.abc import Callable

# What a connection costs besides its bytes: its session, and what that holds.
SESSION_BYTES = 5 * 1024


class Waiting:
    """The bytes that wait in sessions, and the sessions that wait to be read."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._unread: dict[object, Callable[[], None]] = {}
        self._is_scheduled = False

    @property
    def is_full(self) -> bool:
        """Tell whether no more connections are to be read."""
        return self._bytes >= self._max_bytes

    def counted(self, before_bytes: int, read_bytes: int | None) -> int:
        """Count what waits for a connection, None if nothing does; return that.

        `before_bytes` is what this has returned for it before.
        """
        now_bytes = 0 if read_bytes is None else SESSION_BYTES + read_bytes
        self._bytes += now_bytes - before_bytes
        self._schedule()
        return now_bytes

    def read_later(self, session: object, read: Callable[[], None]) -> None:
        """Call `read` when there is less that waits, in turn with others."""
        self._unread.setdefault(session, read)
        self._schedule()

    def forget(self, session: object) -> None:
        """Drop a session's place, if it has one."""
        self._unread.pop(session, None)

    def _schedule(self) -> None:
        if self._unread and not self._is_scheduled and not self.is_full:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._read_one)

    def _read_one(self) -> None:
        self._is_scheduled = False
        if self._unread and not self.is_full:
            self._unread.pop(next(iter(self._unread)))()
        self._schedule()
