"""Messages whose senders wait for what becomes of them: those that came by HTTP.

It owns the way of each from its entries to the ring, beside the sessions' and by the
same turns, and that its sender is told when all of it is committed, or that it is not.
It must not know HTTP.
"""

import asyncio
from collections.abc import Callable
from weakref import WeakMethod

from penstock.errors import NotTakenError
from penstock.model import TOGETHER, Receipt, SourceId, Submission
from penstock.net.incoming import Incoming, Intake, Origin
from penstock.wire.messages import Message, Mode

# What a message costs besides its entries, as `inbox.MESSAGE_BYTES`.
MESSAGE_BYTES = 1024
NO_ROOM = "there is no room: PostgreSQL stores slower than events come, or not at all"
STOPPING = "the server stops"
CUT_OFF = "the server stopped before all of it was committed"


class Submissions:
    """All such messages that are on their way."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._taken = 0
        self._is_stopping = False
        self._open: set[Submitted] = set()
        self._handing_over: set[Submitted] = set()
        self._all_handed_over = asyncio.Event()

    async def submit(self, submission: Submission) -> Receipt:
        """Store a message; return when all of it is committed.

        Cancelled, no more of it is handed over; what has been may be stored.

        Raises:
            NotTakenError: it is not, or not all of it, as far as is known.
        """
        if self._is_stopping:
            raise NotTakenError(STOPPING)
        # Below those of connections, which count up from 1, and what stands for many.
        self._taken += 1
        source = SourceId(TOGETHER - self._taken)
        if not self._intake.ring.has_room(source, comes_again=True):
            raise NotTakenError(NO_ROOM)
        submitted = Submitted(self._intake, submission, source, self._handed_over)
        self._open.add(submitted)
        self._handing_over.add(submitted)
        try:
            submitted.begin()
            return await submitted.receipt
        finally:
            submitted.leave()
            self._open.discard(submitted)
            self._handed_over(submitted)

    def stop(self) -> None:
        """Take no new ones."""
        self._is_stopping = True

    async def ended(self) -> None:
        """Wait until all that was taken has been handed over."""
        while self._handing_over:
            self._all_handed_over.clear()
            await self._all_handed_over.wait()

    def abort(self) -> None:
        """Tell all who still wait that theirs is not committed."""
        for each in list(self._open):
            each.fail(NotTakenError(CUT_OFF))

    def _handed_over(self, submitted: "Submitted") -> None:
        self._handing_over.discard(submitted)
        if not self._handing_over:
            self._all_handed_over.set()


class Submitted:
    """One of them; it has turns as a sender's session has."""

    is_midway = False  # nothing is inflated here

    def __init__(
        self,
        intake: Intake,
        submission: Submission,
        source: SourceId,
        handed_over: Callable[["Submitted"], None],
    ) -> None:
        self.host = submission.host
        self.has_work = False
        self.receipt: asyncio.Future[Receipt] = (
            asyncio.get_running_loop().create_future()
        )
        self._intake = intake
        self._submission = submission
        self._source = source
        self._handed_over = handed_over
        self._tell = WeakMethod(self._settled)
        self._received_seconds = intake.clock()
        self._incoming: Incoming | None = None
        self._is_left = False

    def begin(self) -> None:
        """Ask for a turn."""
        self._intake.metrics.received_bytes(len(self._submission.entries))
        self._ask_turn()

    def work(self, max_bytes: int) -> int:
        """Take about so much of it to the ring; return how much it was."""
        self.has_work = False
        if self._is_left:
            return MESSAGE_BYTES
        try:
            return self._hand_over(max_bytes) or MESSAGE_BYTES
        except Exception as error:
            # A bug of ours costs the message that brought it up, not all others.
            self.fail(error)
            return MESSAGE_BYTES

    def leave(self) -> None:
        """Hand over no more of it: nobody waits for it any more, or it is stored."""
        self._is_left = True
        self._incoming = None
        self._intake.ring.forget(self._source)
        self._intake.recent.leave(self._source)

    def fail(self, error: Exception) -> None:
        """Tell its sender that it is not known to be stored."""
        self._is_left = True
        if not self.receipt.done():
            self.receipt.set_exception(error)

    def _ask_turn(self) -> None:
        if not (self.has_work or self._is_left):
            self.has_work = True
            self._intake.turns.ask(self)

    def _hand_over(self, max_bytes: int) -> int:
        incoming = self._incoming = self._incoming or self._begin()
        done_bytes = 0
        while done_bytes < max_bytes:
            if not self._intake.ring.has_room(self._source, comes_again=True):
                self._intake.ring.wait_for_room(
                    self._source, self._ask_turn, comes_again=True
                )
                return done_bytes
            done_bytes += incoming.hand_over_part()
            if incoming.is_whole:
                incoming.seal()
                self._handed_over(self)
                return done_bytes
        self.has_work = True
        return done_bytes

    def _begin(self) -> Incoming:
        submission = self._submission
        # Its bytes are the message's from here on, and go with it.
        self._submission = submission._replace(entries=b"")
        origin = Origin(
            self._source,
            submission.sender,
            self._received_seconds,
            self._tell,
            awaits=True,
            identity=submission.identity,
        )
        message = Message(
            Mode.HTTP, submission.tag, submission.entries, submission.chunk
        )
        return Incoming(self._intake, message, origin)

    def _settled(self) -> None:
        incoming = self._incoming
        if incoming is None or self.receipt.done():
            return
        delivery = incoming.delivery
        rejected, duplicate = delivery.rejected_events, delivery.duplicate_events
        stored = incoming.events - rejected - duplicate
        self.receipt.set_result(Receipt(stored, rejected, duplicate))
