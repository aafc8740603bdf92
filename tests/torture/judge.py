"""What is in the database, held against what the senders know: the verdict.

An event that was acked, or read by a Penstock that was not killed afterwards, has to be
there once. Of what a killed Penstock had read and nobody sends again, so much may be
missing as was in its memory at the last scrape before, and no more: "in the window".
"""

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import asyncpg

from tests.torture.event import CHECKSUM_DIGITS, Kind, name_of_rejected
from tests.torture.ledger import Fate, Ledger, Life, Scrape, Span

ROWS = f"""
SELECT (attributes->>'s')::int, (attributes->>'q')::int,
       left(md5(message), {CHECKSUM_DIGITS}) = attributes->>'c'
           AND tag LIKE 'torture.%.' || (attributes->>'s')
FROM logs
"""
REJECTED = "SELECT raw FROM rejected_event"
FETCH_ROWS = 20_000


@dataclass
class Verdict:
    """The tally, in events where nothing else is said."""

    chunks: int = 0
    tries: int = 0
    sent_again: int = 0
    events: int = 0
    stored: int = 0
    rejected: int = 0
    lost: int = 0
    duplicated: int = 0
    misplaced: int = 0  # damaged, or in the wrong table
    in_the_window: int = (
        0  # read by a Penstock that was killed; nobody sends them again
    )
    unknown_missing: int = 0  # written to a connection that broke; perhaps never read
    problems: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Tell whether every promise was kept."""
        return not (self.lost or self.duplicated or self.misplaced or self.problems)


class Kill(NamedTuple):
    """A kill: of a life, or of a worker in it at that time."""

    life: int
    seconds: float = math.inf


class Found:
    """How often each event is in the database."""

    def __init__(self, ledgers: Iterable[Ledger]) -> None:
        self.in_logs = {each.sender: bytearray(len(each.kinds)) for each in ledgers}
        self.in_rejected = {s: bytearray(len(n)) for s, n in self.in_logs.items()}
        self.foreign = 0  # not one of ours, or damaged

    async def read(self, database_url: str) -> None:
        """Read all of both tables."""
        connection = await asyncpg.connect(database_url, timeout=30)
        try:
            async with connection.transaction():
                cursor = await connection.cursor(ROWS)
                while rows := await cursor.fetch(FETCH_ROWS):
                    for sender, number, is_whole in rows:
                        self._count(self.in_logs, sender, number, is_whole)
                cursor = await connection.cursor(REJECTED)
                while rows := await cursor.fetch(FETCH_ROWS):
                    for (raw,) in rows:
                        name = name_of_rejected(raw)
                        if name is None:
                            self.foreign += 1
                        else:
                            self._count(self.in_rejected, *name, True)
        finally:
            await connection.close()

    def _count(
        self,
        where: dict[int, bytearray],
        sender: int | None,
        number: int | None,
        is_whole: bool | None,
    ) -> None:
        if sender is None or number is None or not is_whole:
            self.foreign += 1
        elif sender not in where or number >= len(where[sender]):
            self.foreign += 1
        else:
            where[sender][number] = min(255, where[sender][number] + 1)


def judge(
    ledgers: Sequence[Ledger],
    found: Found,
    lives: Sequence[Life],
    scrapes: Sequence[Scrape],
) -> Verdict:
    """Compare."""
    verdict = Verdict(misplaced=found.foreign)
    missing_of_killed: dict[Kill, list[float]] = {}
    for ledger in ledgers:
        verdict.chunks += ledger.chunks
        verdict.tries += ledger.tries
        verdict.sent_again += ledger.sent_again
        verdict.problems += ledger.problems
        verdict.events += len(ledger.kinds)
        _compare(ledger, found, verdict)
        _judge_missing(ledger, found, lives, verdict, missing_of_killed)
    for (life, killed_seconds), missing in missing_of_killed.items():
        before = [
            scrape
            for scrape in scrapes
            if scrape.life == life and scrape.at_seconds < killed_seconds
        ]
        too_many = _beyond_the_window(sorted(missing), before)
        verdict.lost += too_many
        verdict.in_the_window += len(missing) - too_many
        if too_many:
            verdict.problems.append(
                f"{too_many} events that life {life} had read and no longer in memory"
            )
    return verdict


def _compare(ledger: Ledger, found: Found, verdict: Verdict) -> None:
    in_logs = found.in_logs[ledger.sender]
    in_rejected = found.in_rejected[ledger.sender]
    verdict.stored += sum(map(bool, in_logs))
    verdict.rejected += sum(map(bool, in_rejected))
    for number, kind in enumerate(ledger.kinds):
        times = in_logs[number] + in_rejected[number]
        if times > 1:
            verdict.duplicated += times - 1
            _note(verdict, "duplicated", ledger, number)
        right = in_logs if kind == Kind.ROW else in_rejected
        if times and not right[number]:
            verdict.misplaced += 1
            _note(verdict, "in the wrong table", ledger, number)


def _note(verdict: Verdict, what: str, ledger: Ledger, number: int) -> None:
    if len(verdict.problems) < 20:
        mode = "acked" if ledger.asks_for_acks else "un-acked"
        verdict.problems.append(f"{what}: {mode} {ledger.sender}:{number}")


def _judge_missing(
    ledger: Ledger,
    found: Found,
    lives: Sequence[Life],
    verdict: Verdict,
    missing_of_killed: dict[Kill, list[float]],
) -> None:
    in_logs = found.in_logs[ledger.sender]
    in_rejected = found.in_rejected[ledger.sender]
    judged = 0
    for span in ledger.spans:
        judged += span.end - span.first
        missing = [
            number
            for number in range(span.first, span.end)
            if not (in_logs[number] or in_rejected[number])
        ]
        if not missing:
            continue
        life = _reader_of(span, lives)
        if span.fate is Fate.UNKNOWN or (
            span.fate is Fate.READ and (life is None or _may_be_cut_off(span, life))
        ):
            verdict.unknown_missing += len(missing)
        elif (
            span.fate is Fate.READ and life is not None and (kill := _kill(span, life))
        ):
            killed = missing_of_killed.setdefault(kill, [])
            killed += [span.at_seconds] * len(missing)
        else:
            verdict.lost += len(missing)
            _note(verdict, f"lost ({span.fate.value})", ledger, missing[0])
    if ledger.asks_for_acks and judged < len(ledger.kinds):
        verdict.problems.append(
            f"{len(ledger.kinds) - judged} events of {ledger.sender} were never acked"
        )


def _reader_of(span: Span, lives: Sequence[Life]) -> Life | None:
    """Return the process that has read the span; None if it may have been none.

    Who is killed, or stops, closes connections of its own accord, read to their end or
    not; and a link that was held tells of it late, when another process lives.
    """
    for life in lives:
        ends = (life.told_to_stop_seconds, life.ended_seconds)
        last = min((each for each in ends if each is not None), default=math.inf)
        if 0 < life.ready_seconds <= span.since_seconds and span.at_seconds <= last:
            return life
    return None


def _may_be_cut_off(span: Span, life: Life) -> bool:
    """Tell whether a worker was killed meanwhile: it closes as one who has read all."""
    kills = life.worker_kills_seconds
    return any(span.since_seconds <= each <= span.at_seconds for each in kills)


def _kill(span: Span, life: Life) -> Kill | None:
    """Return the first kill that may have cost what was read, if there was one."""
    kills = [each for each in life.worker_kills_seconds if each > span.at_seconds]
    if kills:
        return Kill(life.number, min(kills))
    return Kill(life.number, math.inf) if life.was_killed else None


def _beyond_the_window(missing: list[float], scrapes: Sequence[Scrape]) -> int:
    """Return how many more are missing than were in memory, at any scrape.

    `missing` are the times at which they were known to be read, in order.
    """
    worst = 0
    for scrape in scrapes:
        read_before = bisect.bisect_left(missing, scrape.at_seconds)
        worst = max(worst, read_before - int(scrape.ring_events))
    return worst
