"""What messages hold that are being encoded: a few bytes may inflate to very many.

While the ring is full each connection may have begun a message, and waits with what is
left of it. It owns the bound on all of it: past it, and past its share of it for one
address, no more messages are begun until some are in the ring.
"""

from collections.abc import Callable

from penstock.net.shares import Shares


class Opened:
    """The messages that were begun, of all connections."""

    def __init__(self, *, max_bytes: int) -> None:
        self._shares = Shares(max_bytes=max_bytes)
        self._waiting: dict[object, tuple[str, Callable[[], None]]] = {}

    def may_begin(self, address: str) -> bool:
        """Tell whether a connection of this address may begin a message."""
        return self._shares.fits(address, 1)

    def wait(self, session: object, address: str, go_on: Callable[[], None]) -> None:
        """Call `go_on` once when it may, in turn with others."""
        self._waiting.setdefault(session, (address, go_on))

    def forget(self, session: object) -> None:
        """Drop a session's place, if it has one."""
        self._waiting.pop(session, None)

    def count(self, address: str, more_bytes: int) -> None:
        """Count a message that is begun, or, less than nothing, one that has ended."""
        self._shares.add(address, more_bytes)
        if more_bytes < 0 and self._waiting:
            self._go_on()

    def _go_on(self) -> None:
        """Let all try that may; who comes too late for it waits again."""
        for session, (address, go_on) in list(self._waiting.items()):
            if self.may_begin(address):
                del self._waiting[session]
                go_on()
