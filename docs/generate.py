"""Writes into the pages of docs/ what the code knows better: settings, metrics, tables.

    .venv/bin/python docs/generate.py            writes
    .venv/bin/python docs/generate.py --check    fails when a page is not up to date

A page holds `<!-- begin NAME: ... -->` and `<!-- end NAME -->`; what stands between
them is written here, the rest of the page by hand. Names, defaults, ranges and help
texts are read from the source; what it cannot say, what each reason means, stands
here. A reason that the source gives and this file does not explain, or the other way
round, is an error.
"""

import argparse
import ast
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import sizing_page

from penstock.buffer.books import Books
from penstock.buffer.ring import Ring
from penstock.config import CONCERNS, environment_name, flag_name
from penstock.errors import PermanentSinkError, TransientSinkError
from penstock.model import EncodedRows, RejectedEvent
from penstock.rows import columns, plain
from penstock.settings import Accepted, ColumnSettings, is_reloaded
from penstock.telemetry.backup import FAMILIES, Samples, text_of
from penstock.telemetry.metrics import Metrics
from penstock.telemetry.receive import LOGIN_FAILURES
from penstock.telemetry.workers import MetricsOfAll
from penstock.wire import json_frames
from penstock.wire.messages import Mode

DOCS = Path(__file__).resolve().parent
SOURCE = DOCS.parent / "src" / "penstock"
# Where events and peers are refused; net/client.py is the other side of the wire.
REFUSING = ("wire", "rows", "net/session.py", "net/incoming.py")

REJECTED_REASONS = {
    "record_not_a_map": "The record is a text, a number, nil: anything but a map.",
    "invalid_time": "The time is none: a boolean, a text, NaN, an ext value of another"
    " kind, or outside what `timestamptz` holds.",
    "no_record": "An entry, or a message, of fewer than two elements.",
    "not_an_entry": "Something that is no array stands where an entry should. A run of"
    " such values is one rejected event.",
    "truncated_entry": "The packed entries end inside an entry. Those before it are"
    " stored.",
    "malformed_msgpack": "A byte that msgpack never uses; no entry can be found behind"
    " it. Those before it are stored.",
    "decompression": "Damaged gzip or zstd. `raw` holds the compressed bytes; nothing"
    " of the chunk is stored as rows.",
    "decompression_limit": "The chunk inflates to more than `max_decompressed_bytes`."
    " `raw` holds the compressed bytes.",
    "decompression_ratio": "The chunk inflates to more than 16 MiB and more than"
    " `max_decompression_ratio` times its size. `raw` holds the compressed bytes.",
    "decompression_members": "The chunk is compressed in more than 200,000 gzip members"
    " or zstd frames. `raw` holds the compressed bytes.",
    "too_many_entries": "What stands behind the first `max_chunk_entries` entries of a"
    " message, or behind so many that their tags are `max_decompressed_bytes`, as one"
    " event.",
    "too_many_keys": "An entry in which a map has more than `max_map_keys` keys, or a"
    " message whose metadata has.",
    "too_many_values": "An entry with more than 131,072 values in it, keys counted."
    " Where it also nests past 1,024 levels, or is damaged, all behind it goes along.",
    "beside_limit": "The log group, or the message's metadata, of which each event gets"
    " a copy, has added `max_decompressed_bytes` to the rows of this message already."
    " `raw` holds the entry without it.",
    "field_limit": "A column of the row would have 2 GiB or more, which COPY cannot"
    " write: text that has to be escaped grows.",
    "signal_metrics": "Fluent Bit metrics (`fluent_signal` 1) are no log events.",
    "signal_traces": "Fluent Bit traces (`fluent_signal` 2) are no log events.",
    "signal_other": "Another `fluent_signal` than 0, 1 or 2.",
    "tag_not_allowed": "The sender's network may send other tags only: `tags` of"
    " `[[networks]]`.",
}
PROTOCOL_REASONS = {
    "not_forward": "The bytes are no forward message: HTTP, a TLS handshake, an SSH"
    " banner, JSON that is no array. The log line says what they look like.",
    "malformed_msgpack": "A message that is no msgpack, or nests past 1,024 levels.",
    "malformed_json": "A message in JSON that is none, or nests past 500 levels.",
    "frame_too_large": "A message of more than `max_frame_bytes`, or in JSON of more"
    " than 8 MiB.",
    "too_many_values": "An option, or a message in JSON, of more than 131,072 values.",
    "invalid_tag": "A tag that is neither a string nor nil.",
    "too_many_options": "A message with more options than any client sends: 64, 256 KiB"
    " of them, 10,000 values in its metadata, or 64 in another.",
    "invalid_chunk": "A chunk whose name is longer than any client's: 200 bytes.",
}
LOGIN_REASONS = {
    "no_ping": "Something else came than a PING: events of a client that knows no"
    " handshake, mostly. The log line says what it looks like.",
    "shared_key": "The client has another shared key, or there is none for it.",
    "password": "No such user, or another password.",
    "user_not_allowed": "The user and password are right, but not for the client's"
    " network: `users` of `[[networks]]`. The client is told what a wrong password is"
    " told.",
    "too_soon": "Not looked at: too many logins from the address had failed just"
    " before (`slow_down_seconds`).",
}
FAILURE_KINDS = {
    "transient": "The connection, PostgreSQL's resources, its shutdown, its rights. It"
    " is tried until it passes.",
    "unknown": "An SQLSTATE that is not PostgreSQL's own. After three tries each record"
    " is tried by itself, and those that are refused go to `rejected_event`.",
    "data": "PostgreSQL refuses what no single record is to blame for: a trigger on"
    " `rejected_event`, for one. A record that it refuses goes to `rejected_event` and"
    " is counted by `penstock_refused_events_total`, not here.",
}


def settings() -> str:
    """Return a table for each concern of the settings, and for each list of tables."""
    parts = []
    for name, concern in CONCERNS.items():
        summary, _, rest = (inspect.getdoc(concern) or "").partition("\n")
        rows = [
            (
                _names(each),
                *_default_and_accepted(each),
                "SIGHUP" if is_reloaded(concern, each) else "restart",
                _accepted(each).help_text,
            )
            for each in fields(concern)
        ]
        head = f"## {summary.rstrip('.')}\n\nIn the file: `[{name}]`.\n\n"
        words = f"{rest.strip()}\n\n" if rest.strip() else ""
        columns = ("Setting", "Default", "Accepted", "Applied by", "What it does")
        parts.append(head + words + _table(columns, rows))
        parts += [_list_of_tables(each) for each in fields(concern)]
    return "\n".join(part for part in parts if part)


def _list_of_tables(setting: Any) -> str:
    """Return what stands in each table of a list; nothing if the setting is none."""
    table = _accepted(setting).table
    if table is None:
        return ""
    rows = [
        (f"`{each.name}`", *_default_and_accepted(each), _accepted(each).help_text)
        for each in fields(table)
    ]
    _, _, rest = (inspect.getdoc(table) or "").partition("\n")
    words = f"{rest.strip()}\n\n" if rest.strip() else ""
    head = f"### In each `[[{setting.name}]]`\n\n{words}"
    return head + _table(("Key", "Default", "Accepted", "What it does"), rows)


def _names(each: Any) -> str:
    names = [each.name, flag_name(each.name), environment_name(each.name)]
    if _accepted(each).table is not None:
        names[0] = f"[[{each.name}]]"
    if _accepted(each).secret:
        del names[1]
    return "<br>".join(f"`{name}`" for name in names)


def _accepted(each: Any) -> Accepted:
    accepted: Accepted = each.metadata["is"]
    return accepted


def _default_and_accepted(each: Any) -> tuple[str, str]:
    default, accepted = each.default, _accepted(each)
    if accepted.table is not None:
        return "none", "a list of tables, below"
    if isinstance(default, tuple):
        words = "a list of keys" if each.name.endswith("_keys") else "a list of texts"
        return _codes(default) or "none", words
    if each.name.endswith("_bytes") and accepted.low is not None:
        above = " or more" if accepted.high is None else f" to {_size(accepted.high)}"
        return f"{_size(default)} (`{default}`)", _size(accepted.low) + above
    kinds = {"host": "any address", "_dir": "any directory", "file": "any file"}
    words = kinds.get(each.name[-4:], accepted.in_words())
    return f"`{default}`" if default != "" else "none", words


def _size(count: float) -> str:
    for unit, size in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if count >= size and count % size == 0:
            return f"{count // size:.0f} {unit}"
    return f"{count:,.0f} bytes"


def metrics() -> str:
    """Return the table of all metrics."""
    rows = []
    used = _used_metrics()
    with TemporaryDirectory() as directory:
        file = Path(directory, "backup.prom")
        file.write_text(text_of(backup_samples()))
        used.watch_backup_file(file)
        families = list(used.registry.collect())
    for family in families:
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for each in family.samples for label in each.labels} - {"le"}
        rows.append(
            (f"`{name}`", family.type, _codes(sorted(labels)), family.documentation)
        )
    return _table(("Name", "Type", "Labels", "What it is"), rows)


def backup_samples() -> Samples:
    """Return a sample of each metric that the backup commands write."""
    return {
        (name, (told.label, "") if told.label else None): 0.0
        for name, told in FAMILIES.items()
    }


class NoSpool:
    """A spool that the metrics can look at."""

    size_bytes = max_bytes = 0
    is_failing = False


def _used_metrics() -> Metrics:
    """Return metrics whose labels have each been used: without it they show none."""
    used = MetricsOfAll()
    used.expect(1)
    nothing = Ring(
        max_bytes=1, max_rows=1, on_waiting=lambda: None, on_drained=lambda: None
    )
    used.watch_ring(nothing)
    used.watch_books(Books(), lambda: 0)
    used.watch_spool(NoSpool())
    rejected = RejectedEvent("no_record", b"")
    used.receive.received_frames(Mode.MESSAGE, 1)
    used.receive.encoded(
        Mode.MESSAGE, EncodedRows(b"", 0, frozenset(), rejected=(rejected,))
    )
    used.receive.broke_protocol("not_forward")
    for error in (PermanentSinkError(""), TransientSinkError("")):
        used.sink.failed(error)
    used.maintenance.saw_archive(0.0, 0, 0.0)
    used.http.serves(("/api/search",))
    return used


def modes() -> str:
    """Return the values of the label `mode`."""
    return f"`mode`: {_codes(Mode)}.\n"


def reasons(explained: dict[str, str]) -> Callable[[], str]:
    """Return what writes the table of a label's values."""
    rows = [(f"`{value}`", text) for value, text in explained.items()]
    return lambda: _table(("Value", "What it means"), rows)


def column_keys() -> str:
    """Return which keys fill which column, by default."""
    rows = []
    for each in fields(ColumnSettings):
        column = each.name.removesuffix("_keys")
        keys, _ = _default_and_accepted(each)
        rows.append((f"`{column}`", keys, f"`{flag_name(each.name)}`"))
    return _table(("Column", "Keys, the first that fits", "Setting"), rows)


def levels() -> str:
    """Return the names and numbers that are understood as a level."""
    labels: dict[str, tuple[list[str], list[str]]] = {}
    for spelling, label in columns.level_spellings().items():
        names, numbers = labels.setdefault(label, ([], []))
        if isinstance(spelling, int):
            numbers.append(str(spelling))
        elif spelling.islower():
            names.append(spelling)
    order = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
    assert sorted(order) == sorted(labels)
    rows = [
        (f"`{each}`", _codes(labels[each][0]), _codes(labels[each][1]))
        for each in order
    ]
    return _table(("Level", "Names", "Numbers"), rows)


def lossless(module: ModuleType) -> str:
    """Return the table in a module's docstring: what the next one cannot hold."""
    text = inspect.getdoc(module) or ""
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return _table(rows[0], rows[2:])


GENERATED: dict[str, dict[str, Callable[[], str]]] = {
    "settings.md": {"settings": settings},
    "metrics.md": {
        "metrics": metrics,
        "modes": modes,
        "rejected reasons": reasons(REJECTED_REASONS),
        "protocol reasons": reasons(PROTOCOL_REASONS),
        "login reasons": reasons(LOGIN_REASONS),
        "failure kinds": reasons(FAILURE_KINDS),
    },
    "records.md": {
        "columns": column_keys,
        "levels": levels,
        "lossless": lambda: lossless(plain),
        "json": lambda: lossless(json_frames),
    },
    "sizing.md": {
        name: lambda write=write: _table(*write())
        for name, write in sizing_page.TABLES.items()
    },
}
# By their place below docs/.
PICTURES: dict[str, Callable[[], str]] = {
    "images/sizing-cost.svg": sizing_page.cost_chart,
}


def _codes(values: Iterable[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def filled(page: str, writers: dict[str, Callable[[], str]]) -> str:
    """Return the page with each of its marked regions written anew.

    Raises:
        ValueError: a region is not marked in the page, or more than once.
    """
    for name, write in writers.items():
        begin = f"<!-- begin {name}: written by docs/generate.py -->\n"
        end = f"<!-- end {name} -->\n"
        if (page.count(begin), page.count(end)) != (1, 1):
            raise ValueError(f"{name}: not marked, or marked twice")
        head, _, rest = page.partition(begin)
        _, _, tail = rest.partition(end)
        page = f"{head}{begin}\n{write()}\n{end}{tail}"
    return page


def unexplained_reasons() -> list[str]:
    """Name the reasons that the source gives and this file does not, and vice versa."""
    texts: set[str] = set()
    problems: list[str] = []
    tables = {
        "RejectedEvent": REJECTED_REASONS,
        "CompressionError": REJECTED_REASONS,
        "ProtocolError": PROTOCOL_REASONS,
    }
    for node in _refusing_nodes():
        match node:
            case ast.Constant(value=str(text)):
                texts.add(text)
            case ast.Call(func=ast.Name(id=name), args=[ast.Constant(str(reason)), *_]):
                if reason not in tables.get(name, {reason}):
                    problems.append(f"docs/generate.py does not explain {reason}")
    odd = LOGIN_REASONS.keys() ^ set(LOGIN_FAILURES)
    problems += [f"docs/generate.py on logins that fail: {each}" for each in odd]
    given = REJECTED_REASONS.keys() | PROTOCOL_REASONS.keys()
    problems += [f"docs/generate.py explains {each}: gone" for each in given - texts]
    return problems


def _refusing_nodes() -> Iterator[ast.AST]:
    for name in REFUSING:
        path = SOURCE / name
        for file in [path] if path.is_file() else sorted(path.glob("*.py")):
            yield from ast.walk(ast.parse(file.read_text()))


def main(arguments: list[str]) -> int:
    """Write the regions, or compare them; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args(arguments).check
    problems = unexplained_reasons()
    for name, writers in GENERATED.items():
        page = DOCS / name
        before = page.read_text()
        after = filled(before, writers)
        if not check:
            page.write_text(after)
        elif after != before:
            problems.append(f"docs/{name} is not up to date: run docs/generate.py")
    for name, draw in PICTURES.items():
        picture, drawn = DOCS / name, draw()
        if not check:
            picture.write_text(drawn)
        elif not picture.exists() or picture.read_text() != drawn:
            problems.append(f"docs/{name} is not up to date: run docs/generate.py")
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
