"""The schedule of faults: what happens when, drawn from a seed.

It owns which faults there are, how often each comes, and that each ends. What is asked
for while another fault of the same thing lasts is left out, not put off.
"""

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from tests.torture.database import OwnDatabase, Processes
from tests.torture.link import Links
from tests.torture.server import Server

# Between two faults: most of them overlap with what the one before has left to do.
LEAST_GAP_SECONDS = 0.3
MOST_GAP_SECONDS = 4.0
# An outage that the ring alone does not hold, and one that Penstock has to notice.
STALL_SECONDS = (11.0, 16.0)
# A server that does not hear of a cut holds the session's claims until it asks.
KEEPALIVE_SECONDS = 8.0


class Plan(NamedTuple):
    """What is not left to chance."""

    # How much shorter the gaps and the faults are than in a run of minutes.
    haste: float = 1.0
    begin_with: str | None = None
    without: tuple[str, ...] = ()
    # Each kind comes once before any comes again, and the run lasts until it has.
    has_each_once: bool = False


BY_CHANCE = Plan()


class Stage(NamedTuple):
    """What can be tortured; without a link to the database where `up` has its own."""

    server: Server
    processes: Processes
    links: Links
    own_database: OwnDatabase | None
    linked_port: int  # to send to, by way of the link that is cut


class Fault(NamedTuple):
    """A fault: how often beside others, what it is done to, and how."""

    name: str
    weight: int
    victim: str  # penstock, postgres, database link, sender link
    inflict: Callable[[], float]  # returns for how long the victim is busy with it


class Director:
    """Inflicts faults until the time is over, then undoes them all."""

    def __init__(self, stage: Stage, seed: str, plan: Plan) -> None:
        self._stage = stage
        self._plan = plan
        self._rng = random.Random(seed)
        self._busy_until: dict[str, float] = {}
        self._undo: list[tuple[float, Callable[[], None]]] = []
        self.counts: Counter[str] = Counter()
        self.schedule: list[tuple[float, str]] = []

    def run(self, seconds: float) -> None:
        """Inflict faults for so long, or until the plan is carried out."""
        began = time.monotonic()
        faults = self._faults()
        next_at = began + self._rng.uniform(1.0, 2.0) / self._plan.haste
        while (now := time.monotonic()) < began + seconds or self._to_come(faults):
            self._undo_due(now)
            if now >= next_at:
                self._inflict_one(faults, began)
                gap = self._between(LEAST_GAP_SECONDS, MOST_GAP_SECONDS)
                next_at = time.monotonic() + gap
            time.sleep(0.05)
        self.undo_all()

    def undo_all(self) -> None:
        """Let everything flow and run again."""
        for _, undo in self._undo:
            undo()
        self._undo.clear()

    def _inflict_one(self, faults: list[Fault], began: float) -> None:
        fault = self._draw(faults)
        now = time.monotonic()
        if self._busy_until.get(fault.victim, 0.0) > now:
            return
        if fault.victim == "penstock" and not self._stage.server.is_ready():
            # But a kill while it starts or stops is one of the things to be tried.
            if fault.name != "kill -9 of Penstock" or self._rng.random() < 0.5:
                return
        self.schedule.append((round(now - began, 2), fault.name))
        self.counts[fault.name] += 1
        self._busy_until[fault.victim] = time.monotonic() + fault.inflict()

    def _draw(self, faults: list[Fault]) -> Fault:
        if not self.counts and self._plan.begin_with is not None:
            return next(each for each in faults if each.name == self._plan.begin_with)
        # Of those to come, the ones whose victim is free: else none would be inflicted.
        now = time.monotonic()
        drawn = [
            each
            for each in self._to_come(faults)
            if self._busy_until.get(each.victim, 0.0) <= now
        ]
        drawn = drawn or faults
        (fault,) = self._rng.choices(drawn, [each.weight for each in drawn])
        return fault

    def _to_come(self, faults: list[Fault]) -> list[Fault]:
        if not self._plan.has_each_once:
            return []
        return [each for each in faults if each.name not in self.counts]

    def _between(self, least_seconds: float, most_seconds: float) -> float:
        return self._rng.uniform(least_seconds, most_seconds) / self._plan.haste

    def _undo_due(self, now: float) -> None:
        for item in [each for each in self._undo if each[0] <= now]:
            self._undo.remove(item)
            item[1]()

    def _later(self, seconds: float, undo: Callable[[], None]) -> float:
        self._undo.append((time.monotonic() + seconds, undo))
        return seconds

    # The faults.

    def _faults(self) -> list[Fault]:
        postgres, link = "postgres", "sender link"
        faults = [
            Fault("kill -9 of Penstock", 6, "penstock", self._kill_penstock),
            Fault("kill -9 of a worker", 6, "penstock", self._kill_worker),
            Fault("SIGTERM of Penstock", 4, "penstock", self._stop_penstock),
            Fault("kill -9 of both", 1, postgres, self._kill_both),
            Fault("kill -9 of the postmaster", 3, postgres, self._kill_postmaster),
            Fault("kill -9 of a backend", 3, postgres, self._kill_backend),
            Fault("PostgreSQL paused", 3, postgres, self._pause_postgres),
            Fault("PostgreSQL stalled", 1, postgres, self._stall_postgres),
            Fault("PostgreSQL stopped", 3, postgres, self._stop_postgres),
            Fault("sender links cut", 3, link, self._cut_senders),
            Fault("sender links held", 3, link, self._hold_senders),
        ]
        if self._stage.links.has_database:
            link = "database link"
            faults += [
                Fault("database links cut", 4, link, self._cut_database),
                Fault("database links held", 3, link, self._hold_database),
                Fault("answers held, then cut", 3, link, self._hold_answers),
            ]
        without = {*self._plan.without}
        if self._stage.server.workers == 1:
            without.add("kill -9 of a worker")
        return [each for each in faults if each.name not in without]

    def _kill_penstock(self) -> float:
        self._stage.server.kill(with_workers=self._rng.random() < 0.5)
        return 1.0

    def _kill_worker(self) -> float:
        self._stage.server.kill_worker(self._rng)
        return 0.5

    def _stop_penstock(self) -> float:
        self._stage.server.tell_to_stop()
        return 1.0

    def _kill_both(self) -> float:
        self._stage.server.kill()
        return self._kill_postmaster()

    def _kill_postmaster(self) -> float:
        away_seconds = self._stay_away(self._between(0, 3))
        self._stage.processes.kill_postmaster()
        return away_seconds + 3.0 / self._plan.haste

    def _kill_backend(self) -> float:
        self._stage.processes.kill_backend(self._rng)
        return 2.0 / self._plan.haste

    def _pause_postgres(self) -> float:
        self._stage.processes.pause()
        return 0.5 + self._later(self._between(0.5, 4.0), self._stage.processes.resume)

    def _stall_postgres(self) -> float:
        self._stage.processes.pause()
        least_seconds, most_seconds = STALL_SECONDS
        longer_seconds = self._between(0, most_seconds - least_seconds)
        return 0.5 + self._later(
            least_seconds + longer_seconds, self._stage.processes.resume
        )

    def _stop_postgres(self) -> float:
        away_seconds = self._stay_away(self._between(2, 8))
        self._stage.processes.stop_fast()
        return away_seconds + 3.0 / self._plan.haste

    def _stay_away(self, seconds: float) -> float:
        if self._stage.own_database is None:
            return 0.0  # `up` starts it at once
        self._stage.own_database.stay_away(seconds)
        return seconds

    def _cut_senders(self) -> float:
        self._stage.links.on_senders(lambda proxy: proxy.cut())
        return 0.5

    def _hold_senders(self) -> float:
        links = self._stage.links
        links.on_senders(lambda proxy: proxy.hold())
        return self._later(
            self._between(0.5, 4.0),
            lambda: links.on_senders(lambda proxy: proxy.flow()),
        )

    def _cut_database(self) -> float:
        self._cut(knows=self._rng.random() < 0.5)
        return 0.5

    def _cut(self, *, knows: bool) -> None:
        links = self._stage.links
        links.on_database(lambda proxy: proxy.cut(server_knows=knows))
        self._later(
            KEEPALIVE_SECONDS,
            lambda: links.on_database(lambda proxy: proxy.let_server_know()),
        )

    def _hold_database(self) -> float:
        links = self._stage.links
        links.on_database(lambda proxy: proxy.stand_still())
        return self._later(
            self._between(0.5, 4.0),
            lambda: links.on_database(lambda proxy: proxy.flow()),
        )

    def _hold_answers(self) -> float:
        """What is committed meanwhile is not known to be."""
        links, knows = self._stage.links, self._rng.random() < 0.5
        links.on_database(lambda proxy: proxy.hold_answers())

        def cut_and_flow() -> None:
            self._cut(knows=knows)
            links.on_database(lambda proxy: proxy.flow())

        return self._later(self._between(0.2, 2.0), cut_and_flow)
