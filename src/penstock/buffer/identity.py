"""What tells one chunk from another, and a chunk from itself when it comes again.

It owns what goes into the digests. Pure: the bytes come as arguments.

A chunk is itself when its sender, tag, name and entries are: Fluent Bit's name is a
hash of the payload alone, and two hosts may share one (protocol facts, 3.4). The
entries are taken after decompression, since gzip's header carries a time.
"""

import hashlib
import struct

from penstock.model import EncodedRows

# Half of SHA-256, which processors have instructions for: two chunks out of 2**40 have
# one digest with a chance of 2**-49, and none can be made on purpose.
IDENTITY_BYTES = 16

_pack_length = struct.Struct(">Q").pack
_pack_part = struct.Struct(">QQ").pack


def chunk_identity(
    *, sender: str, tag: str, chunk: bytes, metadata: bytes | None, entries: bytes
) -> bytes:
    """Return the digest that a message has each time it is sent.

    `chunk` is the chunk's name and `metadata` what stands for every entry's own, both
    as msgpack.
    """
    digest = hashlib.sha256()
    for field in (sender.encode(), tag.encode(), chunk, metadata or b"", entries):
        digest.update(_pack_length(len(field)))
        digest.update(field)
    return digest.digest()[:IDENTITY_BYTES]


def part_claim(identity: bytes, part: EncodedRows) -> bytes:
    """Return what a part of a message is claimed by.

    Where it begins and how many events it has are in it: were a later version to cut
    parts elsewhere, a resend would be stored twice rather than a part of it never.
    """
    events = part.rows + len(part.rejected)
    digest = hashlib.sha256(identity + _pack_part(part.offset, events))
    return digest.digest()[:IDENTITY_BYTES]
