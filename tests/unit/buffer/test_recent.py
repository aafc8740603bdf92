"""A resend is known while its chunk is on its way, and for a while after."""

from collections.abc import Callable

from penstock.buffer.recent import RecentChunk, RecentChunks
from penstock.model import Delivery, SourceId


def chunk(
    identity: bytes | None,
    tell: Callable[[Delivery], None] = lambda _: None,
    *,
    source: int = 1,
) -> Delivery:
    return Delivery(
        SourceId(source), "s", "t", b"c", b"a", 0.0, tell, identity, sealed=True
    )


def on_its_way(recent: RecentChunks, identity: bytes) -> RecentChunk:
    recent.handed_over(chunk(identity), 7)
    known = recent.find(identity)
    assert known is not None
    return known


def test_a_chunk_is_known_when_all_of_it_is_in_the_ring() -> None:
    recent = RecentChunks()
    assert recent.find(b"1") is None
    recent.handed_over(chunk(b"1"), 7)
    known = recent.find(b"1")
    assert known is not None
    assert (known.events, known.is_stored) == (7, False)


def test_those_who_wait_are_told_once_when_it_is_stored() -> None:
    recent, told = RecentChunks(), list[Delivery]()
    known = on_its_way(recent, b"1")
    resends = [chunk(b"1", told.append, source=n) for n in (1, 2, 1)]
    for resend in resends:
        recent.join(known, resend)
        assert not resend.is_settled
    recent.stored(chunk(b"1"))
    recent.stored(chunk(b"1"))
    assert told == resends
    assert known.is_stored


def test_who_has_left_is_forgotten_and_not_told() -> None:
    recent, told = RecentChunks(), list[Delivery]()
    chunks = [on_its_way(recent, name) for name in (b"1", b"2")]
    for source in (1, 2):
        for known in chunks:
            recent.join(known, chunk(b"1", told.append, source=source))
    recent.leave(SourceId(1))
    recent.leave(SourceId(1))
    recent.leave(SourceId(3))
    assert [len(known.waiting) for known in chunks] == [1, 1]
    recent.stored(chunk(b"2"))
    recent.leave(SourceId(2))
    recent.stored(chunk(b"1"))
    assert [resend.source for resend in told] == [2]


def test_who_is_told_may_leave() -> None:
    recent, told = RecentChunks(), list[Delivery]()
    known = on_its_way(recent, b"1")

    def leave(resend: Delivery) -> None:
        told.append(resend)
        recent.leave(resend.source)

    for source in (1, 1, 2):
        recent.join(known, chunk(b"1", leave, source=source))
    recent.stored(chunk(b"1"))
    assert [resend.source for resend in told] == [1, 1, 2]


def test_nothing_is_kept_of_resends_that_were_told() -> None:
    recent = RecentChunks()
    known = on_its_way(recent, b"1")
    recent.join(known, chunk(b"1", source=2))
    recent.stored(chunk(b"1"))
    assert not known.waiting and not recent._joined


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
