"""Seeded log records, packed as the entries of PackedForward.

Owns what the benchmarks send: the mix of an ordinary fleet (nginx, JSON
applications, Java stack traces, Kubernetes metadata), about 300 bytes an entry. No
clock, no socket: the same seed and `now_ns` give the same bytes on every machine.
All kinds are mixed inside each chunk, which suits an encoder least: nothing can be
learnt from one record for the next.
"""

import argparse
import random
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgpack

from benchmarks import vocabulary as words
from benchmarks.shapes import SHAPES, Record

Kinds = dict[Callable[[random.Random, int], Record], int]

# The name of the mix below, beside those of `shapes`.
USUAL: Final = "usual"

HOUR_NS: Final = 3_600 * 10**9

# A run repeats this many distinct records: more than the processor's caches hold, so
# that no side profits from repetition, and still generated in a few seconds.
DISTINCT_EVENTS: Final = 240_000

# What the targets are quoted for ("about 300 bytes"); a mix that leaves this range
# would not be comparable with the figures published for earlier versions.
MEAN_ENTRY_BYTES: Final = range(270, 331)
# Fewer entries than this are a sample, whose mean says little.
ENTRIES_FOR_A_MEAN: Final = 2_000

# An entry is [EventTime, record]; EventTime is fixext 8 of type 0 with big-endian
# seconds and nanoseconds (forward protocol specification v1, "EventTime Ext Format").
_ENTRY_HEAD: Final = struct.Struct(">BBBII")


@dataclass(frozen=True, slots=True)
class Chunk:
    """The packed entries of one PackedForward message, without its envelope."""

    tag: str
    events: int
    entries: bytes


@dataclass(frozen=True, slots=True)
class Mix:
    """How much to make, and from what."""

    events: int
    chunk_events: int
    seed: int
    now_ns: int
    distinct_events: int = DISTINCT_EVENTS
    kinds: str = USUAL


def workload(mix: Mix) -> list[Chunk]:
    """Make chunks of `mix.events` events in all; repeated ones share their bytes."""
    kinds = KINDS if mix.kinds == USUAL else SHAPES[mix.kinds]
    full, rest = divmod(mix.events, mix.chunk_events)
    distinct = max(1, min(full, mix.distinct_events // mix.chunk_events))
    rng = random.Random(mix.seed)
    step_ns = HOUR_NS // max(1, min(mix.events, distinct * mix.chunk_events))
    clock_ns = mix.now_ns - HOUR_NS
    pool = []
    for index in range(distinct):
        size = mix.chunk_events if full else rest
        pool.append(_chunk(rng, index, size, (clock_ns, step_ns), kinds))
        clock_ns += size * step_ns
    chunks = [pool[index % distinct] for index in range(full)] or pool
    if full and rest:
        chunks.append(_chunk(rng, full, rest, (mix.now_ns - HOUR_NS, step_ns), kinds))
    if mix.kinds == USUAL:
        _check_mean(chunks)
    return chunks


def mean_entry_bytes(chunks: list[Chunk]) -> float:
    """Bytes of an entry on the wire, on average."""
    return sum(len(c.entries) for c in chunks) / sum(c.events for c in chunks)


def _check_mean(chunks: list[Chunk]) -> None:
    if sum(chunk.events for chunk in chunks) >= ENTRIES_FOR_A_MEAN:
        mean = mean_entry_bytes(chunks)
        assert round(mean) in MEAN_ENTRY_BYTES, f"mean entry is {mean:.0f} bytes"


def _chunk(
    rng: random.Random, index: int, events: int, clock: tuple[int, int], kinds: Kinds
) -> Chunk:
    start_ns, step_ns = clock
    pack = msgpack.Packer(use_bin_type=True).pack
    makers = rng.choices(list(kinds), weights=list(kinds.values()), k=events)
    parts = []
    for position, make in enumerate(makers):
        # Ascending with jitter, as a tailed file is: within a step, never in the
        # future of `now_ns`.
        at_ns = start_ns + position * step_ns + rng.randrange(step_ns)
        seconds, nanoseconds = divmod(at_ns, 10**9)
        parts.append(_ENTRY_HEAD.pack(0x92, 0xD7, 0x00, seconds, nanoseconds))
        parts.append(pack(make(rng, seconds)))
    tag = f"bench.{words.HOSTS[index % len(words.HOSTS)]}"
    return Chunk(tag, events, b"".join(parts))


def _hex(rng: random.Random, digits: int) -> str:
    return f"{rng.getrandbits(4 * digits):0{digits}x}"


def _address(rng: random.Random) -> str:
    a, b, c, d = rng.getrandbits(32).to_bytes(4, "big")
    return f"{a or 1}.{b}.{c}.{d}"


def _path(rng: random.Random) -> str:
    return rng.choice(words.PATHS).replace("{}", str(rng.randrange(10**6)))


def _stamp(seconds: int, form: str) -> str:
    return time.strftime(form, time.gmtime(seconds))


def nginx_parsed(rng: random.Random, seconds: int) -> Record:
    """An access line split by Fluent Bit's `nginx` parser: every value a string."""
    return {
        "remote": _address(rng),
        "host": "-",
        "user": "-",
        "method": rng.choice(words.METHODS),
        "path": _path(rng),
        "code": rng.choice(words.STATUSES),
        "size": str(rng.randrange(200, 60_000)),
        "referer": rng.choice(words.REFERERS),
        "agent": rng.choice(words.AGENTS),
    }


def nginx_docker(rng: random.Random, seconds: int) -> Record:
    """An access line as it is, with the keys Docker's fluentd log driver adds."""
    stamp = _stamp(seconds, "%d/%b/%Y:%H:%M:%S +0000")
    line = (
        f'{_address(rng)} - - [{stamp}] "{rng.choice(words.METHODS)} {_path(rng)} '
        f'HTTP/1.1" {rng.choice(words.STATUSES)} {rng.randrange(200, 60_000)} '
        f'"{rng.choice(words.REFERERS)}" "{rng.choice(words.AGENTS)}"'
    )
    container = rng.choice(words.CONTAINERS)
    return {
        "container_id": container.docker_id,
        "container_name": f"/{container.name}",
        "source": "stdout",
        "log": line,
    }


def application(rng: random.Random, seconds: int) -> Record:
    """A JSON application log: level, service, trace, duration, nested http object."""
    status = int(rng.choice(words.STATUSES))
    level = "error" if status >= 500 else rng.choice(words.LEVELS)
    record: Record = {
        "level": level,
        "service": rng.choice(words.SERVICES),
        "message": rng.choice(words.MESSAGES).replace("{}", _hex(rng, 8)),
        "trace_id": _hex(rng, 32),
        "span_id": _hex(rng, 16),
        "duration_ms": round(rng.expovariate(1 / 40), 3),
        "http": {
            "method": rng.choice(words.METHODS),
            "path": _path(rng),
            "status": status,
            "bytes": rng.randrange(200, 60_000),
        },
        "user_id": rng.randrange(10**7),
        "cache_hit": rng.random() < 0.7,
    }
    if level == "error":
        record["error"] = None if rng.random() < 0.5 else "upstream timed out"
    return record


def java_trace(rng: random.Random, seconds: int) -> Record:
    """A Java exception as logstash-logback-encoder writes it, on many lines."""
    cause = rng.choice(words.EXCEPTIONS)
    frames = "\n\tat ".join(rng.choices(words.JAVA_FRAMES, k=rng.randrange(6, 15)))
    trace = f"{cause}\n\tat {frames}\n"
    if rng.random() < 0.5:
        inner = "\n\tat ".join(rng.choices(words.JAVA_FRAMES, k=4))
        trace += f"Caused by: {rng.choice(words.EXCEPTIONS)}\n\tat {inner}\n"
        trace += "\t... 42 common frames omitted\n"
    return {
        "@timestamp": _stamp(seconds, "%Y-%m-%dT%H:%M:%S.000Z"),
        "@version": "1",
        "message": cause,
        "logger_name": "com.example.orders.OrderService",
        "thread_name": f"http-nio-8080-exec-{rng.randrange(1, 200)}",
        "level": "ERROR",
        "level_value": 40_000,
        "stack_trace": trace,
    }


def kubernetes(rng: random.Random, seconds: int) -> Record:
    """A container line with what Fluent Bit's `kubernetes` filter adds to it."""
    container = rng.choice(words.CONTAINERS)
    stamp = _stamp(seconds, "%Y-%m-%dT%H:%M:%S")
    return {
        "time": f"{stamp}.{rng.randrange(10**9):09d}Z",
        "stream": "stdout" if rng.random() < 0.8 else "stderr",
        "_p": "F",
        "log": rng.choice(words.MESSAGES).replace("{}", _hex(rng, 8)),
        "kubernetes": container.metadata,
    }


# Weights are events in a hundred. They are chosen so that the mean entry is about 300
# bytes: many short lines, few long ones, as fleets have them.
KINDS: Final[Kinds] = {
    nginx_parsed: 37,
    nginx_docker: 11,
    application: 40,
    java_trace: 2,
    kubernetes: 10,
}


NAMES: Final = (USUAL, *SHAPES)


def main() -> None:
    """Print what the mix is made of."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started = time.perf_counter()
    mix = Mix(options.events, 2_000, options.seed, time.time_ns())
    chunks = workload(mix)
    seconds = time.perf_counter() - started
    say = sys.stdout.write
    say(f"{options.events:,} events in {len(chunks):,} chunks, {seconds:.2f} s\n")
    say(f"mean entry {mean_entry_bytes(chunks):.1f} bytes\n")
    rng = random.Random(options.seed)
    for make, weight in KINDS.items():
        sample = [make(rng, mix.now_ns // 10**9) for _ in range(500)]
        mean = _ENTRY_HEAD.size + sum(len(msgpack.packb(r)) for r in sample) / 500
        say(f"  {make.__name__:<14}{weight:>3} %{mean:>8.0f} bytes\n")


if __name__ == "__main__":
    main()
