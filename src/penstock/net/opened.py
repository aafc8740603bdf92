"""What messages hold that are being encoded: a few bytes may inflate to very many.

While the ring is full each connection may have begun a message, and waits with what is
left of it. It owns the bound on all of it: past it, and past half of it for one
address, no more messages are begun until some are in the ring.
"""

from collections.abc import Callable

ADDRESS_SHARE = 0.5


class Opened:
    """The messages that were begun, of all connections."""

    def __init__(self, *, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._bytes = 0
        self._of_address: dict[str, int] = {}
        self._waiting: dict[object, tuple[str, Callable[[], None]]] = {}

    def may_begin(self, address: str) -> bool:
        """Tell whether a connection of this address may begin a message."""
        of_address = self._of_address.get(address, 0)
        return (
            self._bytes < self.max_bytes and of_address < self.max_bytes * ADDRESS_SHARE
        )

    def wait(self, session: object, address: str, go_on: Callable[[], None]) -> None:
        """Call `go_on` once when it may, in turn with others."""
        self._waiting.setdefault(session, (address, go_on))

    def forget(self, session: object) -> None:
        """Drop a session's place, if it has one."""
        self._waiting.pop(session, None)

    def count(self, address: str, more_bytes: int) -> None:
        """Count a message that is begun, or, less than nothing, one that has ended."""
        self._bytes += more_bytes
        of_address = self._of_address.get(address, 0) + more_bytes
        if of_address:
            self._of_address[address] = of_address
        else:
            self._of_address.pop(address, None)
        if more_bytes < 0 and self._waiting:
            self._go_on()

    def _go_on(self) -> None:
        """Let all try that may; who comes too late for it waits again."""
        for session, (address, go_on) in list(self._waiting.items()):
            if self.may_begin(address):
                del self._waiting[session]
                go_on()
