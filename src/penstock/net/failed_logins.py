"""What is remembered of addresses from which logins fail: how long they wait, what of
them was logged.

It owns both bounds, that on guesses and that on memory. It must not know a connection,
and reads no clock: the time comes as an argument.

Whoever guesses opens many connections. So an answer is not held back on its own: each
failure takes up the time of its address, and whoever comes next, whether it guesses
right or wrong, is answered behind it.
"""

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

# However many failed: a sender whose key was mended is not to wait longer than this.
MOST_SECONDS = 30.0
# An address that has not failed for so long begins anew.
FORGET_SECONDS = 600.0
# Addresses remembered; 300 bytes each. Who has more of them than this guesses from
# each as from a new one.
MOST_ADDRESSES = 10_000
# A line for each address in so long: a sender that is set up wrong tries each second.
LOG_SECONDS = 60.0
# A host has a whole /64 of IPv6 addresses to itself (RFC 4291, 2.5.4).
_HOST_PREFIX = 64

T = TypeVar("T")


@dataclass(slots=True)
class _Failures:
    count: int = 0
    free_seconds: float = 0.0  # when the next answer may be written


@dataclass(slots=True)
class _Logged:
    seconds: float
    unlogged: int = 0


class SlowDown:
    """Spaces out the answers to addresses from which logins have failed."""

    def __init__(self) -> None:
        self._failures: _LeastRecent[_Failures] = _LeastRecent()

    def __len__(self) -> int:
        return len(self._failures)

    def answer_at(self, address: str, now: float) -> float:
        """Return when an answer to this address may be written."""
        failures = self._failures.find(address)
        return now if failures is None else max(now, failures.free_seconds)

    def failed(self, address: str, now: float, *, first_seconds: float) -> None:
        """Make the answers behind this one wait: `first_seconds`, then twice as long.

        To be told when the login is looked at, before its own answer is due.
        """
        if not first_seconds:
            return
        failures = self._failures.find(address)
        if failures is None or now > failures.free_seconds + FORGET_SECONDS:
            failures = _Failures()
        # Of powers past the bound only the first is needed.
        wait = min(first_seconds * 2.0 ** min(failures.count, 64), MOST_SECONDS)
        failures.count += 1
        failures.free_seconds = max(now, failures.free_seconds) + wait
        self._failures.keep(address, failures)

    def succeeded(self, address: str) -> None:
        """Let the next failure be a first one.

        What earlier ones have taken up stays: who has one password may guess another's.
        """
        failures = self._failures.find(address)
        if failures is not None:
            failures.count = 0


class LogBook:
    """Says which failures are worth a line, so that no address floods the log."""

    def __init__(self) -> None:
        self._logged: _LeastRecent[_Logged] = _LeastRecent()

    def __len__(self) -> int:
        return len(self._logged)

    def news(self, address: str, now: float) -> int | None:
        """Return how many had no line since the last one, or None: no line now."""
        logged = self._logged.find(address)
        if logged is not None and now < logged.seconds + LOG_SECONDS:
            logged.unlogged += 1
            return None
        self._logged.keep(address, _Logged(now))
        return 0 if logged is None else logged.unlogged


class _LeastRecent(Generic[T]):
    """Values by host; past the bound the one goes that was kept longest ago."""

    def __init__(self) -> None:
        self._values: OrderedDict[str, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def find(self, address: str) -> T | None:
        return self._values.get(host_of(address))

    def keep(self, address: str, value: T) -> None:
        host = host_of(address)
        self._values[host] = value
        self._values.move_to_end(host)
        if len(self._values) > MOST_ADDRESSES:
            self._values.popitem(last=False)


def host_of(address: str) -> str:
    """Return what an address is counted as: itself, of IPv6 the network of its host."""
    if ":" not in address:
        return address
    try:
        network = int(ipaddress.IPv6Address(address)) >> (128 - _HOST_PREFIX)
    except ValueError:
        return address
    return str(ipaddress.IPv6Network((network << (128 - _HOST_PREFIX), _HOST_PREFIX)))
