"""Databases to be backed up and restored, and what tells that two are the same."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from penstock.backup.manifest import Manifest, decode, encode, manifest_key
from penstock.buffer.identity import chunk_identity, part_claim
from penstock.model import Batch
from tests import msgpack_bytes as m
from tests.integration.conftest import Database, batch_of, run_async, run_penstock
from tests.s3_server import S3

DAYS = ("20251126", "20251127", "20251128")
# What COPY's text writes otherwise than it is, and what looks like its end of data.
ODD_TAG = "a\tb\\.c"
FILL = r"""
SELECT penstock_make_day(day::date) FROM unnest('{20251126,20251127,20251128}'::text[])
    AS day;
INSERT INTO logs
SELECT n, '2025-11-26T00:00:00Z'::timestamptz + n * interval '4 min',
    CASE WHEN n % 3 = 0 THEN E'a\tb\\.c' ELSE 'app' END, 'WARN', 'web', NULL,
    E'line\n\\.\n' || n || chr(8) || 'é', jsonb_build_object('n', n, 'null', NULL)
FROM generate_series(1, 900) AS n;
INSERT INTO logs (id, ts, tag, attributes)
SELECT -n, '1999-01-01T00:00:00Z', 'old', '{}' FROM generate_series(1, 5) AS n;
CREATE SCHEMA archive;
CREATE TABLE archive."old logs" PARTITION OF logs
    FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
INSERT INTO logs (id, ts, tag, attributes)
VALUES (901, '2020-06-01', 'old', '{}'), (902, 'infinity', 'odd', '{}');
INSERT INTO rejected_event (sender, tag, reason, raw) VALUES ('s', 't', 'r', '\x00ff');
INSERT INTO penstock_question (asked_by, question) VALUES ('test', 'how many?');
SELECT nextval('penstock_receiver') FROM generate_series(1, 7);
CREATE INDEX logs_20251126_message ON logs_20251126 (md5(message));
INSERT INTO penstock_day SELECT '2025-11-26', 'logs_20251126'::regclass;
"""
TABLES = """
SELECT oid::regclass::text FROM pg_class
WHERE relkind = 'r' AND relnamespace::regnamespace::text IN ('public', 'archive')
ORDER BY 1
"""
# Of days their tables, not their numbers.
ROWS = {
    "penstock_day": "SELECT day, partition::regclass, sealed_at FROM penstock_day",
}
SCHEMA = """
SELECT 'relation', relname, relkind::text, pg_get_userbyid(relowner)::text,
    coalesce(pg_get_expr(relpartbound, oid), '') || coalesce(reloptions::text, ''),
    (SELECT string_agg(right_::text, ' ' ORDER BY right_::text) FROM unnest(coalesce(
        relacl,
        acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)
    )) AS right_),
    CASE WHEN relkind IN ('i', 'I') THEN pg_get_indexdef(oid)
         WHEN relkind = 'v' THEN pg_get_viewdef(oid) END,
    obj_description(oid, 'pg_class')
FROM pg_class WHERE relnamespace::regnamespace::text IN ('public', 'penstock_read')
UNION ALL
SELECT 'function', proname, NULL, pg_get_userbyid(proowner)::text,
    pg_get_functiondef(oid),
    (SELECT string_agg(right_::text, ' ' ORDER BY right_::text)
     FROM unnest(coalesce(proacl, acldefault('f', proowner))) AS right_),
    NULL, obj_description(oid, 'pg_proc')
FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname ~ '^penstock'
UNION ALL
SELECT 'column', attrelid::regclass::text, attname, format_type(atttypid, atttypmod),
    attnotnull::text, attacl::text, attidentity::text, col_description(attrelid, attnum)
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = 'public'::regnamespace AND attnum > 0
UNION ALL
SELECT 'constraint', conname, pg_get_constraintdef(oid), NULL, NULL, NULL, NULL, NULL
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'sequence', sequencename::text, last_value::text, NULL, NULL, NULL, NULL, NULL
FROM pg_sequences
ORDER BY 1, 2, 3, 5
"""


def fill(database: Database) -> None:
    """Put rows of each kind into a database that is migrated."""
    run_async(execute(database.url, FILL))


def claimed_chunk() -> Batch:
    """Return a batch of a chunk, always the same, as a session hands it over."""
    entries, name = m.entry({"n": 1}), m.fixstr(b"one")
    identity = chunk_identity(
        sender="192.0.2.7", tag="app", chunk=name, metadata=None, entries=entries
    )
    batch = batch_of(entries, sender="192.0.2.7", tag="app", chunk=name)
    for segment in batch.segments:
        segment.claim = part_claim(identity, segment.encoded)
    return batch


async def execute(url: str, statements: str) -> None:
    """Run statements in a session of their own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


def rows_of(database: Database, table: str) -> list[Any]:
    """Return the rows of a table as text, in order."""
    source = ROWS.get(table, f"SELECT * FROM {table}")
    return database.fetch(
        f'SELECT row(each.*)::text COLLATE "C" FROM ({source}) AS each ORDER BY 1'
    )


def contents(database: Database) -> dict[str, list[Any]]:
    """Return all rows of all tables."""
    tables = [table for (table,) in database.fetch(TABLES)]
    return {table: rows_of(database, table) for table in tables}


def schema(database: Database) -> list[tuple[Any, ...]]:
    """Return what the catalogs say of our tables, functions, rights and sequences."""
    return database.fetch(SCHEMA)


def back_up(database: Database, store: str) -> str:
    """Make a backup by the command, and return its id."""
    made = run_penstock(
        *("backup", "create", "--store", store, "--database-url", database.url)
    )
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def read_manifest(s3: S3, prefix: str, backup: str) -> Manifest:
    """Return a backup's manifest."""
    key = f"{prefix}/{manifest_key(backup)}"
    return decode(s3.body(key), key)


def copied(s3: S3, prefix: str, to: str) -> str:
    """Copy a store to another prefix, to be spoiled there; return its URL."""
    client = s3.client()
    for key in s3.keys(f"{prefix}/"):
        name = to + key.removeprefix(prefix)
        source = {"Bucket": s3.bucket, "Key": key}
        client.copy_object(Bucket=s3.bucket, Key=name, CopySource=source)
    return s3.url(to)


def downloaded(s3: S3, prefix: str, directory: Path) -> str:
    """Copy a store to a directory; return the directory's URL as a store."""
    for key in s3.keys(f"{prefix}/"):
        path = directory / key.removeprefix(f"{prefix}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(s3.body(key))
    return directory.as_uri()


def put(s3: S3, key: str, body: bytes) -> None:
    """Write an object as nobody of ours would."""
    s3.client().put_object(Bucket=s3.bucket, Key=key, Body=body)


def changed(
    s3: S3, prefix: str, backup: str, change: Callable[[dict[str, Any]], None]
) -> None:
    """Change a backup's manifest."""
    key = f"{prefix}/{manifest_key(backup)}"
    manifest = json.loads(encode(read_manifest(s3, prefix, backup)))
    change(manifest)
    put(s3, key, json.dumps(manifest).encode())


@contextmanager
def session(database: Database) -> Iterator[Callable[[str], None]]:
    """Yield what runs statements in one session, of a loop of its own."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(database.url))

        def run(statement: str) -> None:
            runner.run(connection.execute(statement))

        try:
            yield run
        finally:
            runner.run(connection.close())
