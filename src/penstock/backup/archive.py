"""A dump as a stream: pg_restore reads it, its statements and rows come out.

It owns the form of pg_restore's text: statements, the rows of a COPY, the entries of a
schema. It must not know where a dump is nor what is done with it. A dump's bytes come
from an iterator that blocks, in a thread; what comes out is read by an event loop.
"""

import asyncio
import contextlib
import fcntl
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import NamedTuple

from penstock.backup.programs import Programs
from penstock.errors import BackupError, CorruptError

# asyncio reads so much at a time at most; a pipe that holds less is read more often.
PIPE_BYTES = 256 * 1024
# What pg_restore may have said last, of all that it has said.
LAST_WORDS_BYTES = 4096
PG_RESTORE = "pg_restore"

_NAME = r'(?:"(?:[^"]|"")+"|[^\s",.()]+)'
# A table without columns has rows too.
_COPY = re.compile(rf"COPY ({_NAME})\.({_NAME}) (?:\((.*)\))? FROM stdin;\n")
_COLUMN = re.compile(_NAME)
# COPY's end of data; in a row a backslash is written as two (PostgreSQL documentation,
# COPY, "Text Format").
_END = b"\\.\n"
# Since the releases of August 2025 psql is told to take no command but its end.
_RESTRICT = re.compile(r"^\\(?:un)?restrict \w+\n", re.MULTILINE)
_REMARK = re.compile(r"^--.*\n", re.MULTILINE)
# Large objects stand in a transaction of pg_restore's, whose end would be that of ours.
_TRANSACTION = re.compile(r"^(?:BEGIN|COMMIT);\n", re.MULTILINE)
# How pg_restore begins each thing of a schema.
_ENTRY = re.compile(
    r"^--\n-- Name: (.*); Type: (.*); Schema: (.*); Owner:(.*)\n--\n", re.MULTILINE
)
# What pg_restore sets for the things that come next: after the statements of one, and
# never what looks so in the body of a function.
_SETTINGS = re.compile(
    r"(?:\n+SET default_\w+ = (?:''|\w+|\"(?:[^\"]|\"\")+\");)+\s*\Z"
)
# What pg_restore says of a dump that a newer pg_dump has made, or with a method that it
# was built without.
_TOO_NEW = re.compile(r"unsupported version|not support")
# What COPY writes otherwise than it is, of what PostgreSQL's text can hold.
_ESCAPED = {
    "\\": r"\\",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
}


class Rows(NamedTuple):
    """The rows of a table, in COPY's text format, in pieces of any length."""

    schema: str
    table: str
    columns: tuple[str, ...]
    pieces: AsyncIterator[bytes]


class SchemaEntry(NamedTuple):
    """A thing of a schema, what makes it, and what is set then for those after it."""

    name: str
    kind: str  # TABLE, INDEX, ACL ...
    statements: str
    settings: str


class Archive:
    """What `pg_restore` makes of a dump; use it as an async context manager.

    When all is read it is known that pg_restore has read all it needs, and that the
    dump's bytes came to their end without an error.
    """

    def __init__(
        self,
        programs: Programs,
        chunks: Iterator[bytes],
        name: str,
        *options: str,
    ) -> None:
        self._programs = programs
        self._options = ["--format=custom", "--file=-", *options]
        self._chunks = chunks
        self._name = name
        self._buffer = b""
        self._stopped = False
        self._feed_error: Exception | None = None
        self._transport: asyncio.ReadTransport | None = None

    async def __aenter__(self) -> "Archive":
        self._output = asyncio.StreamReader(limit=PIPE_BYTES)
        # A file: nobody would read a pipe while the rows are read.
        self._said = tempfile.TemporaryFile()
        try:
            self._process = self._programs.popen(
                PG_RESTORE,
                self._options,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
            )
        except BaseException:
            self._said.close()
            raise
        assert self._process.stdout is not None
        _widen(self._process.stdout.fileno())
        self._feeder = threading.Thread(
            target=self._feed, name="feed-pg-restore", daemon=True
        )
        self._feeder.start()
        loop = asyncio.get_running_loop()
        try:
            self._transport, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(self._output), self._process.stdout
            )
        except BaseException:
            self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._stopped = True
        self._process.kill()  # nothing where it has ended
        self._process.wait()
        if self._transport is not None:
            self._transport.close()
        self._said.close()

    async def read(self) -> bytes:
        """Return what comes next, b"" at the end.

        Raises:
            CorruptError: pg_restore cannot read the dump.
            BackupError: this pg_restore cannot.
            Whatever the dump's iterator raises.
        """
        data = await self._output.read(PIPE_BYTES)
        if not data:
            await self._end()
        return data

    async def text(self) -> str:
        """Return all that comes, which must not be rows, without psql's commands."""
        pieces = []
        while piece := await self.read():
            pieces.append(piece)
        return _RESTRICT.sub("", b"".join(pieces).decode())

    async def statements_and_rows(self) -> AsyncIterator[str | Rows]:
        """Yield statements, and tables' rows; rows that nobody reads are passed by."""
        statements: list[str] = []
        while line := await self._line():
            copy = _COPY.fullmatch(line)
            if copy is None:
                statements.append(line)
                continue
            if text := _without_remarks("".join(statements)):
                yield text
            statements.clear()
            schema, table, columns = copy.groups()
            names = tuple(unquoted(each) for each in _COLUMN.findall(columns or ""))
            pieces = self._pieces()
            yield Rows(unquoted(schema), unquoted(table), names, pieces)
            async for _ in pieces:
                pass
        if text := _without_remarks("".join(statements)):
            yield text

    async def _line(self) -> str:
        while (end := self._buffer.find(b"\n")) < 0:
            more = await self.read()
            if not more:
                line, self._buffer = self._buffer, b""
                return line.decode()
            self._buffer += more
        line, self._buffer = self._buffer[: end + 1], self._buffer[end + 1 :]
        return line.decode()

    async def _pieces(self) -> AsyncIterator[bytes]:
        """Yield rows until COPY's end of data, which begins a line."""
        while len(self._buffer) < len(_END):
            self._buffer += await self._more()
        if self._buffer.startswith(_END):
            self._buffer = self._buffer[len(_END) :]
            return
        while (end := self._buffer.find(b"\n" + _END)) < 0:
            # What may be the beginning of the end is looked at again.
            cut = len(self._buffer) - len(_END)
            piece, self._buffer = self._buffer[:cut], self._buffer[cut:]
            if piece:
                yield piece
            self._buffer += await self._more()
        piece = self._buffer[: end + 1]
        self._buffer = self._buffer[end + 1 + len(_END) :]
        yield piece

    async def _more(self) -> bytes:
        if more := await self.read():
            return more
        raise CorruptError(f"{self._name}: the rows of a table have no end")

    async def _end(self) -> None:
        """See whether what has ended is whole."""
        while self._feeder.is_alive():
            # Reading to the dump's end is what tells that its bytes are right.
            await asyncio.to_thread(self._feeder.join, 1.0)
        if self._feed_error is not None:
            raise self._feed_error
        code = await asyncio.to_thread(self._process.wait)
        if code < 0:
            raise BackupError(f"pg_restore of {self._name} was ended by signal {-code}")
        if code != 0:
            words = self._last_words()
            if _TOO_NEW.search(words):
                raise BackupError(
                    f"pg_restore {self._programs.version} cannot read {self._name}:"
                    f" {words}; name the directory of one that can with --backup-pg-bin"
                )
            raise CorruptError(f"{self._name} is no whole dump: {words}")

    def _last_words(self) -> str:
        size = os.fstat(self._said.fileno()).st_size
        self._said.seek(max(size - LAST_WORDS_BYTES, 0))
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        errors = [line for line in lines if "error:" in line] or lines[-1:]
        return errors[0] if errors else f"exit code {self._process.returncode}"

    def _feed(self) -> None:
        """Write the dump's bytes to pg_restore, and read them to their end anyway."""
        pipe = self._process.stdin
        assert pipe is not None
        is_open = True
        try:
            for chunk in self._chunks:
                if self._stopped:
                    break
                if is_open:
                    is_open = _written(pipe.fileno(), chunk)
        except Exception as error:
            self._feed_error = error
            # It must not take what it has for all there is.
            self._process.kill()
        finally:
            with contextlib.suppress(OSError):
                pipe.close()


def entries(text: str) -> tuple[str, list[SchemaEntry]]:
    """Take a schema's text apart: what goes before all, and its things in order."""
    found = list(_ENTRY.finditer(text))
    ends = [each.start() for each in found[1:]] + [len(text)]
    first = found[0].start() if found else len(text)
    return text[:first], [
        SchemaEntry(each[1], each[2], *_with_settings(text[each.end() : end]))
        for each, end in zip(found, ends, strict=False)
    ]


def _with_settings(text: str) -> tuple[str, str]:
    settings = _SETTINGS.search(text)
    end = settings.start() if settings else len(text)
    return text[:end].strip(), text[end:].strip()


def _without_remarks(text: str) -> str:
    """Return statements of a data section, of which comments alone are none."""
    for left_out in (_RESTRICT, _REMARK, _TRANSACTION):
        text = left_out.sub("", text)
    return text.strip()


def unquoted(name: str) -> str:
    """Return a name as it is, of how SQL writes it."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def quoted(name: str) -> str:
    """Return a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def written(tag: str) -> bytes:
    """Return a text as COPY's text format writes it."""
    return "".join(_ESCAPED.get(each, each) for each in tag).encode()


def _written(pipe: int, chunk: bytes) -> bool:
    """Whether the pipe took all of it."""
    left = memoryview(chunk)
    try:
        while left:
            left = left[os.write(pipe, left) :]
    except BrokenPipeError:
        return False
    return True


def _widen(pipe: int) -> None:
    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux; a user may have too many already
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
