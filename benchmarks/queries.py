"""How long a search takes, against the same question typed by hand as SQL.

    make bench ARGS="queries"
    make bench ARGS="queries --rows 50000000 --sealed-rows 10000000 --timeout 7200"

Owns the rows and the questions. Rows of the usual mix are made by COPY: so many over
the last hours, up to now, in the order of arrival with the times a little out of it;
and a day before them, which `penstock db maintain` seals with both indexes. A few rows
have a word that no other has. Each question is asked as `penstock search` asks it, as
the reader and in slices, and as somebody would type it; both have to find the same. It
is asked once before it is measured, so that what it reads is in memory.

Exit codes: 0 measured, 1 something failed, 2 usage, 130 interrupted.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

import asyncpg

# Run as a file, Python looks for modules beside it, not in the directory above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import days, stage
from benchmarks.days import RARE_WORD
from benchmarks.question import Place, Question, Result, answer, positive
from benchmarks.report import Sheet, Target
from benchmarks.stage import StageError
from penstock.reader import Session, open_session
from penstock.search import statements
from penstock.search.language import parse
from penstock.search.pages import read_page
from penstock.search.times import Window
from penstock.settings import ReadLimits
from penstock.sink.roles import let_reader_read

# Before the hot rows, whichever day it is: of it only the seal matters.
SEALED_DAYS_AGO: Final = 3
SEAL_OPTIONS: Final = ("--seal-message-trgm=on", "--seal-attributes-gin=on")
SEAL_SECONDS: Final = 3_600.0
PAGE_ROWS: Final = 100

FIRST_PAGE_SECONDS: Final = 0.3
RARE_WORD_SECONDS: Final = 1.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be asked for."""
    add = parser.add_argument
    add("--rows", type=positive, default=2_000_000, help="rows of the last hours")
    add("--hours", type=positive, default=1, help="hours they are spread over")
    add(
        "--fresh-rows",
        type=positive,
        default=100_000,
        help="those of them that have just come: not in the BRIN yet",
    )
    add("--sealed-rows", type=positive, default=500_000, help="rows of a sealed day")
    add("--asked", type=positive, default=5, help="times each question is measured")
    add("--seed", type=int, default=1)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, in both ways."""

    name: str
    filter: str
    window: Window
    by_hand: str
    kind: str = "page"


def measure(options: argparse.Namespace, place: Place) -> Result:
    """Make the rows, then ask."""
    url = place.stack.enter_context(stage.postgres(place.directory))
    now = datetime.now(UTC).replace(microsecond=0)
    return asyncio.run(_measure(options, url, now, place.directory))


async def _measure(
    options: argparse.Namespace, url: str, now: datetime, directory: Path
) -> Result:
    pool = days.tuples(options.seed)
    sealed_start = (now - timedelta(days=SEALED_DAYS_AGO)).replace(
        hour=0, minute=0, second=0
    )
    connection = await asyncpg.connect(url)
    stage.say(f"storing {options.sealed_rows:,} rows of a day, and sealing it")
    sealed = Window(sealed_start, sealed_start + timedelta(days=1))
    await days.store(connection, pool, options.sealed_rows, sealed.start, sealed.end)
    stage.run_penstock(
        ["db", "maintain", "--database-url", url, *SEAL_OPTIONS],
        directory,
        patience_seconds=SEAL_SECONDS,
    )
    stage.say(f"storing {options.rows:,} rows of {options.hours} hours")
    hot = Window(now - timedelta(hours=options.hours), now)
    # What has come in the last seconds has no entry in the BRIN (sink.summaries).
    fresh = min(options.fresh_rows, options.rows)
    parting = hot.end - (hot.end - hot.start) / options.rows * fresh
    await days.store(connection, pool, options.rows - fresh, hot.start, parting)
    await connection.execute("VACUUM (ANALYZE) logs")
    await days.store(connection, pool, fresh, parting, hot.end, rare=0)
    await let_reader_read(url)
    figures = []
    async with open_session(url, ReadLimits(), is_embedded=True) as session:
        for asked in _questions(now, sealed):
            stage.say(f"asking: {asked.name}")
            figures.append(await _both(connection, session, asked, options.asked))
    bytes_stored = await connection.fetchval(
        "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('logs')"
    )
    version = await connection.fetchval("SHOW server_version")
    await connection.close()
    return {
        "rows": options.rows,
        "hours": options.hours,
        "sealed_rows": options.sealed_rows,
        "stored_bytes": int(bytes_stored),
        "questions": figures,
        "opened_seconds": await _opening(url),
        "postgresql": version,
    }


async def _opening(url: str) -> float:
    started = time.perf_counter()
    async with open_session(url, ReadLimits(), is_embedded=True) as session:
        await session.fetch("SELECT 1")
    return time.perf_counter() - started


# --- questions


def _questions(now: datetime, sealed: Window) -> list[Asked]:
    hour = Window(now - timedelta(hours=1), now)
    rows = "SELECT * FROM logs WHERE "
    newest = f" ORDER BY ts DESC LIMIT {PAGE_ROWS}"
    in_hour = f"ts >= '{hour.start.isoformat()}' AND ts < '{hour.end.isoformat()}'"
    in_sealed = (
        f"ts >= '{sealed.start.isoformat()}' AND ts < '{sealed.end.isoformat()}'"
    )
    word = f"message ILIKE '%{RARE_WORD}%'"
    return [
        Asked("first page of the last hour", "", hour, f"{rows}{in_hour}{newest}"),
        Asked(
            "first page, level:>=error",
            "level:>=error",
            hour,
            f"{rows}{in_hour} AND level >= 'ERROR'{newest}",
        ),
        Asked(
            "first page, a frequent word",
            "timeout",
            hour,
            f"{rows}{in_hour} AND message ILIKE '%timeout%'{newest}",
        ),
        Asked(
            "a rare word in the last hour",
            RARE_WORD,
            hour,
            f"{rows}{in_hour} AND {word}{newest}",
        ),
        Asked(
            "a rare attribute in the last hour",
            "request_id:rare-4",
            hour,
            f"{rows}{in_hour} AND attributes->>'request_id' = 'rare-4'{newest}",
        ),
        Asked(
            "histogram of the last hour",
            "",
            hour,
            "SELECT date_bin('2 min', ts, '2026-01-01'), level, count(*) FROM logs"
            f" WHERE {in_hour} GROUP BY 1, 2",
            "histogram",
        ),
        Asked(
            "top services of the last hour",
            "",
            hour,
            f"SELECT service, count(*) FROM logs WHERE {in_hour}"
            " GROUP BY 1 ORDER BY 2 DESC LIMIT 20",
            "top",
        ),
        Asked(
            "a rare word in a sealed day",
            RARE_WORD,
            sealed,
            f"{rows}{in_sealed} AND {word}{newest}",
        ),
        Asked(
            "a rare attribute in a sealed day",
            "request_id:rare-4",
            sealed,
            f"{rows}{in_sealed} AND attributes->>'request_id' = 'rare-4'{newest}",
        ),
    ]


async def _both(
    connection: asyncpg.Connection, session: Session, asked: Asked, times: int
) -> dict[str, Any]:
    async def by_hand() -> int:
        return len(await connection.fetch(asked.by_hand))

    async def searched() -> int:
        return await _search(session, asked)

    found, seconds = await _timed(searched, times)
    found_by_hand, by_hand_seconds = await _timed(by_hand, times)
    if asked.kind == "page" and found != found_by_hand:
        raise StageError(f"{asked.name}: {found} rows, and {found_by_hand} by hand")
    return {
        "name": asked.name,
        "rows": found,
        "search_seconds": seconds,
        "by_hand_seconds": by_hand_seconds,
    }


async def _search(session: Session, asked: Asked) -> int:
    filter, window = parse(asked.filter), asked.window
    if asked.kind == "histogram":
        step = statements.step_for(window, 48)
        origin = statements.origin_for(window, UTC)
        query = statements.histogram(filter, window, step=step, origin=origin)
        return len((await session.fetch(*query)).rows)
    if asked.kind == "top":
        query = statements.top(filter, window, ("service",), limit=20)
        return len((await session.fetch(*query)).rows)
    return len((await read_page(session, filter, window, limit=PAGE_ROWS)).rows)


async def _timed(ask: Callable[[], Awaitable[int]], times: int) -> tuple[int, float]:
    found = await ask()
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        await ask()
        seconds.append(time.perf_counter() - started)
    return found, median(seconds)


# --- report


def sheets(result: Result) -> list[Sheet]:
    """The questions, each in both ways."""
    title = (
        f"A search, of {result['rows']:,} rows in {result['hours']} hours and"
        f" {result['sealed_rows']:,} in a sealed day"
    )
    rows = [
        [
            each["name"],
            f"{each['rows']:,}",
            f"{1000 * each['search_seconds']:,.1f}",
            f"{1000 * each['by_hand_seconds']:,.1f}",
        ]
        for each in result["questions"]
    ]
    rows.append(
        ["(opening a session)", "", f"{1000 * result['opened_seconds']:,.1f}", ""]
    )
    return [Sheet(title, ["", "rows", "search, ms", "by hand, ms"], rows)]


def targets(result: Result) -> list[Target]:
    """What issue 6 asks for."""
    seconds = {each["name"]: each["search_seconds"] for each in result["questions"]}
    wanted = {
        "first page of the last hour": FIRST_PAGE_SECONDS,
        "a rare word in a sealed day": RARE_WORD_SECONDS,
    }
    return [
        Target(
            f"{name}, of {result['rows'] + result['sealed_rows']:,} rows",
            f"under {1000 * most:,.0f} ms",
            f"{1000 * seconds[name]:,.0f} ms",
            seconds[name] < most,
        )
        for name, most in wanted.items()
    ]


QUESTION = Question(
    name="queries",
    asks="How long does a search take, against the same SQL typed by hand?",
    add_options=add_options,
    measure=measure,
    sheets=sheets,
    targets=targets,
)


if __name__ == "__main__":
    sys.exit(answer(QUESTION))
