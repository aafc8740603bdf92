"""An event loop whose clock jumps to the next timer when there is nothing else to do.

For what waits by the loop alone, without threads and other processes: so a test of
seconds takes none, and a machine that is busy changes nothing of what it measures.
"""

import asyncio
import selectors


class _Jumping(selectors.DefaultSelector):
    """Never waits for so long: that time has passed at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now_seconds = 0.0

    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # there is no timer: somebody else has to do something
            return super().select(None)
        ready = super().select(0)
        if not ready:
            self.now_seconds += max(timeout, 0.0)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Name it in a module's `LOOPS`; `time()` is all that knows what time it is."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the seconds that have passed since it was made."""
        return self._jumping.now_seconds


LOOPS = {"virtual": VirtualTimeLoop}
