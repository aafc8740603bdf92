"""A restore of a dump, from what is asked for to what has been done.

It owns which parts are restored and in which order, several at once, and that it is
said beforehand what would be lost. The work is in restore_whole.py (into an empty
database) and restore_days.py (into one that is in use).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import asyncpg

from penstock.amounts import amount
from penstock.backup.at_once import each_at_once
from penstock.backup.checksum import prepare
from penstock.backup.loading import Dumps
from penstock.backup.manifest import DATABASE, Manifest, Part
from penstock.backup.restore_days import DayRestore, Held, compare, held_rows
from penstock.backup.restore_whole import (
    restore_day,
    restore_section,
    restore_small_tables,
)
from penstock.backup.target import (
    Target,
    begin,
    forget_nothing,
    look,
    refusals_in_words,
)
from penstock.errors import BackupError, PenstockError
from penstock.postgres.connection import connect
from penstock.sink.migrations import migrate
from penstock.sink.sql import load_migrations

# Of so many days it is said which rows would be lost: that reads the whole day.
MOST_COMPARED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be restored; `days` is empty for all, `tag` is None for all."""

    days: Collection[str] = ()
    tag: str | None = None
    is_replacing: bool = False

    @property
    def is_whole(self) -> bool:
        """Nothing of the backup is left out."""
        return not self.days and self.tag is None

    @property
    def words(self) -> str:
        """Return what is asked for, the same for the same."""
        days = f"the days {', '.join(sorted(self.days))}" if self.days else "all days"
        return days if self.tag is None else f"{days}, of tag {self.tag} only"

    def parts(self, manifest: Manifest) -> list[Part]:
        """Return the parts of logs that are asked for.

        Raises:
            BackupError: the backup has not all of these days.
        """
        of_logs = [part for part in manifest.parts if part.table != DATABASE]
        days = sorted(part.day for part in of_logs if part.day is not None)
        if absent := sorted(set(self.days) - set(days)):
            has = f"it has {days[0]} to {days[-1]}" if days else "it has no day"
            raise BackupError(
                f"the backup {manifest.id} has no day {', '.join(absent)}; {has}"
            )
        return [part for part in of_logs if not self.days or part.day in self.days]


@dataclass(slots=True)
class Restored:
    """What has been done: rows by table, and what a person should know."""

    rows: dict[str, int] = field(default_factory=dict)
    # Whose rows are all there already.
    untouched: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def restore(
    url: str,
    manifest: Manifest,
    dumps: Dumps,
    wanted: Wanted,
    *,
    jobs: int,
    on_part: Callable[[str, int | None], None] = lambda table, rows: None,
) -> Restored:
    """Restore what is wanted of a backup into the database at this URL.

    What was interrupted goes on where it ended.

    Args:
        jobs: days at once, each over a connection of its own.
        on_part: told of each table that is done; None: it was already.

    Raises:
        BackupError: it cannot be restored there; it says what would be lost.
        CorruptError: a part is not what was stored; its table is as it was.
        DatabaseUnavailableError: the database is out of reach, or has no room.
        StoreError: the store cannot be read.
    """
    parts = wanted.parts(manifest)
    newest = load_migrations()[-1].version
    if manifest.schema_version > newest:
        raise BackupError(
            f"the backup {manifest.id} has schema version {manifest.schema_version},"
            f" this Penstock knows {newest}; use Penstock {manifest.penstock_version}"
            " or newer"
        )
    done = Restored()

    def tell(part: Part, rows: int | None) -> None:
        if rows is None:
            done.untouched.append(part.table)
        else:
            done.rows[part.table] = rows
        on_part(part.table, rows)

    keeper = await connect(url)
    try:
        with refusals_in_words(url):
            target = await look(keeper, url, manifest.id)
        with refusals_in_words(target):
            work = _into_ours if target.has_logs else _into_empty
            await work(
                _Run(keeper, target, manifest, dumps, wanted, jobs, tell, done), parts
            )
    finally:
        await keeper.close()
    if wanted.tag is not None and not any(done.rows.values()) and not done.untouched:
        done.notes.append(
            f"no row that was asked for has the tag {wanted.tag!r}, which is compared"
            " as a whole"
        )
    return done


@dataclass(frozen=True, slots=True)
class _Run:
    keeper: asyncpg.Connection
    target: Target
    manifest: Manifest
    dumps: Dumps
    wanted: Wanted
    jobs: int
    tell: Callable[[Part, int | None], None]
    done: Restored


async def _into_empty(run: _Run, parts: Sequence[Part]) -> None:
    target, dumps, wanted = run.target, run.dumps, run.wanted
    database = next((p for p in run.manifest.parts if p.table == DATABASE), None)
    if database is None:
        raise BackupError(f"the backup {run.manifest.id} has no part {DATABASE}")
    if "pre-data is done" not in target.steps:
        await target.make_roles(run.keeper, run.manifest.roles)
    await begin(run.keeper, target, wanted.words)
    if "pre-data is done" not in target.steps:
        try:
            await restore_section(target, dumps, database, "pre-data")
        except PenstockError:
            await forget_nothing(run.keeper, target)
            raise
    await target.find_logs(run.keeper)
    if DATABASE not in target.steps:
        await restore_small_tables(
            target, dumps, database, parts, is_whole=wanted.is_whole
        )

    async def one(part: Part) -> None:
        run.tell(part, await restore_day(target, dumps, part, wanted.tag))

    await each_at_once(parts, one, run.jobs)
    if "post-data is done" not in target.steps:
        await restore_section(target, dumps, database, "post-data")
    await _finish(run)


async def _finish(run: _Run) -> None:
    if not run.target.is_superuser:
        run.done.notes.append(
            f"all is owned by {run.target.login}, who is no superuser; `penstock db"
            " roles` grants what the roles need"
        )
    if not run.wanted.is_whole:
        run.done.notes.append(
            f"restored {run.wanted.words}; without rejected events, claims of chunks"
            " and questions, which are restored with the whole"
        )
    # Before the migration, which refuses a database that is half restored.
    await run.keeper.execute(run.target.block("forget_progress"))
    if run.target.schema == run.target.own_schema:
        for migration in await migrate(run.target.url):
            run.done.notes.append(f"applied {migration.version:04} {migration.name}")
    else:
        run.done.notes.append(
            f"the tables are in the schema {run.target.schema}: put it first in the"
            " search_path of whoever uses them, then `penstock db migrate`"
        )


async def _into_ours(run: _Run, parts: Sequence[Part]) -> None:
    target, wanted = run.target, run.wanted
    await prepare(run.keeper)
    complete: set[str] = set()
    if not wanted.is_replacing:
        complete = await _refuse_to_lose(run, parts)
    days = DayRestore(
        target, run.dumps, tag=wanted.tag, is_replacing=wanted.is_replacing
    )

    async def one(part: Part) -> None:
        is_there = part.key in complete
        run.tell(part, None if is_there else await days.restore(part))

    await each_at_once(parts, one, run.jobs)
    if wanted.is_whole:
        run.done.notes.append(
            "the database had Penstock's tables already: rows of logs are restored;"
            " rejected events, claims of chunks and questions are as they were"
        )


async def _refuse_to_lose(run: _Run, parts: Sequence[Part]) -> set[str]:
    """Return the keys of parts of which all rows are there, and others besides.

    Raises:
        BackupError: rows are in the way; it says which.
    """
    tag = run.wanted.tag
    found = [
        (part, held)
        for part in parts
        if part.day is not None
        and (held := await held_rows(run.keeper, run.target, part, tag))
    ]
    complete: set[str] = set()
    words: list[str] = []
    not_compared: list[Held] = []
    for part, held in found:
        if len(words) == MOST_COMPARED:
            not_compared.append(held)
            continue
        differs = await compare(run.keeper, run.target, run.dumps, part, tag)
        if differs.missing_rows:
            words.append(
                f"{held.words(tag)}, {differs.lost_rows:,} of them not in the backup"
            )
        else:
            complete.add(part.key)
    if not words:
        return complete
    if not_compared:
        rows = sum(held.rows for held in not_compared)
        hold = "holds" if len(not_compared) == 1 else "hold"
        days = amount(len(not_compared), "more day")
        words.append(f"{days} {hold} {amount(rows, 'row')}")
    raise BackupError(
        f"{'; '.join(words)}. --replace deletes them and puts the backup's in their"
        " place; --day restores days that are not in the way"
    )
