"""A server's stream of events, read: connected, cut into events, connected again.

It owns the client's side of /api/tail: what is said when nobody answers or the server
refuses, and that after a break nothing is missing and nothing comes twice. It must not
know how a row is shown. Source: the HTML standard, "Server-sent events".
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import NamedTuple

import aiohttp
import orjson

from penstock.errors import PenstockError, UnavailableError

# A server on this machine answers at once; one elsewhere in a second.
CONNECT_SECONDS = 10.0
# The server says something every 15 s. Twice that, and it or the way to it is gone.
SILENT_SECONDS = 40.0
# How soon to try again, and not more often than the last for as long as it takes.
BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
# Rows of some MiB there are; what is larger is no stream of ours.
MAX_EVENT_BYTES = 256 * 1024 * 1024
# Ids of what was shown, to know it when it comes again: of the last minute and more at
# what a terminal shows.
KNOWN_IDS = 200_000
_UNAUTHORIZED = 401


class Event(NamedTuple):
    """One event: its kind, the row's id, and the JSON."""

    kind: str
    id: str
    data: bytes


class EventReader:
    """Cuts what comes into events."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes; return the events that are whole.

        Raises:
            ValueError: an event is larger than any can be.
        """
        looked_at = max(0, len(self._received) - 1)
        self._received += data
        end = self._received.rfind(b"\n\n", looked_at)
        if end < 0:
            if len(self._received) > MAX_EVENT_BYTES:
                raise ValueError("an event without an end")
            return []
        whole = bytes(self._received[:end])
        del self._received[: end + 2]
        events = map(_event_of, whole.split(b"\n\n"))
        return [event for event in events if event is not None]


def _event_of(lines: bytes) -> Event | None:
    fields: dict[bytes, bytes] = {}
    for line in lines.split(b"\n"):
        name, _, value = line.partition(b": ")
        if name:  # else it is a comment
            fields[name] = value
    data = fields.get(b"data")
    if data is None:
        return None
    kind, event_id = fields.get(b"event", b""), fields.get(b"id", b"")
    return Event(kind.decode(), event_id.decode(), data)


class Server(NamedTuple):
    """Where a server's HTTP side is, and the token that it asks for, or none."""

    url: str
    token: str
    is_default: bool = False  # nobody has named it


class Tail:
    """The events of a server's /api/tail, for as long as they are wanted."""

    def __init__(
        self,
        server: Server,
        parameters: dict[str, str],
        say: Callable[[str], None],
    ) -> None:
        """`say` is called with what a person should know of the connection."""
        self._server = server
        self._parameters = parameters
        self._say = say
        self._last_id = 0
        self._known: dict[str, None] = {}
        self._has_begun = False
        self._is_lost = False

    async def events(self) -> AsyncIterator[list[Event]]:
        """Yield events, as they come; empty lists tell that some time has passed.

        Raises:
            UnavailableError: no server answers, and none has.
            PenstockError: the server refuses.
        """
        tries = 0
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS
        )
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                try:
                    async for events in self._connection(session):
                        tries = 0
                        yield events
                    reason = "the server has ended it"
                except _AwayError as error:
                    reason = str(error)
                if not self._has_begun:
                    raise UnavailableError(self._nobody(reason))
                if not self._is_lost:
                    self._say(f"the connection is lost ({reason}); connecting again")
                    self._is_lost = True
                await asyncio.sleep(BACKOFF_SECONDS[min(tries, 4)])
                tries += 1

    async def _connection(
        self, session: aiohttp.ClientSession
    ) -> AsyncIterator[list[Event]]:
        parameters, headers = dict(self._parameters), {}
        if self._server.token:
            headers["Authorization"] = f"Bearer {self._server.token}"
        if self._last_id:
            for name in ("rows", "since"):
                parameters.pop(name, None)
            parameters["after"] = str(self._last_id)
        try:
            async with session.get(
                f"{self._server.url}/api/tail",
                params=parameters,
                headers=headers,
                allow_redirects=False,
            ) as answer:
                if answer.status != 200:
                    await self._refused(answer)
                reader = EventReader()
                async for events in _read(answer, reader):
                    self._began()
                    yield [each for each in events if self._is_new(each)]
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _AwayError(_reason(error)) from error

    def _began(self) -> None:
        self._has_begun = True
        if self._is_lost:
            self._say("connected again")
            self._is_lost = False

    def _is_new(self, event: Event) -> bool:
        if event.id.isdigit():
            self._last_id = max(self._last_id, int(event.id))
        if event.kind != "row":
            return True
        if event.id in self._known:
            return False
        self._known[event.id] = None
        if len(self._known) > KNOWN_IDS:
            del self._known[next(iter(self._known))]
        return True

    async def _refused(self, answer: aiohttp.ClientResponse) -> None:
        """Raise what the server's answer means."""
        text = ""
        with suppress(ValueError, TypeError, KeyError):
            text = str(orjson.loads(await answer.read())["error"])
        if answer.status in (502, 503, 504):
            raise _AwayError(text or f"status {answer.status}")
        if answer.status == _UNAUTHORIZED:
            raise PenstockError(
                f"{self._server.url} asks for a token"
                f"{', and this one is not it' if self._server.token else ''};"
                " name its file by --token-file, or where it runs on this machine set"
                " read_token_file or http_token_file as it has it"
            )
        what = text or f"status {answer.status}; that is no Penstock, or an older one"
        raise PenstockError(f"{self._server.url} refuses: {what}")

    def _nobody(self, reason: str) -> str:
        if not self._server.is_default:
            return f"{self._server.url} cannot be followed: {reason}"
        return (
            f"no server can be followed at {self._server.url}: {reason}; start one with"
            " `penstock up`, or name another with --server URL"
        )


class _AwayError(Exception):
    """The server does not answer, or not now."""


async def _read(
    answer: aiohttp.ClientResponse, reader: EventReader
) -> AsyncIterator[list[Event]]:
    pieces = answer.content.iter_any().__aiter__()
    reading: asyncio.Task[bytes] | None = None
    try:
        while True:
            if reading is None:
                reading = asyncio.ensure_future(_next(pieces))
            done, _ = await asyncio.wait((reading,), timeout=1.0)
            if not done:
                yield []
                continue
            data, reading = reading.result(), None
            if not data:
                return
            yield reader.feed(data)
    finally:
        if reading is not None:
            reading.cancel()


async def _next(pieces: AsyncIterator[bytes]) -> bytes:
    return await anext(pieces, b"")


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    if isinstance(error, aiohttp.ServerTimeoutError | TimeoutError):
        return "it does not answer"
    return " ".join(str(error).splitlines()) or type(error).__name__
