-- Named blocks: each begins with its name between double dashes. What stands in braces is a
-- name, quoted as PostgreSQL does; own is the schema of penstock_restore.

-- one_at_a_time --
-- To the end of the session, which a lost connection is.
SELECT pg_try_advisory_lock(hashtext('penstock.restore'))

-- wait_for_the_same --
-- Of a run that was killed a transaction may be at its end still.
SELECT pg_advisory_lock(hashtextextended('penstock.restore.' || $1, 0))

-- place --
-- Whether our tables are there, what else is, and what we may do.
SELECT me.rolname::text AS login,
       me.rolsuper AS is_superuser,
       me.rolsuper OR me.rolcreaterole AS may_make_roles,
       current_schema()::text AS schema,
       (
           SELECT nspname::text
           FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
           WHERE pg_class.oid = to_regclass('logs') AND relkind = 'p'
             AND to_regclass('penstock_schema') IS NOT NULL
       ) AS home,
       ARRAY(
           SELECT pg_class.oid::regclass::text
           FROM pg_class
           WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
             AND relnamespace::regnamespace::text !~ '^pg_|^information_schema$'
             AND relname <> 'penstock_restore'
             AND NOT EXISTS (
                 SELECT FROM pg_depend
                 WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid
                   AND deptype = 'e'
             )
           ORDER BY relname LIMIT 4
       ) AS tables
FROM pg_roles AS me
WHERE me.rolname = current_user

-- has_progress --
SELECT to_regclass('{own}.penstock_restore') IS NOT NULL

-- make_progress --
CREATE TABLE IF NOT EXISTS {own}.penstock_restore (
    backup text        NOT NULL,
    step   text        NOT NULL,
    done   bigint      NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (backup, step)
)

-- progress --
SELECT backup, step, done FROM {own}.penstock_restore

-- note --
INSERT INTO {own}.penstock_restore (backup, step, done) VALUES ($1, $2, $3)
ON CONFLICT (backup, step) DO UPDATE SET done = excluded.done, at = now()

-- noted --
SELECT done FROM {own}.penstock_restore WHERE backup = $1 AND step = $2

-- forget_progress --
DROP TABLE IF EXISTS {own}.penstock_restore

-- missing_roles --
SELECT name FROM unnest($1::text[]) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)

-- known_settings --
SELECT name FROM pg_settings

-- home_of_logs --
-- Of a database that is being restored, whatever the search_path.
SELECT nspname::text
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relname = 'logs' AND relkind = 'p'
  AND EXISTS (
      SELECT FROM pg_class AS beside
      WHERE beside.relname = 'penstock_schema'
        AND beside.relnamespace = pg_class.relnamespace
  )

-- keep_seals --
-- Rows that were copied with FREEZE are what the seal makes of a day. The tables are
-- others than those that were sealed, by their number.
UPDATE {schema}.penstock_day
SET partition = to_regclass('{schema}.logs_' || to_char(day, 'YYYYMMDD'))
WHERE to_char(day, 'YYYYMMDD') = ANY ($1::text[])

-- forget_seals --
DELETE FROM {schema}.penstock_day
WHERE to_char(day, 'YYYYMMDD') <> ALL ($1::text[])

-- forget_seal --
-- It is sealed anew by maintenance, frozen and indexed.
DELETE FROM {schema}.penstock_day WHERE to_char(day, 'YYYYMMDD') = $1

-- analyze --
ANALYZE {table}

-- truncate --
-- So that COPY may freeze its rows (PostgreSQL documentation, COPY, "FREEZE").
TRUNCATE {table}

-- child --
-- A day's table as SQL has it.
SELECT child.oid::regclass::text
FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
WHERE inhparent = to_regclass('{schema}.logs') AND child.relname = $1

-- make_day --
SELECT {schema}.penstock_make_day($1)

-- held --
-- The rows that a restore would meet.
SELECT count(*) AS rows,
       min(ts) FILTER (WHERE ts > '0001-01-02' AND ts < '9999-12-31') AS first_ts,
       max(ts) FILTER (WHERE ts > '0001-01-02' AND ts < '9999-12-31') AS last_ts
FROM {table}
WHERE $1::text IS NULL OR tag = $1

-- delete_held --
DELETE FROM {table} WHERE $1::text IS NULL OR tag = $1

-- make_beside --
CREATE TEMPORARY TABLE penstock_beside (LIKE {table}) ON COMMIT DROP

-- count_lost --
SELECT count(*) FROM (
    SELECT * FROM {table} WHERE $1::text IS NULL OR tag = $1
    EXCEPT ALL
    SELECT * FROM pg_temp.penstock_beside
) AS lost

-- count_missing --
SELECT count(*) FROM (
    SELECT * FROM pg_temp.penstock_beside
    EXCEPT ALL
    SELECT * FROM {table} WHERE $1::text IS NULL OR tag = $1
) AS missing

-- near_beside --
-- The tables in which rows of a part may be that has no day: those of their days by now,
-- and those that are no day's.
WITH days AS MATERIALIZED (
    SELECT DISTINCT 'logs_' || to_char(ts AT TIME ZONE 'UTC', 'YYYYMMDD') AS name
    FROM pg_temp.penstock_beside
    WHERE isfinite(ts)
)
SELECT tree.relid::regclass::text AS name
FROM pg_partition_tree('{schema}.logs') AS tree
JOIN pg_class AS child ON child.oid = tree.relid
WHERE tree.isleaf
  AND (child.relname !~ '^logs_[0-9]{8}$' OR child.relname IN (SELECT name FROM days))

-- drop_known_beside --
-- A row's id is nobody else's.
DELETE FROM pg_temp.penstock_beside AS beside
USING {table} AS there
WHERE there.id = beside.id AND there.ts = beside.ts

-- insert_beside --
INSERT INTO {schema}.logs ({columns}) SELECT {columns} FROM pg_temp.penstock_beside

-- put_off_triggers --
-- What they make of a row has been made of those that are restored.
SET session_replication_role = replica

-- trigger --
-- One that would be run.
SELECT tgname::text FROM pg_trigger
WHERE tgrelid = to_regclass($1) AND NOT tgisinternal AND tgenabled IN ('O', 'A')
ORDER BY tgname LIMIT 1
