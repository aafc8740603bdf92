"""What tells one chunk from another, and a chunk from itself when it comes again.

It owns what goes into the digests. Pure: the bytes come as arguments.

A chunk is itself when its sender, tag, name and entries are: Fluent Bit's name is a
hash of the payload alone, and two hosts may share one (protocol facts, 3.4). The
entries are taken after decompression, since gzip's header carries a time.
"""

import hashlib
import struct

import xxhash

from penstock.model import EncodedRows

# Half of SHA-256: two chunks out of 2**40 have one digest with a chance of 2**-49.
IDENTITY_BYTES = 16

_pack_length = struct.Struct(">Q").pack
_pack_part = struct.Struct(">QQ").pack


def chunk_identity(
    *, sender: str, tag: str, chunk: bytes, metadata: bytes | None, entries: bytes
) -> bytes:
    """Return the digest that a message has each time it is sent.

    `chunk` is the chunk's name and `metadata` what stands for every entry's own, both
    as msgpack.

    The entries are in it by their XXH3-128, which is no hash that none can forge. It
    need not be: who would pass one chunk off as another has to give both one name, and
    names are random or, Fluent Bit's, the SHA-512 of the entries. Only the sender, who
    chooses them, can do so, to its own harm. SHA-256 of the entries was a tenth of all
    that receiving costs.
    """
    digest = hashlib.sha256(_pack_length(len(entries)))
    for field in (
        sender.encode(),
        tag.encode(),
        chunk,
        metadata or b"",
        xxhash.xxh3_128_digest(entries),
    ):
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
