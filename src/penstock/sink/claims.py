"""Claims: what makes a resent chunk be stored once, and a batch tried twice too.

It owns the statements of one transaction that say "this is mine to store", and what
the answer means for the segments of a batch. It must not store rows.

Two things can come again. A chunk, from a sender that got no ack: each of its parts is
claimed by its digest (`buffer.identity`). And a batch, from us, when the connection
went before COMMIT was answered: each writer leaves the name of its last batch.

All of it is said in one statement, with the hold on the day's table that the rows go
into (`day_table`): a batch of a few rows costs what its round trips do.
"""

from typing import NamedTuple

import asyncpg

from penstock.errors import DetachedError
from penstock.model import Batch, Segment
from penstock.sink.day_table import Hold
from penstock.sink.sql import load_blocks

# A batch of some MiB takes seconds on any network.
STALLED_SECONDS = 60.0


class Claimed(NamedTuple):
    """A batch's segments, by what is to be done with them."""

    fresh: list[Segment]
    duplicate: list[Segment]


class Claims:
    """The claims of one writer."""

    def __init__(self, receiver: int, writer: int) -> None:
        self.receiver = receiver
        self._writer = writer
        self._blocks = load_blocks("claims")
        self._session: asyncpg.Record | None = None

    async def end_predecessor(self, connection: asyncpg.Connection) -> None:
        """On a new connection, end the session of the one before it.

        It may not know yet that it is lost, and would hold its claims until it does.
        """
        blocks = self._blocks
        async with connection.transaction():
            await connection.execute(blocks["be_the_login"])
            if self._session is not None:
                await connection.fetch(blocks["end_predecessor"], *self._session)
            self._session = await connection.fetchrow(blocks["this_session"])

    async def begin(
        self, connection: asyncpg.Connection, batch: Batch, hold: Hold | None
    ) -> Claimed | None:
        """Leave the batch's name and claim the segments that may have come before.

        Returns None if the batch is stored already. The others are fresh.

        Raises:
            DetachedError: the table to hold is not part of logs any more.
        """
        # Of two in one batch that are the same, it has the last.
        named = {each.claim: each for each in batch.segments if each.claim is not None}
        answer = await connection.fetchrow(
            self._blocks["begin_batch"],
            self.receiver,
            self._writer,
            batch.name,
            list(named),
            [each.delivery.sender for each in named.values()],
            [each.delivery.tag for each in named.values()],
            [each.delivery.chunk for each in named.values()],
            [each.events for each in named.values()],
            [each.tried_in for each in named.values()],
            *(hold or (None, None, None)),
        )
        assert answer is not None
        if answer["fresh"] is None:
            return None
        if answer["is_held"] is False:
            raise DetachedError("a day's table is not part of logs any more")
        return _sorted(batch, named, set(answer["fresh"]))

    async def end_stalled(self, connection: asyncpg.Connection) -> None:
        """End the sessions of other Penstocks that stand still with claims in hand."""
        async with connection.transaction():
            await connection.execute(self._blocks["be_the_login"])
            await connection.fetch(self._blocks["end_stalled"], STALLED_SECONDS)


def _sorted(batch: Batch, named: dict[bytes, Segment], new: set[bytes]) -> Claimed:
    claimed = Claimed([], [])
    for each in batch.segments:
        is_fresh = each.claim is None or (
            each.claim in new and named[each.claim] is each
        )
        (claimed.fresh if is_fresh else claimed.duplicate).append(each)
    return claimed
