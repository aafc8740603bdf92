"""How long a message takes to come, and how fast: whoever only drips is found out.

It owns nothing but that. It must not look at a clock: it is told how long a connection
was read.
"""

from penstock.settings import PeerLimits

# A message has to be slow for so long: a link may stand still for a while.
SLOW_SECONDS = 30.0
# While others wait for the memory that it holds, a large message has to come at half a
# megabit, and may stand still for so long.
SCARCE_SLOW_SECONDS = 10.0
SCARCE_BYTES_PER_SECOND = 64 * 1024


class Pace:
    """One message on its way, as far as it was waited for."""

    __slots__ = (
        "_read_seconds",
        "_scarce_bytes",
        "_scarce_seconds",
        "_window_bytes",
        "_window_seconds",
    )

    def __init__(self, received_bytes: int) -> None:
        self._read_seconds = 0.0
        self._window_seconds = 0.0
        self._window_bytes = received_bytes  # when the window began
        self._scarce_seconds = 0.0
        self._scarce_bytes = received_bytes

    def too_slow(
        self,
        seconds: float,
        received_bytes: int,
        limits: PeerLimits,
        *,
        is_scarce: bool = False,
    ) -> str | None:
        """Return why the connection is to be closed, if it is, as a reason to count.

        Args:
            seconds: for how long it was read since the last look.
            received_bytes: what has come over the connection in all.
            limits: what is too slow.
            is_scarce: others wait for the memory that it holds.
        """
        self._read_seconds += seconds
        self._window_seconds += seconds
        if self._read_seconds > limits.frame_seconds:
            return "frame_timeout"
        if self._window_seconds >= SLOW_SECONDS:
            least = limits.min_frame_bytes_per_second * self._window_seconds
            if received_bytes - self._window_bytes < least:
                return "frame_too_slow"
            self._window_seconds = 0.0
            self._window_bytes = received_bytes
        return self._too_slow_for_others(seconds if is_scarce else 0.0, received_bytes)

    def _too_slow_for_others(self, seconds: float, received_bytes: int) -> str | None:
        self._scarce_seconds = self._scarce_seconds + seconds if seconds else 0.0
        is_slow = False
        if self._scarce_seconds >= SCARCE_SLOW_SECONDS:
            least = SCARCE_BYTES_PER_SECOND * self._scarce_seconds
            is_slow = received_bytes - self._scarce_bytes < least
            self._scarce_seconds = 0.0
        if self._scarce_seconds == 0.0:
            self._scarce_bytes = received_bytes
        return "frame_too_slow" if is_slow else None
