"""A chunk that comes again where its ack has been read is new data, else a resend."""

from penstock.buffer.acked import MOST_CHUNKS, AckedChunks

A, B = b"a" * 16, b"b" * 16


class Connection:
    def __init__(self) -> None:
        self.acked = AckedChunks()
        self.now_ns = 0

    def comes(self, identity: bytes) -> bytes:
        """A message begins; return the identity that it is stored under."""
        self.now_ns += 1
        self.acked.began()
        return self.acked.told_apart(identity, source=7, now_ns=self.now_ns)

    def comes_and_is_acked(self, identity: bytes) -> bytes:
        stored = self.comes(identity)
        self.acked.wrote_ack(stored)
        return stored


def test_what_comes_again_at_once_is_a_resend() -> None:
    """Its sender may not have got the ack."""
    sender = Connection()
    assert sender.comes_and_is_acked(A) == A
    assert sender.comes_and_is_acked(A) == A
    assert sender.comes(A) == A


def test_what_comes_again_before_its_ack_was_written_is_a_resend() -> None:
    sender = Connection()
    assert sender.comes(A) == A
    assert sender.comes(B) == B
    assert sender.comes(A) == A


def test_behind_another_message_it_is_new_each_time() -> None:
    sender = Connection()
    stored = [sender.comes_and_is_acked(each) for each in (A, B, A, B, A)]
    assert stored[:2] == [A, B]
    assert len(set(stored)) == 5
    assert {len(each) for each in stored} == {16}


def test_what_was_new_and_comes_again_at_once_is_taken_for_the_first() -> None:
    sender = Connection()
    sender.comes_and_is_acked(A)
    sender.comes_and_is_acked(B)
    assert sender.comes_and_is_acked(A) != A
    assert sender.comes(A) == A


def test_another_connection_knows_nothing_of_it() -> None:
    first, second = Connection(), Connection()
    first.comes_and_is_acked(A)
    first.comes_and_is_acked(B)
    assert second.comes(A) == A


def test_two_connections_never_rename_to_the_same() -> None:
    first, second = Connection(), Connection()
    for each in (first, second):
        each.comes_and_is_acked(A)
        each.comes_and_is_acked(B)
    second.now_ns += 1
    assert first.comes(A) != second.comes(A)


def test_only_so_many_are_remembered() -> None:
    sender = Connection()
    sender.comes_and_is_acked(A)
    for number in range(MOST_CHUNKS):
        sender.comes_and_is_acked(number.to_bytes(16))
    assert sender.comes(A) == A
    assert len(sender.acked._acked) == MOST_CHUNKS
