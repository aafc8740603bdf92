"""What a message costs others is counted, so that each of them has its turn."""

from penstock.model import RejectedEvent
from penstock.net.inbox import MESSAGE_BYTES, _work_of
from penstock.net.turns import ROUND_BYTES, TURN_BYTES
from penstock.wire.messages import Message, Mode


def test_a_message_that_inflates_to_too_much_is_a_whole_turn() -> None:
    rejection = RejectedEvent("decompression_limit", b"small")
    bomb = Message(Mode.COMPRESSED_PACKED_FORWARD, "t", b"", rejection=rejection)
    assert _work_of(bomb, 5) >= TURN_BYTES


def test_options_are_work_too() -> None:
    message = Message(Mode.FORWARD, "t", b"")
    assert _work_of(message, 2 * ROUND_BYTES) > ROUND_BYTES


def test_a_small_message_is_its_bytes_and_what_it_always_costs() -> None:
    assert _work_of(Message(Mode.MESSAGE, "t", b"123"), 10) == MESSAGE_BYTES + 13
