"""What is remembered of addresses from which logins fail: how long they wait, what of
them was logged.

It owns both bounds, that on guesses and that on memory. It must not know a connection,
and reads no clock: the time comes as an argument.

Whoever guesses opens many connections. So no answer is held back on its own: a failure
takes up time, and who comes next, whether it guesses right or wrong, is answered behind
it. It takes up the most for the name that the client gives itself, and for others of
its address as little as can be: behind one address may be a whole cluster, of which one
client is set up wrong and tries for ever. Who gives itself another name for each guess
gains nothing: the more names fail, the more time each failure takes from all.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from penstock.net.peer import host_of

# However many failed: a sender whose key was mended is not to wait longer than this.
MOST_SECONDS = 30.0
# A name that has not been tried for so long begins anew.
FORGET_SECONDS = 600.0
# Addresses remembered, and names of each; all of them are 30 MB. Who has more addresses
# guesses from each as from a new one; more names of one do not fail in FORGET_SECONDS.
MOST_ADDRESSES = 4096
MOST_NAMES = 32
# Who has failed may take up so much of the time that others can wait.
SHARE_OF_FAILED = 1 / 3
# A line for each address in so long: a sender that is set up wrong tries each second.
LOG_SECONDS = 60.0

T = TypeVar("T")


@dataclass(slots=True)
class _Name:
    failures: int = 0
    free_seconds: float = 0.0  # when the next answer to it may be written
    tried_seconds: float = 0.0


@dataclass(slots=True)
class _Host:
    free_seconds: float = 0.0  # when the next answer to any name may be written
    failed: OrderedDict[int, _Name] = field(default_factory=OrderedDict)


@dataclass(slots=True)
class _Logged:
    seconds: float
    unlogged: int = 0


class SlowDown:
    """Spaces out the answers to addresses from which logins have failed.

    A `name` is what stands for all that a client calls itself.
    """

    def __init__(self) -> None:
        self._hosts: _LeastRecent[_Host] = _LeastRecent()

    def __len__(self) -> int:
        return len(self._hosts)

    def answer_at(
        self, address: str, name: int, now: float, latest: float
    ) -> float | None:
        """Return when an answer may be written; None if that is later than `latest`."""
        host = self._hosts.find(address)
        if host is None:
            return now
        _forget(host.failed, now)
        named = host.failed.get(name)
        if named is not None:
            named.tried_seconds = now  # or who is not looked at would begin anew
        due = max(now, host.free_seconds, named.free_seconds if named else now)
        share = 1 if named is None else SHARE_OF_FAILED
        is_too_late = due > latest or host.free_seconds > now + (latest - now) * share
        return None if is_too_late else due

    def failed(
        self, address: str, name: int, now: float, *, first_seconds: float
    ) -> None:
        """Make the answers behind this one wait: `first_seconds`, then twice as long.

        To be told when the login is looked at, after `answer_at` and before the answer
        is due.
        """
        if not first_seconds:
            return
        host = self._hosts.find(address) or _Host()
        named = host.failed.pop(name, None) or _Name()
        host.failed[name] = named  # behind those that failed before
        if len(host.failed) > MOST_NAMES:
            host.failed.popitem(last=False)
        due = max(now, host.free_seconds, named.free_seconds)
        named.free_seconds = due + _wait(first_seconds, named.failures)
        named.failures += 1
        named.tried_seconds = now
        wait = _wait(first_seconds, len(host.failed) - 1)
        host.free_seconds = max(now, host.free_seconds) + wait
        self._hosts.keep(address, host)

    def succeeded(self, address: str, name: int) -> None:
        """Let the next failure of this name be a first one.

        What earlier ones have taken up of the address's time stays: who has one
        password may guess another's.
        """
        host = self._hosts.find(address)
        if host is not None:
            host.failed.pop(name, None)


def _forget(failed: dict[int, _Name], now: float) -> None:
    for name, each in list(failed.items()):
        if now > max(each.tried_seconds, each.free_seconds) + FORGET_SECONDS:
            del failed[name]


def _wait(first_seconds: float, doublings: int) -> float:
    # Of doublings past the bound only the first is needed.
    return min(first_seconds * 2.0 ** min(doublings, 64), MOST_SECONDS)


class LogBook:
    """Says which failures are worth a line, so that no address floods the log."""

    def __init__(self) -> None:
        self._logged: _LeastRecent[_Logged] = _LeastRecent()

    def __len__(self) -> int:
        return len(self._logged)

    def line_for(self, address: str, now: float) -> dict[str, str | int] | None:
        """Return the fields that a line begins with, or None: no line now.

        How many had none since the last one is among them.
        """
        logged = self._logged.find(address)
        if logged is not None and now < logged.seconds + LOG_SECONDS:
            logged.unlogged += 1
            return None
        self._logged.keep(address, _Logged(now))
        unlogged = 0 if logged is None else logged.unlogged
        more = {"failures_without_a_line": unlogged} if unlogged else {}
        return {"peer": address, **more}


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
