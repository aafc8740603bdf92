"""How long to wait before trying again: longer each time, never all at once. Pure."""

# A restart of PostgreSQL takes a second or two; the first try comes well before.
FIRST_SECONDS = 0.1
# Past this a waiting sender only waits longer for a database that is back.
LAST_SECONDS = 5.0


class Backoff:
    """Doubling waits with jitter, so that many writers do not return in step."""

    def __init__(self) -> None:
        self._next_seconds = FIRST_SECONDS

    def after_failure(self, random_fraction: float) -> float:
        """Return the seconds to wait; `random_fraction` is from 0 to 1."""
        seconds = self._next_seconds * (0.5 + random_fraction / 2)
        self._next_seconds = min(2 * self._next_seconds, LAST_SECONDS)
        return seconds

    def after_success(self) -> None:
        """Begin with short waits again."""
        self._next_seconds = FIRST_SECONDS
