"""Which acks of one connection its sender has read, as far as that can be known.

It owns the one exception to "what comes again is not stored again": Fluent Bit, whose
names for chunks are hashes of their bytes, waits for each ack before it goes on to
write something else on the same connection. The same chunk behind that is no resend but
new events that happen to be equal (protocol facts, 3.4). Pure: times and numbers come
as arguments.
"""

import hashlib
import struct
from collections import OrderedDict

# The last ones of a connection: equal chunks follow each other within seconds.
MOST_CHUNKS = 32

_pack_moment = struct.Struct(">QQQ").pack


class AckedChunks:
    """The chunks of one connection whose acks were written."""

    __slots__ = ("_acked", "_begun", "_renamed")

    def __init__(self) -> None:
        self._begun = 0  # messages, this one included
        # By identity: how many messages had begun when the ack was written.
        self._acked: OrderedDict[bytes, int] = OrderedDict()
        self._renamed: dict[bytes, bytes] = {}  # the identity that it came with

    def began(self) -> None:
        """Count a message, whatever it asks for."""
        self._begun += 1

    def wrote_ack(self, identity: bytes) -> None:
        """Note that the ack of this chunk was written."""
        identity = self._renamed.pop(identity, identity)
        self._acked[identity] = self._begun
        self._acked.move_to_end(identity)
        if len(self._acked) > MOST_CHUNKS:
            self._acked.popitem(last=False)

    def told_apart(self, identity: bytes, *, source: int, now_ns: int) -> bytes:
        """Return the identity of the message that has just begun.

        Its own, or another that nobody has had if it is no resend: its ack has been
        read. Where that second one is lost and comes again, it is taken for the first.
        """
        acked_at = self._acked.get(identity)
        # One more than then is this message itself.
        if acked_at is None or self._begun <= acked_at + 1:
            return identity
        moment = _pack_moment(now_ns, source, self._begun)
        renamed = hashlib.sha256(identity + moment).digest()[: len(identity)]
        self._renamed[renamed] = identity
        return renamed
