"""What was sent, and what its sender may believe of it.

Each sender keeps a ledger of its own; `judge` compares them with the database.
"""

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.torture.event import Kind


class Fate(enum.Enum):
    """What the sender knows of events that it has written."""

    ACKED = "acked"
    # No ack was asked for; but Penstock has closed the connection after it had read it
    # to its end, so it has read them.
    READ = "read"
    # No ack was asked for, and the connection broke: nobody knows what was read.
    UNKNOWN = "unknown"


class Span(NamedTuple):
    """Events with the numbers first <= number < end, and what is known of them when."""

    first: int
    end: int
    fate: Fate
    since_seconds: float  # of the monotonic clock: when the connection was made,
    at_seconds: float  # and when this was known


@dataclass
class Ledger:
    """All that one sender has sent."""

    sender: int
    asks_for_acks: bool
    kinds: bytearray = field(default_factory=bytearray)  # by number
    spans: list[Span] = field(default_factory=list)
    chunks: int = 0
    tries: int = 0  # of chunks, the first included
    sent_again: int = 0  # chunks that were acked already, on purpose
    problems: list[str] = field(default_factory=list)

    def take_number(self, kind: Kind) -> int:
        """Note an event and return its number."""
        self.kinds.append(kind)
        return len(self.kinds) - 1


@dataclass
class Life:
    """One process of Penstock, from its start to its end."""

    number: int
    ready_seconds: float = 0.0
    told_to_stop_seconds: float | None = None
    ended_seconds: float | None = None
    was_killed: bool = False
    # When one of its workers was killed; it goes on.
    worker_kills_seconds: list[float] = field(default_factory=list)


class Scrape(NamedTuple):
    """What the metrics said: when it was asked, of which life."""

    life: int
    at_seconds: float
    ring_events: float
    spooled_events: float
    unaccounted_events: float
