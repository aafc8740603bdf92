"""A resend is known while its chunk is on its way, and for a while after."""

from penstock.buffer.recent import RecentChunks
from penstock.model import Delivery, SourceId


def chunk(identity: bytes | None) -> Delivery:
    return Delivery(
        SourceId(1), "s", "t", b"c", b"a", 0.0, lambda _: None, identity=identity
    )


def test_a_chunk_is_known_when_all_of_it_is_in_the_ring() -> None:
    recent = RecentChunks()
    assert recent.find(b"1") is None
    recent.handed_over(chunk(b"1"), 7)
    known = recent.find(b"1")
    assert known is not None
    assert (known.events, known.is_stored) == (7, False)


def test_those_who_wait_are_told_once_when_it_is_stored() -> None:
    recent, told = RecentChunks(), []
    recent.handed_over(chunk(b"1"), 7)
    known = recent.find(b"1")
    assert known is not None
    known.waiting.append(lambda: told.append(1))
    recent.stored(chunk(b"1"))
    recent.stored(chunk(b"1"))
    assert told == [1]
    assert known.is_stored


def test_no_more_is_remembered_than_is_said() -> None:
    recent = RecentChunks(max_chunks=3)
    for n in range(5):
        recent.handed_over(chunk(b"%d" % n), 1)
        recent.stored(chunk(b"%d" % n))
    assert [recent.find(b"%d" % n) is not None for n in range(5)] == [
        *(False, False),
        *(True, True, True),
    ]


def test_what_has_no_identity_is_never_known() -> None:
    recent = RecentChunks()
    recent.handed_over(chunk(None), 1)
    recent.stored(chunk(None))
    assert recent.find(None) is None
