"""Events that can be told apart afterwards: numbered, with a checksum of their content.

It owns what an event looks like on the wire, and how it is known again in `logs` and in
`rejected_event`. It must not know how they are sent, nor import anything of penstock.
"""

import enum
import gzip
import hashlib
import random
import re
import struct
import time
from typing import Any, NamedTuple

import msgpack

# Two of a thousand are refused by the table or rejected by the decoder: often enough
# for every batch of some size to meet one, seldom enough for batches to be of use.
POISON_SHARE = 0.001
NOT_A_MAP_SHARE = 0.001
# Of messages that ask for an ack: their whole payload is no gzip though it begins so.
GARBAGE_SHARE = 0.002
OLD_SHARE = 0.002  # events of another day, which need a partition of their own
DAY_SECONDS = 86_400
FILLER = "GET /api/v1/items?page=2 HTTP/1.1 200 12ms "
CHECKSUM_DIGITS = 12
GZIP_MAGIC = b"\x1f\x8b"

# What the table's user forbids; PostgreSQL refuses such rows.
NO_POISON = (
    "ALTER TABLE logs ADD CONSTRAINT no_poison CHECK (message NOT LIKE 'poison %')"
)

_NAME = re.compile(r"(?:poison |not a map |garbage )?(\d+):(\d+) ")


class Kind(enum.IntEnum):
    """What becomes of an event."""

    ROW = 0
    POISON = 1  # refused by PostgreSQL
    REJECTED = 2  # by the decoder


class Name(NamedTuple):
    """Which event it is: of which sender, and its number there."""

    sender: int
    number: int


class Event(NamedTuple):
    """An event as its sender made it."""

    kind: Kind
    entry: bytes


def draw_event(rng: random.Random, sender: int, number: int) -> Event:
    """Make an event; what kind it is, how long and how old, is left to chance."""
    chance = rng.random()
    filler = FILLER * rng.randint(1, 10)
    at = time.time() - (DAY_SECONDS * rng.randint(1, 3)) * (rng.random() < OLD_SHARE)
    seconds, nanoseconds = int(at), rng.randrange(10**9)
    moment: Any = msgpack.ExtType(0, struct.pack(">II", seconds, nanoseconds))
    if rng.random() < 0.3:
        moment = seconds
    if chance < NOT_A_MAP_SHARE:
        text = f"not a map {sender}:{number} {filler}"
        return Event(Kind.REJECTED, msgpack.packb([moment, text]))
    kind = Kind.POISON if chance < NOT_A_MAP_SHARE + POISON_SHARE else Kind.ROW
    text = f"{'poison ' if kind is Kind.POISON else ''}{sender}:{number} {filler}"
    record = {"s": sender, "q": number, "c": checksum(text), "message": text}
    return Event(kind, msgpack.packb([moment, record]))


def garbage(sender: int, number: int) -> bytes:
    """Make a payload that says it is gzip and is not; it counts as one event."""
    return GZIP_MAGIC + f"garbage {sender}:{number} ".encode()


def compressed(rng: random.Random, entries: bytes) -> bytes:
    """Compress as Fluentd does, with a time in the header: no two tries are alike."""
    return gzip.compress(entries, compresslevel=1, mtime=rng.randrange(1 << 31))


def checksum(text: str) -> str:
    """Return what tells a damaged message; PostgreSQL can compute it too."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[
        :CHECKSUM_DIGITS
    ]


def name_of_rejected(raw: bytes) -> Name | None:
    """Tell which event a row of `rejected_event` is; None if it is none of ours."""
    if raw.startswith(GZIP_MAGIC):
        return _name_in(raw[len(GZIP_MAGIC) :].decode(errors="replace"))
    entry = msgpack.unpackb(raw)
    body = entry[1]
    if not isinstance(body, dict):
        return _name_in(str(body))
    if body["c"] != checksum(body["message"]):
        return None
    return Name(body["s"], body["q"])


def _name_in(text: str) -> Name | None:
    found = _NAME.match(text)
    return Name(int(found[1]), int(found[2])) if found else None
