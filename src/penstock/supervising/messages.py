"""What the parent and a worker say to each other.

It owns the words and how they are written. Sockets go beside a message, in the order in
which it names their places.
"""

import pickle
from typing import Any, NamedTuple

import msgspec

from penstock.live.feed import Reason
from penstock.model import Receipt, Submission
from penstock.settings import Settings
from penstock.telemetry.workers import Family


class GivenPlace(NamedTuple):
    """A place, and how many sockets of it come beside the message."""

    number: int
    key: tuple[str, int, str]
    sockets: int
    heartbeats: int


class Look(msgspec.Struct, tag=True):
    """To a worker: say which rows of those that are committed are wanted; and begin."""

    number: int  # of the reader
    wanted: bytes


class LookNoMore(msgspec.Struct, tag=True):
    """To a worker: this reader has gone."""

    number: int


class Begin(msgspec.Struct, tag=True):
    """To a worker: be this one, with these settings; its share is taken from them."""

    worker: int
    workers: int
    settings: bytes
    spool_dir: str
    places: list[GivenPlace]
    looks: list[Look]


class Reload(msgspec.Struct, tag=True):
    """To a worker: be as newly set, on these places."""

    settings: bytes
    places: list[GivenPlace]


class Ask(msgspec.Struct, tag=True):
    """To a worker: report."""


class Stop(msgspec.Struct, tag=True):
    """To a worker: commit what there is, and end."""


class Hurry(msgspec.Struct, tag=True):
    """To a worker that stops: somebody does not want to wait."""


class Submit(msgspec.Struct, tag=True):
    """To a worker: store this message, and say when it is committed."""

    number: int  # of the answer
    submission: Submission


class SubmitNoMore(msgspec.Struct, tag=True):
    """To a worker: nobody waits for this message any more."""

    number: int


class Ready(msgspec.Struct, tag=True):
    """To the parent: senders can connect."""


class Failed(msgspec.Struct, tag=True):
    """To the parent: it does not start, for these reasons."""

    exit_code: int
    problems: tuple[str, ...]


class Report(msgspec.Struct, tag=True):
    """To the parent: how it is."""

    families: list[Family]
    unready_reasons: list[str]
    is_storing: bool


class Reloaded(msgspec.Struct, tag=True):
    """To the parent: it is as newly set; if there are problems, as before."""

    problems: tuple[str, ...]


class Ended(msgspec.Struct, tag=True):
    """To the parent: it has stopped; the last report."""

    was_clean: bool
    report: Report


class Settled(msgspec.Struct, tag=True):
    """To the parent: a message is committed; or that is not known, and why."""

    number: int
    receipt: Receipt | None
    problem: str = ""


class Looking(msgspec.Struct, tag=True):
    """To the parent: what is committed from now on is looked at for this reader."""

    number: int


class SeenItem(NamedTuple):
    """A row's id and JSON; or how many rows were missed, and why."""

    number: int
    json: bytes
    missed: Reason | None


class Seen(msgspec.Struct, tag=True):
    """To the parent: what is a reader's of what was committed."""

    number: int  # of the reader
    items: list[SeenItem]


ToWorker = (
    Begin | Reload | Ask | Submit | SubmitNoMore | Look | LookNoMore | Stop | Hurry
)
ToParent = Ready | Failed | Report | Reloaded | Settled | Looking | Seen | Ended

_to_worker: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(ToWorker)
_to_parent: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(ToParent)


def encode(message: ToWorker | ToParent) -> bytes:
    """Write a message."""
    return msgspec.msgpack.encode(message)


def read_by_worker(data: bytes) -> ToWorker:
    """Read what the parent has written."""
    message: ToWorker = _to_worker.decode(data)
    return message


def read_by_parent(data: bytes) -> ToParent:
    """Read what a worker has written."""
    message: ToParent = _to_parent.decode(data)
    return message


def packed_settings(settings: Settings) -> bytes:
    """Write settings for a worker.

    As a pickle, which keeps a path of bytes that are no UTF-8; only a worker reads
    one, and only its parent's.
    """
    return pickle.dumps(settings)


def unpacked_settings(data: bytes) -> Settings:
    """Read the settings that the parent has written."""
    settings = pickle.loads(data)
    assert isinstance(settings, Settings)
    return settings
