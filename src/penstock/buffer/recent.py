"""Chunks this process has handled of late: a resend of one is known without PostgreSQL.

It owns which chunks are on their way and which are stored, as far back as it remembers.
It is no promise, that is `ingest_chunk`: it spares the ring a second copy while the
database is away, and a sender the wait where the database is slow. Pure.
"""

from dataclasses import dataclass, field

from penstock.model import Delivery, SourceId

# Some 200 bytes each: what ten senders a second send again within 15 minutes.
REMEMBERED_CHUNKS = 8192


@dataclass(slots=True, eq=False)
class RecentChunk:
    """A chunk of which all has been handed to the ring, or is stored."""

    events: int
    is_stored: bool = False
    # The deliveries of its resends, in their order.
    waiting: dict[Delivery, None] = field(default_factory=dict)


class RecentChunks:
    """The chunks of late, by their identity."""

    def __init__(self, *, max_chunks: int = REMEMBERED_CHUNKS) -> None:
        self._max_chunks = max_chunks
        self._on_their_way: dict[bytes, RecentChunk] = {}
        self._stored: dict[bytes, RecentChunk] = {}  # the oldest first
        # Which chunks each source's deliveries wait for.
        self._joined: dict[SourceId, dict[Delivery, RecentChunk]] = {}

    def find(self, identity: bytes | None) -> RecentChunk | None:
        """Return what is known of a chunk."""
        if identity is None:
            return None
        return self._on_their_way.get(identity) or self._stored.get(identity)

    def handed_over(self, delivery: Delivery, events: int) -> None:
        """Be told that all of a chunk is in the ring."""
        if delivery.identity is not None:
            self._on_their_way.setdefault(delivery.identity, RecentChunk(events))

    def join(self, chunk: RecentChunk, delivery: Delivery) -> None:
        """Let a resend of a chunk that is on its way be settled with it."""
        delivery.pending_segments += 1
        chunk.waiting[delivery] = None
        self._joined.setdefault(delivery.source, {})[delivery] = chunk

    def leave(self, source: SourceId) -> None:
        """Forget the resends that came by a connection which is lost.

        Each try of a sender makes one, over and over while the database is away.
        """
        for delivery, chunk in self._joined.pop(source, {}).items():
            chunk.waiting.pop(delivery, None)

    def stored(self, delivery: Delivery) -> None:
        """Be told that all of a chunk is stored, and settle the resends with it."""
        if delivery.identity is None:
            return
        chunk = self._on_their_way.pop(delivery.identity, None)
        if chunk is None:  # its twin was first
            return
        chunk.is_stored = True
        self._stored[delivery.identity] = chunk
        if len(self._stored) > self._max_chunks:
            self._stored.pop(next(iter(self._stored)))
        waiting, chunk.waiting = chunk.waiting, {}
        for resend in waiting:
            joined = self._joined[resend.source]
            del joined[resend]
            if not joined:
                del self._joined[resend.source]
        # Only now: who is told may leave.
        for resend in waiting:
            resend.pending_segments -= 1
            if resend.is_settled:
                resend.on_settled(resend)
