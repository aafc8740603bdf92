"""What has come of messages that are not whole: how much it is of all connections.

A message may be large, and thousands may be on their way: without a bound, whoever
sends halves of them has all our memory. It owns that bound. Past a small allowance a
connection needs a grant, step by step, to be read on. No address has more than half of
all, so that one cannot keep the others out; and one connection, the one that has
waited longest, may always go on to the end of its message: what is held by halves
alone would else be held for ever. It must not touch a connection: it calls back.
"""

from dataclasses import dataclass
from typing import Protocol

# What each connection may hold without a grant: most senders' messages are smaller, and
# the system hands over about as much at once.
FREE_BYTES = 256 * 1024
# And while the allowances together are more than their part of all.
SCARCE_FREE_BYTES = 16 * 1024
FREE_SHARE = 0.5
# What is granted at a time.
STEP_BYTES = 256 * 1024
# Of all, to the connections of one address.
ADDRESS_SHARE = 0.5


class Holder(Protocol):
    """A connection, as far as it is known here."""

    def read_on(self) -> None:
        """Read on: there is a grant now."""


@dataclass(slots=True, eq=False)
class _Hold:
    address: str
    granted_bytes: int = 0
    is_whole: bool = False


class Partials:
    """The grants of all connections."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.granted_bytes = 0
        self._counted_bytes = 0  # of these, as they count for the bound
        self._free_bytes = 0  # that is held without a grant
        self._holds: dict[Holder, _Hold] = {}
        self._of_address: dict[str, int] = {}
        self._waiting: dict[Holder, None] = {}
        self._whole = 0  # holders that hold a whole message: they do not wait for us
        self._first: Holder | None = None  # it may go on whatever others hold
        self._last_address = ""
        self._has_room = False  # more than before

    def set_max_bytes(self, max_bytes: int) -> None:
        """Have another bound from now on."""
        self._max_bytes = max_bytes
        share = int(ADDRESS_SHARE * max_bytes)
        self._counted_bytes = sum(
            min(each, share) for each in self._of_address.values()
        )
        self._has_room = True
        self._go_on()

    @property
    def waiting(self) -> int:
        """Count the connections that wait for a grant."""
        return len(self._waiting)

    def hold(
        self,
        holder: Holder,
        address: str,
        before_bytes: int,
        now_bytes: int,
        *,
        is_whole: bool,
    ) -> bool:
        """Count what a connection holds; return whether it may be read on.

        If not, its `read_on` is called when it may. `before_bytes` is what it held when
        it was counted last. Who holds a whole message wants nothing more for now.
        """
        hold = self._holds.get(holder)
        if hold is None:
            self._free_bytes += now_bytes - before_bytes
            if now_bytes <= self._allowance:
                return True
            self._free_bytes -= now_bytes
            hold = self._holds[holder] = _Hold(address)
        elif now_bytes <= SCARCE_FREE_BYTES:
            self._let_go(holder, hold)
            self._free_bytes += now_bytes
            self._go_on()
            return True
        if now_bytes < before_bytes:  # a message has become whole
            self._grant(hold, now_bytes)
            if holder is self._first:
                self._pass_on(hold)  # it is another's turn
        self._set_whole(hold, is_whole)
        may_go_on = self._is_granted(holder, hold, now_bytes)
        self._go_on()
        return may_go_on or holder not in self._waiting

    def forget(self, holder: Holder, held_bytes: int) -> None:
        """Drop what a connection holds: it is over."""
        hold = self._holds.get(holder)
        if hold is None:
            self._free_bytes -= held_bytes
        else:
            self._let_go(holder, hold)
            self._go_on()

    @property
    def _allowance(self) -> int:
        is_scarce = self._free_bytes > FREE_SHARE * self._max_bytes
        return SCARCE_FREE_BYTES if is_scarce else FREE_BYTES

    def _is_granted(self, holder: Holder, hold: _Hold, now_bytes: int) -> bool:
        self._waiting.pop(holder, None)
        if now_bytes < hold.granted_bytes and not hold.is_whole:
            return True
        # What is here is here; and then a step more, to read on.
        self._grant(hold, now_bytes)
        if hold.is_whole:
            return True
        if holder is self._first or self._fits(hold):
            self._grant(hold, now_bytes + STEP_BYTES)
            return True
        self._waiting[holder] = None
        return False

    def _fits(self, hold: _Hold) -> bool:
        of_address = self._of_address.get(hold.address, 0) + STEP_BYTES
        return (
            self._counted_bytes + STEP_BYTES <= self._max_bytes
            and of_address <= ADDRESS_SHARE * self._max_bytes
        )

    def _grant(self, hold: _Hold, granted_bytes: int) -> None:
        more = granted_bytes - hold.granted_bytes
        self._has_room |= more < 0
        hold.granted_bytes = granted_bytes
        self.granted_bytes += more
        before = self._of_address.get(hold.address, 0)
        if before + more:
            self._of_address[hold.address] = before + more
        else:
            self._of_address.pop(hold.address, None)
        # Of one address no more than its share stands in the way of others.
        share = int(ADDRESS_SHARE * self._max_bytes)
        self._counted_bytes += min(before + more, share) - min(before, share)

    def _set_whole(self, hold: _Hold, is_whole: bool) -> None:
        self._whole += is_whole - hold.is_whole
        hold.is_whole = is_whole

    def _let_go(self, holder: Holder, hold: _Hold) -> None:
        self._grant(hold, 0)
        self._set_whole(hold, False)
        del self._holds[holder]
        self._waiting.pop(holder, None)
        if holder is self._first:
            self._pass_on(hold)

    def _pass_on(self, hold: _Hold) -> None:
        self._first, self._last_address = None, hold.address

    def _go_on(self) -> None:
        """Let those read on for whom there is room, and one in any case."""
        if self._has_room and self._waiting:
            self._let_on_all()
        self._has_room = False
        # What is whole passes on to the database, and makes room.
        if self._waiting and self._first is None and not self._whole:
            self._first = self._next()
            self._let_on(self._first)

    def _let_on_all(self) -> None:
        for holder in list(self._waiting):
            if self._counted_bytes + STEP_BYTES > self._max_bytes:
                return
            if self._fits(self._holds[holder]):
                self._let_on(holder)

    def _next(self) -> Holder:
        """Return who has waited longest, of another address than the last one's."""
        for holder in self._waiting:
            if self._holds[holder].address != self._last_address:
                return holder
        return next(iter(self._waiting))

    def _let_on(self, holder: Holder) -> None:
        hold = self._holds[holder]
        del self._waiting[holder]
        self._grant(hold, hold.granted_bytes + STEP_BYTES)
        holder.read_on()
