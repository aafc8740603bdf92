"""Recordings of what senders put on a connection, with what is to come of them.

`RECORDINGS` is `recordings.json`, read. The same expectations hold for the pure core
and for a server on a socket: the rows in this order, the acks to the byte and in this
order, what is rejected with its reason and its bytes.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Recording:
    """One connection's bytes.

    `rows` are as `tests.pure_core.written_row` writes them: columns that are null are
    left out, `ts` is RFC 3339 with microseconds. `rejected` are reasons and msgpack.
    """

    name: str
    source: str
    data: bytes
    rows: list[dict[str, Any]]
    acks: list[bytes]
    rejected: list[tuple[str, bytes]]


def load(path: Path) -> list[Recording]:
    """Read recordings from a file that `make_recordings` has written."""
    return [
        Recording(
            name=each["name"],
            source=each["source"],
            data=bytes.fromhex(each["hex"]),
            rows=each["rows"],
            acks=[bytes.fromhex(ack) for ack in each["acks"]],
            rejected=[
                (event["reason"], bytes.fromhex(event["hex"]))
                for event in each["rejected"]
            ],
        )
        for each in json.loads(path.read_text())
    ]


RECORDINGS = load(Path(__file__).with_name("recordings.json"))
