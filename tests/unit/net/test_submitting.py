"""Messages whose senders wait: each is told of its COMMIT, and holds its own share."""

import asyncio

from penstock.model import TOGETHER, Receipt, Submission
from penstock.net.submitting import Submissions
from tests import msgpack_bytes as m
from tests.unit.net.test_session import Server, turns


def submit(
    submissions: Submissions, events: int, *, identity: bytes | None = None
) -> "asyncio.Task[Receipt]":
    """Send a message of so many events of a kilobyte in the ring."""
    entries = b"".join(m.entry({"n": n, "fill": "x" * 500}) for n in range(events))
    submission = Submission("http", "h", "t", entries, None, identity)
    return asyncio.create_task(submissions.submit(submission))


async def test_none_has_the_source_of_what_is_put_together() -> None:
    server = Server()
    submit(Submissions(server.intake), 1)
    await turns()
    (segment,) = server.take().segments
    assert segment.delivery.source < TOGETHER


async def test_cancelled_it_hands_over_no_more_and_holds_nothing() -> None:
    server = Server()
    submissions = Submissions(server.intake)
    waiting = submit(submissions, 2000)
    await turns(200)
    handed_over = server.books.received
    assert 0 < handed_over < 2000, "a quarter of the ring"
    waiting.cancel()
    await turns()
    assert server.ring.blocked_sources == 0
    server.commit_all()
    await turns()
    assert server.books.received == handed_over
    assert server.ring.used_bytes == 0
    await submissions.ended()


async def test_one_that_came_again_is_settled_though_the_first_is_cancelled() -> None:
    server = Server()
    submissions = Submissions(server.intake)
    tries = []
    for _ in range(3):
        tries.append(submit(submissions, 10, identity=b"i" * 16))
        await turns()
    tries[0].cancel()
    tries[1].cancel()
    await turns()
    server.commit_all()
    await turns()
    assert tries[2].result() == Receipt(0, 0, 10)
