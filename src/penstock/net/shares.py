"""How much of a bound each address has, so that none keeps the others out.

It owns that arithmetic and nothing else.
"""

# The least number of parts: one address alone leaves half of all to who may come.
LEAST_PARTS = 2
# What was granted while there were fewer addresses is more than their part now; all
# together are never more than so many times the bound.
MOST_TIMES = 2


class Shares:
    """What addresses hold of `max_bytes`: an equal part each, and at most half."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: dict[str, int] = {}
        self._part = max_bytes // LEAST_PARTS
        self._counted_bytes = 0
        self.bytes = 0

    def __contains__(self, address: str) -> bool:
        return address in self._held

    @property
    def is_full(self) -> bool:
        """Tell whether nobody may have more."""
        return (
            self._counted_bytes >= self._max_bytes
            or self.bytes >= MOST_TIMES * self._max_bytes
        )

    def set_max_bytes(self, max_bytes: int) -> None:
        """Have another bound from now on."""
        self._max_bytes = max_bytes
        self._divide()

    def fits(self, address: str, more_bytes: int) -> bool:
        """Tell whether an address may have so much more."""
        return (
            self._held.get(address, 0) + more_bytes <= self._part
            and self._counted_bytes + more_bytes <= self._max_bytes
            and self.bytes + more_bytes <= MOST_TIMES * self._max_bytes
        )

    def add(self, address: str, more_bytes: int) -> None:
        """Count what an address has more, or less."""
        before = self._held.get(address, 0)
        now = before + more_bytes
        self.bytes += more_bytes
        if now:
            self._held[address] = now
        else:
            self._held.pop(address, None)
        if (before == 0) != (now == 0) and len(self._held) >= LEAST_PARTS:
            self._divide()
        else:
            # More than its part does not stand in the way of others.
            self._counted_bytes += min(now, self._part) - min(before, self._part)

    def _divide(self) -> None:
        self._part = self._max_bytes // max(LEAST_PARTS, len(self._held))
        self._counted_bytes = sum(min(each, self._part) for each in self._held.values())
