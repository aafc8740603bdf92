"""Options that several benchmarks have in common: which records, and how they are sent.

Owns their names and defaults, and turns them into a Mix and a Way.
"""

import argparse
import time
from dataclasses import dataclass
from typing import Final

from benchmarks import frames, records
from benchmarks.frames import Form
from benchmarks.question import positive
from benchmarks.records import Mix
from benchmarks.server import has_setting
from benchmarks.stage import StageError
from benchmarks.trial import TLS_VERSIONS, Way


@dataclass(frozen=True, slots=True)
class Amount:
    """The defaults that differ from one benchmark to the next."""

    events: int
    pairs: int
    connections: int = 4
    window: int = 2
    chunk_events: int = 2_000


ON_OFF: Final = ("on", "off")


def add_amount(parser: argparse.ArgumentParser, amount: Amount) -> None:
    """Add the options that say how much is sent, and of what."""
    add = parser.add_argument
    add("--events", type=positive, default=amount.events, help="events of each run")
    add("--pairs", type=positive, default=amount.pairs, help="runs of a side, in turn")
    add("--connections", type=positive, default=amount.connections,
        help="connections of the sender")  # fmt: skip
    add("--window", type=positive, default=amount.window,
        help="unacked chunks on each")  # fmt: skip
    add("--chunk-events", type=positive, default=amount.chunk_events,
        help="events of a chunk")  # fmt: skip
    add("--records", choices=records.NAMES, default=records.USUAL, help="what is sent")
    add("--seed", type=int, default=1, help="of the records")
    add("--writers", type=positive, help="of the server; its own default if left out")
    add("--server-option", action="append", default=[], metavar="--NAME=VALUE",
        help="passed to `penstock serve` as it is; repeatable")  # fmt: skip


def add_form(parser: argparse.ArgumentParser) -> None:
    """Add the options that say in which way it is sent."""
    add = parser.add_argument
    add("--mode", choices=frames.MODES, default=frames.MODES[0], help="carrier mode")
    add("--compression", choices=frames.COMPRESSIONS, default="off",
        help="of PackedForward")  # fmt: skip
    add("--tls", choices=("off", *TLS_VERSIONS), default="off", help="its version")
    add("--acks", choices=ON_OFF, default="on", help="whether senders ask for them")
    add("--workers", type=positive, help="of the server; its own default if left out")


def mix(options: argparse.Namespace, now_ns: int | None = None) -> Mix:
    """The records that the options ask for; they end now unless said otherwise."""
    return Mix(
        options.events,
        options.chunk_events,
        options.seed,
        time.time_ns() if now_ns is None else now_ns,
        kinds=options.records,
    )


def plain_way(options: argparse.Namespace) -> Way:
    """PackedForward with acks, as much at once as the options say."""
    arguments = [f"--writers={options.writers}"] if options.writers else []
    return Way(
        connections=options.connections,
        window=options.window,
        server_options=(*arguments, *options.server_option),
    )


def way(options: argparse.Namespace) -> Way:
    """The way to send that the options ask for.

    Raises:
        StageError: this Penstock has no workers, or the mode no compression.
    """
    if options.workers and not has_setting("workers"):
        raise StageError("this Penstock has no setting `workers`")
    if options.compression != "off" and options.mode != "packed_forward":
        raise StageError("only PackedForward is compressed")
    plain = plain_way(options)
    return Way(
        form=Form(options.mode, options.compression, options.acks == "on"),
        tls=options.tls,
        workers=options.workers,
        connections=plain.connections,
        window=plain.window,
        server_options=plain.server_options,
    )
