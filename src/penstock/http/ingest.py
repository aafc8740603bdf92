"""POST /api/ingest: logs in the body of a request, answered when they are committed.

It owns what is asked of such a request, and how it is answered. It must not know how
the events are stored: it hands them over as one message and waits for its end.

What the answer says: 200, all is committed, with how many of the events are rows of
`logs`, how many went to `rejected_event`, how many were there before. Any other: the
same body may be sent again. Under an `Idempotency-Key` what of it is stored already is
not stored again (draft-ietf-httpapi-idempotency-key-header).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgpack
from aiohttp import web

from penstock.buffer.identity import chunk_identity
from penstock.errors import NotTakenError
from penstock.http.answers import ApiError, json_answer
from penstock.http.bodies import Budget, read_body
from penstock.http.records import Problem, Records
from penstock.model import Receipt, Submission
from penstock.settings import IngestSettings
from penstock.wire.compression import Codec, CompressionError, Inflation
from penstock.wire.options import MAX_CHUNK_BYTES

Submit = Callable[[Submission], Awaitable[Receipt]]

# Of a body's events, where neither the address nor a header names a tag.
DEFAULT_TAG = "http"
# Fluent Bit's `header_tag` puts its tag there; the name is its documentation's.
TAG_HEADER = "Fluent-Tag"
KEY_HEADER = "Idempotency-Key"
# Fluent Bit's `json_date_key` by default.
TIME_KEY = "date"
# What rows hold; a longer one would be cut.
MAX_TAG_BYTES = 1024
MOST_TIME_KEYS = 8
# For who sends again when there was no room, or PostgreSQL was away.
RETRY_SECONDS = 5
# Inflated so much at a time, 4 ms, as the sessions' is.
INFLATE_STEP_BYTES = 2 * 1024 * 1024
MSGPACK_TYPES = frozenset({"application/msgpack", "application/x-msgpack"})
# How the sender's name begins, in rejected_event and in what a chunk is known by.
SENDER = "http"
_RETRY = {"Retry-After": str(RETRY_SECONDS)}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says of its body."""

    tag: str
    time_keys: tuple[str, ...]
    key: str
    codec: Codec | None
    is_msgpack: bool


class Ingest:
    """Takes the bodies of all such requests."""

    def __init__(
        self, settings: IngestSettings, submit: Submit, *, most_records: int
    ) -> None:
        self._settings = settings
        self._most_records = most_records
        self._submit = submit
        self._budget = Budget(settings.ingest_max_waiting_bytes)
        # One body at a time is inflated and read: it takes several times its size.
        self._reading = asyncio.Lock()

    async def post(self, request: web.BaseRequest) -> web.StreamResponse:
        """Store the events of a body; answer when they are committed."""
        with self._budget.hold() as held:
            asked = asked_of(request)
            most_bytes = self._settings.ingest_max_body_bytes
            body = await read_body(request, most_bytes, held=held)
            async with self._reading:
                entries, problems, identity = await self._read(body, asked)
            del body
            held.become(len(entries))
            submission = Submission(
                SENDER,
                request.remote or SENDER,
                asked.tag,
                entries,
                msgpack.packb(asked.key) if asked.key else None,
                identity,
            )
            del entries
            receipt = await self._store(submission)
        return json_answer(receipt_as_json(receipt, problems))

    async def _read(
        self, body: bytes, asked: Asked
    ) -> tuple[bytes, list[Problem], bytes | None]:
        if asked.codec is not None:
            body = await self._inflated(body, asked.codec)
        identity = None
        if asked.key:
            # Of the body, not of what becomes of it: an event without a time has that
            # of its arrival.
            identity = chunk_identity(
                sender=SENDER,
                tag=asked.tag,
                chunk=asked.key.encode(),
                metadata=None,
                entries=body,
            )
        if asked.is_msgpack:
            if not body:
                raise ApiError(400, "the body has no record in it")
            return body, [], identity
        records = Records(
            body,
            time_keys=asked.time_keys,
            now_ns=time.time_ns(),
            most_records=self._most_records,
        )
        del body
        for _ in records.read():
            await asyncio.sleep(0)
        return records.entries, records.problems, identity

    async def _inflated(self, body: bytes, codec: Codec) -> bytes:
        most_bytes = self._settings.ingest_max_inflated_bytes
        inflation = Inflation(body, codec, max_bytes=most_bytes)
        try:
            while True:
                inflated = inflation.go_on(INFLATE_STEP_BYTES)
                if inflated is not None:
                    return inflated
                await asyncio.sleep(0)
        except CompressionError as error:
            if error.reason == "decompression_limit":
                raise ApiError(
                    413, f"the body inflates to more than {most_bytes:,} bytes"
                ) from error
            raise ApiError(400, f"the body is {error}") from error

    async def _store(self, submission: Submission) -> Receipt:
        seconds = self._settings.ingest_commit_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._submit(submission)
        except NotTakenError as error:
            raise ApiError(503, f"not stored: {error}", _RETRY) from error
        except TimeoutError:
            raise ApiError(
                503,
                f"not known to be committed after {seconds:g} s, and some of it may be:"
                f" send it again, with an {KEY_HEADER} if it must not be stored twice",
                _RETRY,
            ) from None


def receipt_as_json(receipt: Receipt, problems: list[Problem]) -> dict[str, object]:
    """Return what a request is answered with whose events are committed."""
    said: dict[str, object] = receipt._asdict()
    if problems:
        said["errors"] = [each._asdict() for each in problems]
    return said


def asked_of(request: web.BaseRequest) -> Asked:
    """Return what a request says of its body.

    Raises:
        ApiError: it cannot be; it says which of it.
    """
    query, headers = request.query, request.headers
    unknown = set(query) - {"tag", "time_key"}
    if unknown:
        raise ApiError(
            400, f"no such parameter: {min(unknown)[:40]!r}; there are tag and time_key"
        )
    time_keys = tuple(query.getall("time_key", [TIME_KEY]))
    if len(time_keys) > MOST_TIME_KEYS:
        raise ApiError(400, f"time_key is given more than {MOST_TIME_KEYS} times")
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return Asked(
        _tag_of(query.get("tag") or headers.get(TAG_HEADER) or DEFAULT_TAG),
        time_keys,
        _key_of(headers.get(KEY_HEADER, "")),
        _codec_of(headers.get("Content-Encoding", "")),
        kind in MSGPACK_TYPES,
    )


def _tag_of(tag: str) -> str:
    try:
        is_short = len(tag.encode()) <= MAX_TAG_BYTES
    except UnicodeEncodeError:
        raise ApiError(400, "the tag is not UTF-8") from None
    if not is_short or "\0" in tag:
        raise ApiError(
            400,
            f"the tag has to have {MAX_TAG_BYTES:,} bytes at most, none of them NUL",
        )
    return tag


def _key_of(key: str) -> str:
    """Return the key; its quotes, which the draft wants, are not part of it."""
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if len(key.encode(errors="surrogateescape")) > MAX_CHUNK_BYTES - 3:
        raise ApiError(400, f"{KEY_HEADER} is longer than {MAX_CHUNK_BYTES - 3} bytes")
    if not key.isascii():
        raise ApiError(400, f"{KEY_HEADER} has to be ASCII")
    return key


def _codec_of(encoding: str) -> Codec | None:
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return Codec.GZIP
        case "zstd":
            return Codec.ZSTD
    raise ApiError(
        415,
        "Content-Encoding has to be gzip, zstd or identity",
        {"Accept-Encoding": "gzip, zstd"},
    )
