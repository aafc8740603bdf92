"""Acks: which are due, first in first out for each connection.

Last in the flow before the socket. A message is acked when all its segments are
committed and so are all messages before it that ask for an ack: clients that
pipeline expect that order (protocol facts, 3.3). It must not write to a socket.
"""

from collections import deque

from penstock.model import Batch, Delivery


class AckTracker:
    """The acks one connection is owed."""

    def __init__(self) -> None:
        self._pending: deque[Delivery] = deque()

    @property
    def pending(self) -> int:
        """Count the messages that wait for their ack."""
        return len(self._pending)

    @property
    def oldest_seconds(self) -> float:
        """Return when the message came that has waited longest for its ack."""
        return self._pending[0].received_seconds

    def expect(self, delivery: Delivery) -> None:
        """Remember a message that asks for an ack, in the order of its arrival."""
        if delivery.ack is not None:
            self._pending.append(delivery)

    def due(self) -> list[Delivery]:
        """Return the messages whose acks may be written now, oldest first."""
        due: list[Delivery] = []
        while self._pending and self._pending[0].is_settled:
            due.append(self._pending.popleft())
        return due


def settle(batch: Batch) -> None:
    """Mark the segments of a committed batch, and tell messages that are whole."""
    for segment in batch.segments:
        delivery = segment.delivery
        delivery.pending_segments -= 1
        if delivery.is_settled:
            delivery.on_settled(delivery)
