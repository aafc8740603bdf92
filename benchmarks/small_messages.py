"""One event a message, no acks, many connections: Docker's way. How many are stored?

    make bench ARGS="small_messages"

Owns the order: pairs in turn, Message mode (A), the limit of the same rows (B). The
clock stops when each connection's last message, which asks for an ack, has it, and then
all rows are counted. A connection's messages go out some at a time (`frames.py` says
why), every connection in its turn.

Exit codes: 0 measured, 1 something failed, 2 usage, 130 interrupted.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

# Run as a file, Python looks for modules beside it, not in the directory above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import end_to_end, frames, sending
from benchmarks.frames import Form
from benchmarks.question import Place, Question, Result, answer
from benchmarks.report import Sheet, Target
from benchmarks.sending import Amount
from benchmarks.trial import Trial, Way

# The issue's.
EVENTS_TARGET: Final = 250_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be asked for."""
    sending.add_amount(parser, Amount(events=400_000, pairs=3, connections=100))


def measure(options: argparse.Namespace, place: Place) -> Result:
    """Run the pairs, after a run of each side that is not counted."""
    plain = sending.plain_way(options)
    way = Way(
        form=Form("message", acks=False),
        connections=plain.connections,
        server_options=plain.server_options,
    )
    around = Trial(place, sending.mix(options))
    end_to_end.warm_up(around, way)
    pairs, _ = end_to_end.run_pairs(around, way, options.pairs)
    return end_to_end.summary(pairs, []) | {
        "postgresql": around.postgresql,
        "peak_rss_mib": around.peak_rss_mib(),
        "mean_entry_bytes": around.mean_entry_bytes,
        "messages_per_write": frames.MESSAGES_PER_WRITE,
        # What `end_to_end` shows of a way.
        "mode": "message",
        "compression": "off",
        "tls": "off",
        "acks": "off",
        "workers": None,
    }


def sheets(result: Result) -> list[Sheet]:
    """The table of `end_to_end`."""
    return end_to_end.sheets(result)


def targets(result: Result) -> list[Target]:
    """What this was to reach."""
    rate = result["events_per_second"]
    return [
        Target(
            f"Message mode, {result['connections']} connections, stored",
            f"{EVENTS_TARGET:,} events/s",
            f"{rate:,.0f} events/s",
            rate >= EVENTS_TARGET,
        )
    ]


QUESTION: Final = Question(
    name="small_messages",
    asks="Events a second stored of messages with one event each, without acks.",
    add_options=add_options,
    measure=measure,
    sheets=sheets,
    targets=targets,
    draw=end_to_end.draw,
)

if __name__ == "__main__":
    sys.exit(answer(QUESTION))
