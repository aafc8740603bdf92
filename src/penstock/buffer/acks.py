"""Acks: which are due, first in first out for each connection.

Last in the flow before the socket. A message is acked when all its segments are
committed and so are all messages before it that ask for an ack: clients that
pipeline expect that order (protocol facts, 3.3). It must not write to a socket.
"""

from collections import deque

from penstock.model import Batch, Delivery


class AckTracker:
    """The acks one connection is owed."""

    __slots__ = ("__weakref__", "_pending")

    def __init__(self) -> None:
        # Made when it is needed: a deque takes 600 bytes of each idle connection.
        self._pending: deque[Delivery] | None = None

    @property
    def pending(self) -> int:
        """Count the messages that wait for their ack."""
        return len(self._pending) if self._pending else 0

    @property
    def oldest_seconds(self) -> float:
        """Return when the message came that has waited longest for its ack."""
        assert self._pending, "none is pending"
        return self._pending[0].received_seconds

    def expect(self, delivery: Delivery) -> None:
        """Remember a message that asks for an ack, in the order of its arrival."""
        if delivery.ack is None:
            return
        if self._pending is None:
            self._pending = deque()
        self._pending.append(delivery)

    def due(self) -> list[Delivery]:
        """Return the messages whose acks may be written now, oldest first."""
        due: list[Delivery] = []
        pending = self._pending
        if pending is None:
            return due
        while pending and pending[0].is_settled:
            due.append(pending.popleft())
        if not pending:
            self._pending = None
        return due


def settle(batch: Batch) -> None:
    """Mark the segments of a committed batch, and tell messages that are whole."""
    for segment in batch.segments:
        delivery = segment.delivery
        delivery.pending_segments -= 1
        if segment.is_duplicate:
            delivery.duplicate_events += segment.events
        elif segment.encoded.rejected or segment.refused_events:
            delivery.rejected_events += (
                len(segment.encoded.rejected) + segment.refused_events
            )
        if delivery.is_settled:
            delivery.on_settled(delivery)
