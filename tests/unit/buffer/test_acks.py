"""Acks: due when all of a message is committed, in the order of the messages."""

import itertools

import pytest

from penstock.buffer.acks import AckTracker, settle
from penstock.model import Batch, Delivery, EncodedRows, Segment, SourceId


class Messages:
    """Messages of one connection, and which of them have been told to be settled."""

    def __init__(self) -> None:
        self.acks = AckTracker()
        self.settled: list[bytes | None] = []

    def expect(self, name: bytes | None, segments: int = 1) -> list[Segment]:
        """Let a message come whole; it asks for an ack if it has a name."""
        delivery = self.begin(name)
        made = [new_segment(delivery) for _ in range(segments)]
        delivery.sealed = True
        return made

    def begin(self, name: bytes | None) -> Delivery:
        delivery = Delivery(
            SourceId(1), "", "t", name, name, 0.0, lambda done: self._settled(done)
        )
        self.acks.expect(delivery)
        return delivery

    def _settled(self, delivery: Delivery) -> None:
        self.settled.append(delivery.ack)

    def due(self) -> list[bytes | None]:
        return [delivery.ack for delivery in self.acks.due()]


def new_segment(delivery: Delivery) -> Segment:
    delivery.pending_segments += 1
    return Segment(EncodedRows(b"row", 1, frozenset()), delivery)


def batch_of(*segments: Segment) -> Batch:
    return Batch(
        segments, sum(each.size_bytes for each in segments), rows=len(segments)
    )


@pytest.fixture
def messages() -> Messages:
    return Messages()


def test_an_ack_is_due_when_its_message_is_committed_not_before(
    messages: Messages,
) -> None:
    (segment,) = messages.expect(b"a")
    assert messages.due() == []
    assert messages.acks.pending == 1
    settle(batch_of(segment))
    assert messages.due() == [b"a"]
    assert messages.acks.pending == 0


def test_an_ack_is_due_once(messages: Messages) -> None:
    settle(batch_of(*messages.expect(b"a")))
    assert messages.due() == [b"a"]
    assert messages.due() == []


def test_an_ack_waits_for_the_last_segment_of_its_message(messages: Messages) -> None:
    one, two, three = messages.expect(b"a", segments=3)
    settle(batch_of(three))
    settle(batch_of(one))
    assert messages.due() == []
    assert messages.settled == []
    settle(batch_of(two))
    assert messages.due() == [b"a"]
    assert messages.settled == [b"a"]


def test_an_ack_waits_for_the_rest_of_its_message_to_be_encoded(
    messages: Messages,
) -> None:
    delivery = messages.begin(b"a")
    settle(batch_of(new_segment(delivery)))
    assert messages.due() == []
    assert messages.settled == [], "its end has not been seen yet"
    last = new_segment(delivery)
    delivery.sealed = True
    settle(batch_of(last))
    assert messages.due() == [b"a"]


def test_a_message_without_rows_is_settled_as_soon_as_it_is_sealed(
    messages: Messages,
) -> None:
    delivery = messages.begin(b"a")
    assert not delivery.is_settled
    delivery.sealed = True
    assert messages.due() == [b"a"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_acks_come_in_the_order_of_the_messages_whatever_is_committed_first(
    messages: Messages, order: tuple[int, ...]
) -> None:
    segments = [messages.expect(name)[0] for name in (b"a", b"b", b"c")]
    written: list[bytes | None] = []
    committed: set[int] = set()
    for index in order:
        settle(batch_of(segments[index]))
        committed.add(index)
        written += messages.due()
        in_order = itertools.takewhile(committed.__contains__, range(3))
        assert written == [b"abc"[at : at + 1] for at in in_order]
    assert written == [b"a", b"b", b"c"]


def test_a_message_that_asks_for_no_ack_holds_up_nobody(messages: Messages) -> None:
    (silent,) = messages.expect(None)
    (asking,) = messages.expect(b"a")
    assert messages.acks.pending == 1
    settle(batch_of(asking))
    assert messages.due() == [b"a"]
    settle(batch_of(silent))
    assert messages.due() == []
    assert messages.settled == [b"a", None], "but it is told"


def test_an_empty_ack_is_an_ack(messages: Messages) -> None:
    (segment,) = messages.expect(b"")
    assert messages.acks.pending == 1
    settle(batch_of(segment))
    assert messages.due() == [b""]


def test_two_messages_of_the_same_name_are_two(messages: Messages) -> None:
    (first,), (second,) = messages.expect(b"a"), messages.expect(b"a")
    settle(batch_of(second))
    assert messages.due() == []
    settle(batch_of(first))
    assert messages.due() == [b"a", b"a"]


def test_connections_do_not_wait_for_one_another() -> None:
    slow, quick = Messages(), Messages()
    slow.expect(b"s")
    settle(batch_of(*quick.expect(b"q")))
    assert (slow.due(), quick.due()) == ([], [b"q"])


def test_a_batch_tells_each_message_that_it_makes_whole_once_in_order(
    messages: Messages,
) -> None:
    one = messages.expect(b"a", segments=2)
    two = messages.expect(b"b", segments=1)
    three = messages.expect(b"c", segments=2)
    settle(batch_of(*one, *two, three[0]))
    assert messages.settled == [b"a", b"b"]
    settle(batch_of(three[1]))
    assert messages.settled == [b"a", b"b", b"c"]
