"""The body of a request: read to its end, within bytes and seconds; as JSON if asked.

It owns both limits and what is said past them. It must not know what a body is for.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from penstock.http.answers import ApiError

# The body of a request that is a question or a filter, not logs: some KiB are long.
MAX_JSON_BYTES = 64 * 1024
# From the headers to the body's last byte. A body is sent at once: of the largest,
# 8 MiB, a line of 2 Mbit/s has the last byte here by then.
BODY_SECONDS = 30.0
# For who sends again when too many did at once.
RETRY_SECONDS = 1
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Budget:
    """What all bodies together may hold that wait here."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used_bytes = 0

    @contextmanager
    def hold(self) -> Iterator["Held"]:
        """Hold some of it for one request, to its end."""
        held = Held(self)
        try:
            yield held
        finally:
            held.be(0)


class Held:
    """What one body holds."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bytes = 0

    def add(self, more_bytes: int) -> None:
        """Hold more.

        Raises:
            ApiError: all together would hold too much.
        """
        if self._budget.used_bytes + more_bytes > self._budget.max_bytes:
            raise _too_many()
        self.be(self._bytes + more_bytes)

    def become(self, size_bytes: int) -> None:
        """Hold what the body has become: a few kilobytes may inflate to very many.

        Alone it may be more than all together may, or it would never be taken.

        Raises:
            ApiError: all together would hold too much.
        """
        others_bytes = self._budget.used_bytes - self._bytes
        if others_bytes and others_bytes + size_bytes > self._budget.max_bytes:
            raise _too_many()
        self.be(size_bytes)

    def be(self, size_bytes: int) -> None:
        """Hold so much, whatever the others do."""
        self._budget.used_bytes += size_bytes - self._bytes
        self._bytes = size_bytes


async def read_body(
    request: web.BaseRequest,
    most_bytes: int,
    seconds: float = BODY_SECONDS,
    *,
    held: Held | None = None,
) -> bytes:
    """Return all of a request's body, as it was sent; `held` is told of each piece.

    Raises:
        ApiError: it is larger, or slower, than may be.
    """
    declared = request.content_length
    if declared is not None and declared > most_bytes:
        raise _too_large(most_bytes)
    pieces, size_bytes = [], 0
    try:
        async with asyncio.timeout(seconds):
            if request.headers.get("Expect", "").lower() == "100-continue":
                # RFC 9110, 10.1.1; curl waits a second for it before a large body.
                await request.writer.write(_CONTINUE)
            async for piece in request.content.iter_any():
                size_bytes += len(piece)
                if size_bytes > most_bytes:
                    raise _too_large(most_bytes)
                if held is not None:
                    held.add(len(piece))
                pieces.append(piece)
    except TimeoutError:
        raise ApiError(
            408, f"the body has not come to its end within {seconds:g} s"
        ) from None
    except web.RequestPayloadError as error:
        raise ApiError(
            400, "the body is not framed as its headers say (RFC 9112, 6 and 7)"
        ) from error
    return b"".join(pieces)


async def read_json(
    request: web.BaseRequest, most_bytes: int = MAX_JSON_BYTES
) -> dict[str, Any]:
    """Return the JSON object that a request's body is.

    Raises:
        ApiError: it is none, or too large, or too slow.
    """
    body = await read_body(request, most_bytes)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is no JSON: {json_error(error)}") from error
    if not isinstance(value, dict):
        raise ApiError(400, "the body has to be a JSON object")
    return value


def json_error(error: Exception) -> str:
    """Return what is wrong with JSON and where, without a word of it."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno} column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start}"
    return "it is nested too deep"


def _too_many() -> ApiError:
    return ApiError(
        503,
        "too many bodies are on their way (ingest_max_waiting_bytes)",
        {"Retry-After": str(RETRY_SECONDS)},
    )


def _too_large(most_bytes: int) -> ApiError:
    return ApiError(413, f"the body is larger than {most_bytes:,} bytes")
