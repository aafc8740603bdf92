"""A page of rows as bytes: CSV, or JSON with an object a line.

Pure. What is written of a page can stand behind what is written of another; also
compressed, since gzip members follow each other (RFC 1952, section 2.2).
"""

import csv
import gzip
import io
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import orjson

from penstock.search.statements import PAGE_COLUMNS

# Three times as fast as the default of 9, for some percent more bytes.
GZIP_LEVEL = 6

Row = Sequence[Any]


class Form(Protocol):
    """How rows are written as bytes."""

    def head(self) -> bytes:
        """Return what stands before all rows."""
        ...

    def page(self, rows: Sequence[Row]) -> bytes:
        """Return what a page of rows is written as."""
        ...


class Csv:
    """A header and the rows; null and an empty text are both nothing."""

    def head(self) -> bytes:
        return (",".join(PAGE_COLUMNS) + "\n").encode()

    def page(self, rows: Sequence[Row]) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(
            (
                (number, utc_text(ts), *texts, json_text(attributes))
                for number, ts, *texts, attributes in rows
            )
        )
        return text.getvalue().encode()


class JsonLines:
    """An object a line, attributes as they are stored."""

    def head(self) -> bytes:
        return b""

    def page(self, rows: Sequence[Row]) -> bytes:
        return b"".join(
            orjson.dumps(
                dict(zip(PAGE_COLUMNS, row, strict=True)),
                option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z,
            )
            for row in rows
        )


class Gzipped:
    """Another form, each part of it compressed by itself."""

    def __init__(self, form: Form) -> None:
        self._form = form

    def head(self) -> bytes:
        head = self._form.head()
        return gzip.compress(head, GZIP_LEVEL, mtime=0) if head else b""

    def page(self, rows: Sequence[Row]) -> bytes:
        return gzip.compress(self._form.page(rows), GZIP_LEVEL, mtime=0)


def utc_text(ts: datetime) -> str:
    """Return a time as JSON has it; the session's are in UTC."""
    return ts.replace(tzinfo=None).isoformat() + "Z"


def json_text(attributes: orjson.Fragment) -> str:
    """Return attributes as PostgreSQL has them, without blanks."""
    return orjson.dumps(attributes).decode()
