"""A database with everything in it that a statement must not reach.

Secrets that everybody may read, functions with their owner's rights, operators and
functions with the names of PostgreSQL's own, extensions: what holds here holds where
somebody was careless. The session is one that contains as little as possible: it may
write, and finds all of `public` without naming it. So what a test shows is the guard's.
"""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import asyncpg

from tests.integration.conftest import Database

SECRET = "canary-5e1f"
EXTENSIONS = """
dblink pg_trgm tablefunc lo pageinspect adminpack xml2 hstore pgcrypto postgres_fdw
file_fdw fuzzystrmatch intarray unaccent pg_stat_statements pg_buffercache pg_prewarm
pg_visibility ltree tsm_system_time amcheck pgrowlocks pgstattuple sslinfo citext
""".split()
TRAPS = f"""
CREATE TABLE secrets (id bigint, secret text);
INSERT INTO secrets SELECT n, '{SECRET}' FROM generate_series(1, 3) AS n;
CREATE TABLE touched (at timestamptz DEFAULT now(), by text);
GRANT ALL ON secrets, touched TO PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO PUBLIC;
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE FUNCTION touch(by text) RETURNS text SECURITY DEFINER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO touched (by) VALUES (touch.by);
    RETURN (SELECT secret FROM secrets LIMIT 1);
END $$;
CREATE FUNCTION secdef_leak() RETURNS text LANGUAGE sql AS 'SELECT touch($$leak$$)';
CREATE FUNCTION leak_text(text) RETURNS text LANGUAGE sql AS 'SELECT touch($1)';
CREATE FUNCTION leak_row(penstock_read.logs) RETURNS text LANGUAGE sql
    AS 'SELECT touch($$row$$)';
CREATE FUNCTION leak_row(public.logs) RETURNS text LANGUAGE sql
    AS 'SELECT touch($$row$$)';
CREATE FUNCTION leak_row(record) RETURNS text LANGUAGE plpgsql
    AS 'BEGIN RETURN touch($$record$$); END';
CREATE FUNCTION lower(bigint) RETURNS text LANGUAGE sql AS 'SELECT touch($$lower$$)';
CREATE FUNCTION plus(text, text) RETURNS text LANGUAGE sql AS 'SELECT touch($$plus$$)';
CREATE OPERATOR ### (LEFTARG = text, RIGHTARG = text, FUNCTION = plus);
CREATE OPERATOR public.|| (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = int8pl);
CREATE SEQUENCE counting;
GRANT ALL ON SEQUENCE counting TO PUBLIC;
GRANT ALL ON SEQUENCE penstock_receiver TO PUBLIC;
CREATE TEXT SEARCH CONFIGURATION secret_config (COPY = simple);
CREATE COLLATION public.x FROM "C";
SELECT lo_from_bytea(4242, '{SECRET}');
"""
LINES = (
    "payment failed for order 17: deadline exceeded", "GET /api/orders 200",
    "healthz ok", "결제 실패: 주문 42", "timeout while calling db-1", "login of 김철수",
    "disk 91% full", "retry 3 of 5",
)  # fmt: skip
SEED = """
INSERT INTO logs (id, ts, tag, level, service, host, message, attributes)
SELECT n, now() - n * interval '7 minutes', 'app.' || (n % 3),
       (enum_range(NULL::log_level))[1 + n % 6],
       (ARRAY['web', 'checkout', 'db', NULL])[1 + n % 4], 'web-' || (n % 2),
       ($1::text[])[1 + n % 8],
       jsonb_build_object(
           'duration_ms', n * 13.5, 'status', (ARRAY['200', '404', '500'])[1 + n % 3],
           'method', 'GET', 'trace_id', 't' || (n / 2), 'span_id', 's' || n,
           'user', jsonb_build_object('id', gen_random_uuid(), 'name', '김철수'),
           'items', jsonb_build_array(
               jsonb_build_object('sku', 'a' || n % 5, 'n', n % 3, 'price', 9.5)),
           'tags', '["blue", "new"]'::jsonb, 'ip', '10.0.0.' || n % 9,
           'at', now(), 'bytes', (n * 1000)::text
       ) || CASE WHEN n % 4 = 0 THEN '{}' ELSE
            jsonb_build_object('parent_id', 's' || (n - n % 4)) END
FROM generate_series(1, $2::int) AS n
"""
SEED_REJECTED = f"""
INSERT INTO rejected_event (sender, tag, reason, sqlstate, raw)
SELECT '192.0.2.' || n, 'app', 'not_a_map', NULL, '{SECRET}'
FROM generate_series(1, 5) AS n
"""
TABLES = """
SELECT format(
    'SELECT %L, count(*), md5(string_agg(t::text, %L ORDER BY t::text)) FROM %s AS t',
    oid::regclass, '|', oid::regclass)
FROM pg_class WHERE relkind = 'r' AND relnamespace IN
    ('public'::regnamespace, 'penstock_read'::regnamespace)
ORDER BY oid
"""
# What a statement could have changed. The canary's own looking changes none of it.
STATE = """
SELECT jsonb_build_object(
    'sequences', (SELECT jsonb_agg(s ORDER BY s.schemaname, s.sequencename)
        FROM pg_sequences AS s),
    'relations', (
        SELECT md5(string_agg(concat(oid, relname, relacl), ',' ORDER BY oid))
        FROM pg_class AS c WHERE relkind <> 't' AND relnamespace::regnamespace::text
            NOT LIKE 'pg_toast%'),
    'functions', (SELECT md5(string_agg(p::text, ',' ORDER BY oid)) FROM pg_proc AS p),
    'types', (SELECT count(*) FROM pg_type),
    'roles', (SELECT md5(string_agg(r::text, ',' ORDER BY oid)) FROM pg_authid AS r),
    'settings', (SELECT md5(string_agg(s::text, ',')) FROM pg_db_role_setting AS s),
    'objects', (SELECT jsonb_agg(l.loid ORDER BY l.loid) FROM pg_largeobject AS l),
    'slots', (SELECT count(*) FROM pg_replication_slots),
    'statistics', (SELECT count(*) FROM pg_statistic_ext)
)::text
"""
# What it could have changed in its session. A setting with a dot comes with a library.
SESSION_STATE = """
SELECT jsonb_build_object(
    'settings', (SELECT md5(string_agg(name || setting, ',' ORDER BY name))
        FROM pg_settings WHERE name NOT LIKE '%.%'),
    'locks', (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),
    'user', current_user, 'role', session_user,
    'temporary', (SELECT count(*) FROM pg_class WHERE relpersistence = 't'),
    'listening', (SELECT count(*) FROM pg_listening_channels()),
    'prepared', (SELECT count(*) FROM pg_prepared_statements WHERE from_sql),
    'cursors', (SELECT count(*) FROM pg_cursors WHERE name LIKE 'c%')
)::text
"""
ROWS = 60


# The last: a row without a type, with one in it that asyncpg has not asked about.
UNANSWERED = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class Answer(NamedTuple):
    """What became of a statement."""

    columns: tuple[str, ...]
    rows: list[Any]
    error: Exception | None


class Canary:
    """The database, and a session in it that contains little."""

    def __init__(self, runner: asyncio.Runner, database: Database) -> None:
        self._runner = runner
        self.url = database.url
        runner.run(self._make())
        self.at_first = self.state()

    async def _make(self) -> None:
        self._admin = await asyncpg.connect(self.url)
        await self._admin.execute(TRAPS)
        self.extensions = []
        for name in EXTENSIONS:
            with contextlib.suppress(asyncpg.PostgresError):
                await self._admin.execute(f"CREATE EXTENSION {name}")
                self.extensions.append(name)
        await self._admin.execute(
            SEED.replace("$1", f"'{_array(LINES)}'").replace("$2", str(ROWS))
        )
        await self._admin.execute(SEED_REJECTED)
        self._weak = await asyncpg.connect(
            self.url,
            server_settings={"search_path": "penstock_read, pg_catalog, public"},
        )
        await self._weak.execute("SET ROLE penstock_reader")

    def close(self) -> None:
        self._runner.run(self._admin.close())
        self._runner.run(self._weak.close())

    def state(self) -> str:
        """Return a digest of all that a statement could have changed."""
        return str(self._runner.run(self._states()))

    async def _states(self) -> tuple[Any, ...]:
        tables = [row[0] for row in await self._admin.fetch(TABLES)]
        return (
            await self._admin.fetch(" UNION ALL ".join(tables)),
            await self._admin.fetchval(STATE),
            await self._weak.fetchval(SESSION_STATE),
        )

    def is_untouched(self) -> bool:
        """Tell whether no trap has been called: quicker than `state`."""
        ((touched, counted),) = self.admin(
            "SELECT (SELECT count(*) FROM touched), (SELECT is_called FROM counting)"
        )
        return not touched and not counted

    def admin(self, statement: str, *values: object) -> list[Any]:
        """Ask as a superuser."""
        return self._runner.run(self._admin.fetch(statement, *values))

    def run(self, sql: str, *, milliseconds: int = 5_000, rows: int = 2_000) -> Answer:
        """Run a statement as the reader, without a read-only transaction."""
        return self._runner.run(self._run(sql, milliseconds, rows))

    async def _run(self, sql: str, milliseconds: int, rows: int) -> Answer:
        weak = self._weak
        columns: tuple[str, ...] = ()
        await weak.execute(f"SET statement_timeout = {milliseconds}")
        try:
            async with weak.transaction():
                prepared = await weak.prepare(sql)
                columns = tuple(each.name for each in prepared.get_attributes())
                cursor = await prepared.cursor()
                return Answer(columns, await cursor.fetch(rows), None)
        except UNANSWERED as error:
            return Answer(columns, [], error)
        finally:
            await weak.execute("SET statement_timeout = 0")


@contextlib.contextmanager
def canary_in(database: Database) -> Iterator[Canary]:
    """Make the canary of a migrated database."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        canary = Canary(runner, database)
        try:
            yield canary
        finally:
            canary.close()


def _array(texts: tuple[str, ...]) -> str:
    return "{" + ",".join(json.dumps(each, ensure_ascii=False) for each in texts) + "}"
