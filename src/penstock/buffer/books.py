"""The books: where each event that was received is now. Pure.

It owns the sum that must be zero (design, promise 4): received = stored + duplicate +
rejected + spooled + buffered, where what a writer has in hand counts as buffered. It
must not decide anything.
"""

from dataclasses import dataclass

from penstock.model import Outcome


@dataclass(slots=True)
class Books:
    """Events by what became of them, since this process began."""

    received: int = 0
    recovered: int = 0  # found in the spool at the start
    stored: int = 0
    duplicate: int = 0
    rejected: int = 0
    spooled: int = 0  # in the spool now, and not in the ring
    lost_on_disk: int = 0  # in a damaged record of the spool

    def settled(self, outcome: Outcome) -> None:
        """Note what became of a batch that is committed."""
        self.stored += outcome.stored_events
        self.duplicate += outcome.duplicate_events
        self.rejected += outcome.rejected_events + outcome.refused_events

    def unaccounted(self, buffered: int) -> int:
        """Return how many events are missing; `buffered` are those of the ring."""
        settled = self.stored + self.duplicate + self.rejected + self.lost_on_disk
        return self.received + self.recovered - settled - self.spooled - buffered
