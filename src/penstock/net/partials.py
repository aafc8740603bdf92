"""What has come of messages that are not whole: how much it is of all connections.

A message may be large, and thousands may be on their way: without a bound, whoever
sends halves of them has all our memory. It owns that bound. Past a small allowance a
connection needs a grant, step by step, to be read on. Each address has its share of
all, so that one cannot keep the others out; and one connection, the one that has
waited longest, may always go on to the end of its message: what is held by halves
alone would else be held for ever. It must not touch a connection: it calls back.
"""

import itertools
from dataclasses import dataclass
from typing import Protocol

from penstock.net.shares import Shares

# What each connection may hold without a grant: most senders' messages are smaller, and
# the system hands over about as much at once.
FREE_BYTES = 256 * 1024
# And while more than this part of all is held. Less is not worth counting.
SCARCE_FREE_BYTES = 16 * 1024
FREE_SHARE = 0.5
# What is read at once; and then: thousands may write for the first time at that moment.
READ_BYTES = 256 * 1024
SCARCE_READ_BYTES = 16 * 1024
# What is granted at a time.
STEP_BYTES = 256 * 1024


class Holder(Protocol):
    """A connection, as far as it is known here."""

    def read_on(self) -> None:
        """Read on: there is a grant now."""


@dataclass(slots=True, eq=False)
class _Hold:
    address: str
    granted_bytes: int = 0
    is_whole: bool = False
    is_waiting: bool = False


class Partials:
    """The grants of all connections."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._shares = Shares(max_bytes=max_bytes)
        self._free_bytes = 0  # that is held without a grant
        self._holds: dict[Holder, _Hold] = {}
        # Those who wait, of each address in their order.
        self._queues: dict[str, dict[Holder, None]] = {}
        self.waiting = 0
        self._whole = 0  # holders that hold a whole message: they do not wait for us
        self._first: Holder | None = None  # it may go on whatever others hold
        # Which addresses that hold something had that turn, the last one last.
        self._had_turn: dict[str, None] = {}
        self._has_room = False  # more than before
        # One for all connections: what is in it is taken before another is read.
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._scarce_buffer = self._buffer[:SCARCE_READ_BYTES]

    def set_max_bytes(self, max_bytes: int) -> None:
        """Have another bound from now on."""
        self._max_bytes = max_bytes
        self._shares.set_max_bytes(max_bytes)
        self._has_room = True
        self._go_on()

    @property
    def read_buffer(self) -> memoryview:
        """Return where to read to, and how much at most."""
        return self._scarce_buffer if self._is_scarce else self._buffer

    def read(self, count: int) -> memoryview:
        """Return what has been read to it: to be copied before another reads."""
        return self._buffer[:count]

    @property
    def granted_bytes(self) -> int:
        """Return how much has been granted."""
        return self._shares.bytes

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
        it was counted last; what is not worth counting is nothing. Who holds a whole
        message wants nothing more for now.
        """
        hold = self._holds.get(holder)
        if hold is None:
            self._free_bytes += now_bytes - before_bytes
            if not now_bytes or (now_bytes <= FREE_BYTES and not self._is_scarce):
                return True
            self._free_bytes -= now_bytes
            hold = self._holds[holder] = _Hold(address)
        elif now_bytes == 0:
            self._let_go(holder, hold)
            self._go_on()
            return True
        if now_bytes < before_bytes:  # a message has become whole
            self._grant(hold, now_bytes)
            if holder is self._first:
                self._pass_on(hold)  # it is another's turn
        self._set_whole(hold, is_whole)
        may_go_on = self._is_granted(holder, hold, now_bytes)
        self._go_on()
        return may_go_on or not hold.is_waiting

    def forget(self, holder: Holder, held_bytes: int) -> None:
        """Drop what a connection holds: it is over."""
        hold = self._holds.get(holder)
        if hold is None:
            self._free_bytes -= held_bytes
        else:
            self._let_go(holder, hold)
            self._go_on()

    @property
    def _is_scarce(self) -> bool:
        held_bytes = self._free_bytes + self._shares.bytes
        return held_bytes > FREE_SHARE * self._max_bytes

    def _is_granted(self, holder: Holder, hold: _Hold, now_bytes: int) -> bool:
        self._leave_queue(holder, hold)
        if now_bytes < hold.granted_bytes and not hold.is_whole:
            return True
        # What is here is here; and then a step more, to read on.
        self._grant(hold, now_bytes)
        if hold.is_whole:
            return True
        if holder is self._first or self._shares.fits(hold.address, STEP_BYTES):
            self._grant(hold, now_bytes + STEP_BYTES)
            return True
        self._queues.setdefault(hold.address, {})[holder] = None
        hold.is_waiting = True
        self.waiting += 1
        return False

    def _leave_queue(self, holder: Holder, hold: _Hold) -> None:
        if hold.is_waiting:
            hold.is_waiting = False
            self.waiting -= 1
            queue = self._queues[hold.address]
            del queue[holder]
            if not queue:
                del self._queues[hold.address]

    def _grant(self, hold: _Hold, granted_bytes: int) -> None:
        more_bytes = granted_bytes - hold.granted_bytes
        self._has_room |= more_bytes < 0
        hold.granted_bytes = granted_bytes
        self._shares.add(hold.address, more_bytes)
        if hold.address not in self._shares:
            self._had_turn.pop(hold.address, None)

    def _set_whole(self, hold: _Hold, is_whole: bool) -> None:
        self._whole += is_whole - hold.is_whole
        hold.is_whole = is_whole

    def _let_go(self, holder: Holder, hold: _Hold) -> None:
        self._grant(hold, 0)
        self._set_whole(hold, False)
        del self._holds[holder]
        self._leave_queue(holder, hold)
        if holder is self._first:
            self._pass_on(hold)

    def _pass_on(self, hold: _Hold) -> None:
        self._first = None
        if hold.address in self._shares:
            self._had_turn.pop(hold.address, None)
            self._had_turn[hold.address] = None

    def _go_on(self) -> None:
        """Let those read on for whom there is room, and one in any case."""
        if self._has_room and self.waiting:
            self._let_on_all()
        self._has_room = False
        # What is whole passes on to the database, and makes room.
        if self.waiting and self._first is None and not self._whole:
            self._first = self._next()
            self._let_on(self._first)

    def _let_on_all(self) -> None:
        for address in list(self._queues):
            if self._shares.is_full:
                return
            while address in self._queues and self._shares.fits(address, STEP_BYTES):
                self._let_on(next(iter(self._queues[address])))

    def _next(self) -> Holder:
        """Return who has waited longest, of the address whose turn is longest ago."""
        new = (each for each in self._queues if each not in self._had_turn)
        old = (each for each in self._had_turn if each in self._queues)
        address = next(itertools.chain(new, old))
        return next(iter(self._queues[address]))

    def _let_on(self, holder: Holder) -> None:
        hold = self._holds[holder]
        self._leave_queue(holder, hold)
        self._grant(hold, hold.granted_bytes + STEP_BYTES)
        holder.read_on()
