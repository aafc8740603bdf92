"""When a connection's bytes came: how long a message has waited, read or not yet.

It owns nothing but that. It must not look at a clock or at the bytes.
"""

# Bytes that come within this time of each other are remembered as one: a second is
# fine enough for patience counted in minutes, and bounds what is remembered.
TOGETHER_SECONDS = 1.0


class Arrivals:
    """The times of what is received and not yet taken, each rounded down."""

    __slots__ = ("_marks", "_received_bytes")

    def __init__(self) -> None:
        self._received_bytes = 0
        # Up to which byte, and when the first of these came. A list: there are a few,
        # and a deque takes 600 bytes of each of thousands of idle connections.
        self._marks: list[tuple[int, float]] = []

    def received(self, count: int, now_seconds: float) -> None:
        """Remember that so many bytes came now."""
        self._received_bytes += count
        seconds = now_seconds
        if self._marks and now_seconds - self._marks[-1][1] < TOGETHER_SECONDS:
            _, seconds = self._marks.pop()
        self._marks.append((self._received_bytes, seconds))

    def last_taken_seconds(self, left_bytes: int) -> float:
        """Return when the last byte came of what was taken, if so many are left."""
        self._forget_before(self._received_bytes - left_bytes)
        return self._marks[0][1]

    def oldest_left_seconds(self, left_bytes: int) -> float | None:
        """Return when the first byte came of what is left; None if nothing is."""
        if left_bytes == 0:
            return None
        self._forget_before(self._received_bytes - left_bytes + 1)
        return self._marks[0][1]

    def _forget_before(self, byte: int) -> None:
        marks = self._marks
        taken = 0
        while marks[taken][0] < byte:
            taken += 1
        if taken:
            del marks[:taken]
