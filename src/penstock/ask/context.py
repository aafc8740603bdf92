"""What the model is told of this database: what names are in use, and what time it is.

It owns what is read for that and how much of it is told. Keys, services, hosts and tags
come from whoever sends logs, and the examples from whoever saved one: they are data, in
JSON that cannot be ended from within, each short, and without a character that is not
for reading. No row of a log, no message and no value of an attribute is among it.
"""

import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from penstock.postgres.blocks import read_blocks

# A name that is longer is no name of a service, and one that is cut matches nothing:
# such are left out. context.sql leaves them out too.
MAX_NAME_CHARACTERS = 80
# Most installations have fewer of each; of the others the frequent ones are told.
MAX_KEYS = 60
MAX_VALUES = {"level": 6, "service": 40, "host": 20, "tag": 20}
MAX_EXAMPLES = 8
MAX_EXAMPLE_CHARACTERS = 2_000
# Together some 8,000 tokens. The parts that are least needed are left out first.
MAX_DATA_BYTES = 24_000

# What a terminal or a model reads otherwise than it stands there: controls, characters
# that turn the direction of writing or show nothing, halves of surrogate pairs.
_NOT_FOR_READING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


class Reads(Protocol):
    """Of a reading session, what is needed here."""

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> Any:
        """Return what has `rows`."""


class SeenKey(NamedTuple):
    """A key of `attributes`, as a path, and the types that were seen there."""

    path: tuple[str, ...]
    types: tuple[str, ...]


class Example(NamedTuple):
    """A question that somebody has saved with its SQL."""

    question: str
    sql: str


@dataclass(frozen=True, slots=True)
class Context:
    """What is told of a database; `left_out` counts what there was no room for."""

    keys: tuple[SeenKey, ...] = ()
    levels: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    left_out: int = 0


async def read_context(
    session: Reads, now: datetime, examples: Iterable[Example] = ()
) -> Context:
    """Look what was seen lately. Reads some thousand rows at most."""
    blocks = read_blocks("penstock.ask", "context")
    values = await session.fetch(blocks["values"], (now,))
    keys = await session.fetch(blocks["keys"], (now,))
    return gathered(values.rows, keys.rows, examples)


def gathered(
    values: Iterable[Sequence[Any]],
    keys: Iterable[Sequence[Any]],
    examples: Iterable[Example] = (),
) -> Context:
    """Return a context of what context.sql returns, within its bounds."""
    seen: dict[str, list[str]] = {kind: [] for kind in MAX_VALUES}
    left_out = 0
    for kind, value, _ in values:
        if is_readable(value) and len(seen[kind]) < MAX_VALUES[kind]:
            seen[kind].append(value)
        else:
            left_out += 1
    types: dict[tuple[str, ...], list[str]] = {}
    for path_json, type_name, _ in keys:
        path = tuple(json.loads(path_json))
        if all(map(is_readable, path)) and (path in types or len(types) < MAX_KEYS):
            types.setdefault(path, []).append(type_name)
        else:
            left_out += 1
    return Context(
        keys=tuple(SeenKey(path, tuple(found)) for path, found in types.items()),
        levels=tuple(seen["level"]),
        services=tuple(seen["service"]),
        hosts=tuple(seen["host"]),
        tags=tuple(seen["tag"]),
        examples=tuple(_kept(examples)),
        left_out=left_out,
    )


def data_block(context: Context) -> str:
    """Return the context as JSON, within MAX_DATA_BYTES."""
    parts: dict[str, list[Any]] = {
        "levels": list(context.levels),
        "services": list(context.services),
        "attribute_keys": [
            {"path": list(key.path), "types": list(key.types)} for key in context.keys
        ],
        "saved_examples": [each._asdict() for each in context.examples],
        "hosts": list(context.hosts),
        "tags": list(context.tags),
    }
    text = as_data(parts)
    # Halves, the last parts first: tags and hosts are asked for least.
    for name in reversed(list(parts)):
        while len(text.encode()) > MAX_DATA_BYTES and parts[name]:
            parts[name] = parts[name][: len(parts[name]) // 2]
            text = as_data(parts)
    return text


def as_data(value: Any) -> str:
    """Return JSON in which no tag can begin or end, and every character is for reading.

    JSON's own escapes stand for what is not: to the model it is the same text.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return "".join(
        f"\\u{ord(each):04x}" if each in "<>&" else each for each in map(_escaped, text)
    )


def is_readable(text: str) -> bool:
    """Tell whether a name is short and all of it can be seen."""
    return 0 < len(text) <= MAX_NAME_CHARACTERS and not any(
        unicodedata.category(each) in _NOT_FOR_READING for each in text
    )


def readable(text: str, max_characters: int) -> str:
    """Return a text of somebody's as it can be shown: on one line, seen, cut."""
    plain = "".join(
        " " if unicodedata.category(each) in _NOT_FOR_READING else each for each in text
    )
    plain = " ".join(plain.split())
    if len(plain) <= max_characters:
        return plain
    return plain[: max_characters - 1] + "\N{HORIZONTAL ELLIPSIS}"


def local_time(now: datetime, time_zone: str) -> str:
    """Return a moment in a time zone and in UTC, with the day of the week."""
    local = now.astimezone(ZoneInfo(time_zone))
    utc = now.astimezone(ZoneInfo("UTC"))
    return f"{local:%A %Y-%m-%d %H:%M:%S %z} ({time_zone}), {utc:%Y-%m-%dT%H:%M:%SZ}"


def _escaped(each: str) -> str:
    if unicodedata.category(each) not in _NOT_FOR_READING:
        return each
    raw = each.encode("utf-16-be", "surrogatepass")
    units = [raw[at : at + 2] for at in range(0, len(raw), 2)]
    return "".join(f"\\u{unit.hex()}" for unit in units)


def _kept(examples: Iterable[Example]) -> Iterable[Example]:
    for number, example in enumerate(examples):
        if number == MAX_EXAMPLES:
            return
        if len(example.question) + len(example.sql) <= MAX_EXAMPLE_CHARACTERS:
            yield example
