"""What bodies hold until they are committed, whatever they were when they came."""

import asyncio
import gzip
from unittest import mock

import msgpack
from aiohttp import StreamReader, web
from aiohttp.test_utils import make_mocked_request

from penstock.http.answers import ApiError
from penstock.http.ingest import Ingest
from penstock.model import Receipt, Submission
from penstock.settings import IngestSettings

MIB = 1024 * 1024
ENTRIES = msgpack.packb([1_700_000_000, {"a": "x" * MIB}])


def request() -> tuple[web.BaseRequest, StreamReader]:
    """Return a request as it stands before its handler, and its body without end."""
    body = gzip.compress(ENTRIES)
    payload = StreamReader(mock.Mock(), 2**16, loop=asyncio.get_running_loop())
    payload.feed_data(body)
    headers = {"Content-Type": "application/msgpack", "Content-Encoding": "gzip"}
    return make_mocked_request("POST", "/", headers, payload=payload), payload


async def post(ingest: Ingest, count: int) -> list[asyncio.Task[web.StreamResponse]]:
    """Send so many bodies, all of which come to their end at one time."""
    requests = [request() for _ in range(count)]
    posting = [asyncio.create_task(ingest.post(each)) for each, _ in requests]
    await asyncio.sleep(0)
    for _, payload in requests:
        payload.feed_eof()
    return posting


class Waiting:
    """Where messages wait for their COMMIT."""

    def __init__(self) -> None:
        self.taken: list[Submission] = []
        self.may_commit = asyncio.Event()

    async def submit(self, submission: Submission) -> Receipt:
        self.taken.append(submission)
        await self.may_commit.wait()
        return Receipt(1, 0, 0)


async def test_what_bodies_inflate_to_is_bounded_for_all_of_them() -> None:
    waiting = Waiting()
    settings = IngestSettings(ingest_max_waiting_bytes=3 * MIB + MIB // 2)
    ingest = Ingest(settings, waiting.submit, most_records=10)
    posting = await post(ingest, 8)
    done: set[asyncio.Task[web.StreamResponse]] = set()
    async with asyncio.timeout(20):
        while len(done) + len(waiting.taken) < len(posting):
            done, _ = await asyncio.wait(posting, timeout=0.01)
    assert len(waiting.taken) == 3
    errors = [each.exception() for each in done]
    assert [type(each) for each in errors] == [ApiError] * 5
    assert {each.status for each in errors if isinstance(each, ApiError)} == {503}
    waiting.may_commit.set()
    answers = [await each for each in posting if each not in done]
    assert [each.status for each in answers] == [200] * 3
    assert len(waiting.taken) == 3


async def test_one_body_alone_may_be_more_than_all_together_may() -> None:
    waiting = Waiting()
    waiting.may_commit.set()
    settings = IngestSettings(ingest_max_waiting_bytes=MIB // 2)
    ingest = Ingest(settings, waiting.submit, most_records=10)
    for _ in range(2):
        (posting,) = await post(ingest, 1)
        assert (await posting).status == 200
