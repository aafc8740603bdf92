-- Named blocks: each begins with its name between double dashes. What stands in braces is a
-- name, quoted as PostgreSQL does.

-- place --
-- Where our tables are, whose they are, and what we may do there. No row: not migrated.
SELECT current_user::text AS login,
       me.rolsuper AS is_superuser,
       me.rolsuper OR me.rolcreaterole AS may_make_roles,
       tables.relnamespace::regnamespace::text AS schema,
       quote_ident(base.datname) AS database,
       owner.rolname::text AS owner,
       owner.rolsuper AS superuser_owns,
       pg_has_role(owner.oid, 'USAGE') AS may_grant,
       pg_has_role(home.nspowner, 'USAGE') AS owns_schema,
       pg_has_role(base.datdba, 'USAGE') AS owns_database,
       has_schema_privilege('public', home.oid, 'CREATE') AS all_may_create,
       has_database_privilege('public', base.oid, 'TEMP') AS all_may_use_temp
FROM pg_class AS tables
JOIN pg_namespace AS home ON home.oid = tables.relnamespace
JOIN pg_roles AS owner ON owner.oid = tables.relowner
JOIN pg_roles AS me ON me.rolname = current_user
JOIN pg_database AS base ON base.datname = current_database()
WHERE tables.oid = to_regclass('logs')
  AND to_regproc('penstock_begin_batch') IS NOT NULL

-- one_at_a_time --
SELECT pg_advisory_xact_lock(hashtext('penstock.migrations'))

-- limit_waiting --
-- Whoever comes to a table waits behind us for so long.
SET lock_timeout = '2s'

-- existing --
SELECT rolname::text AS name FROM pg_roles WHERE rolname = ANY ($1::text[])

-- quoted --
SELECT quote_ident($1)

-- create --
-- Roles are the cluster's: somebody may make it for another database at this moment.
DO $$
BEGIN
    CREATE ROLE {role} NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$

-- let_log_in --
-- In a cluster of our own: no server's session can take back rights it never had.
ALTER ROLE {role} LOGIN

-- grant_to_writer --
-- What ingest does, statement by statement: COPY and INSERT of rows, claims and names of
-- batches, a number of its own, partitions that are missing. Nothing else is left to it,
-- whoever gave it.
REVOKE ALL ON logs, rejected_event, ingest_chunk, penstock_writer, penstock_schema,
    penstock_day FROM penstock_writer;
GRANT USAGE ON SCHEMA {schema} TO penstock_writer;
GRANT INSERT ON logs, rejected_event, ingest_chunk, penstock_writer TO penstock_writer;
GRANT SELECT (identity) ON ingest_chunk TO penstock_writer;
GRANT SELECT, UPDATE (batch) ON penstock_writer TO penstock_writer;
GRANT SELECT ON penstock_schema TO penstock_writer;
GRANT USAGE ON SEQUENCE penstock_receiver TO penstock_writer;
GRANT EXECUTE ON FUNCTION penstock_make_day(date) TO penstock_writer;
GRANT EXECUTE ON FUNCTION penstock_make_claim_period(timestamptz) TO penstock_writer;
-- With the rights of who calls them.
GRANT EXECUTE ON FUNCTION penstock_begin_batch, penstock_day_table, penstock_hold_day
    TO penstock_writer;
-- The days by their names too, as batches of one day are written; penstock_make_day does it
-- for those to come.
DO $$
DECLARE
    child regclass;
BEGIN
    FOR child IN
        SELECT inhrelid FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'logs'::regclass AND relname ~ '^logs_[0-9]{{8}}$'
          AND NOT has_table_privilege('penstock_writer', inhrelid, 'INSERT')
    LOOP
        EXECUTE format('GRANT INSERT ON %s TO penstock_writer', child);
    END LOOP;
END
$$

-- grant_to_reader --
GRANT USAGE ON SCHEMA {schema} TO penstock_reader;
GRANT SELECT ON logs, rejected_event, penstock_schema TO penstock_reader;
-- The days by their names too, as pg_dump reads them; penstock_make_day does it for those
-- to come.
DO $$
DECLARE
    child regclass;
BEGIN
    FOR child IN
        SELECT inhrelid FROM pg_inherits
        WHERE inhparent = 'logs'::regclass
          AND NOT has_table_privilege('penstock_reader', inhrelid, 'SELECT')
    LOOP
        EXECUTE format('GRANT SELECT ON %s TO penstock_reader', child);
    END LOOP;
END
$$

-- is_granted --
-- Whether this database has been set up for the roles.
SELECT has_function_privilege(
    oid, to_regprocedure('penstock_make_day(date)'), 'EXECUTE'
)
FROM pg_roles WHERE rolname = 'penstock_writer'

-- revoke_create --
REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC

-- revoke_temp --
REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC

-- grant_membership --
GRANT {role} TO {login}

-- excess --
-- What the writer can do all the same, through PUBLIC or a role it is a member of.
SELECT right_name || ' on ' || table_name AS excess
FROM unnest(ARRAY['SELECT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS right_name,
     unnest(ARRAY['logs', 'logs_default', 'rejected_event']) AS table_name
WHERE has_table_privilege('penstock_writer', table_name, right_name)

-- grant_to_owner --
GRANT USAGE, CREATE ON SCHEMA {schema} TO penstock_owner

-- to_hand_over --
-- Tables that are not the owner's yet, the partitions first.
SELECT oid::regclass::text AS name
FROM pg_class
WHERE pg_get_userbyid(relowner) <> 'penstock_owner'
  AND oid IN (
      SELECT unnest(ARRAY[
          'logs', 'rejected_event', 'ingest_chunk', 'penstock_writer',
          'penstock_schema', 'penstock_day'
      ]::regclass[])
      UNION ALL
      SELECT inhrelid FROM pg_inherits
      WHERE inhparent IN ('logs'::regclass, 'ingest_chunk'::regclass)
  )
ORDER BY relispartition DESC, relname

-- hand_over --
-- Each in a transaction of its own: thousands of days would fill the table of locks.
ALTER TABLE {table} OWNER TO penstock_owner

-- hand_over_rest --
-- What the functions may do is what their owner may: not a superuser then. When all tables
-- are its, not sooner.
ALTER SEQUENCE penstock_receiver OWNER TO penstock_owner;
ALTER TYPE log_level OWNER TO penstock_owner;
ALTER FUNCTION penstock_make_day(date) OWNER TO penstock_owner;
ALTER FUNCTION penstock_make_claim_period(timestamptz) OWNER TO penstock_owner;
ALTER FUNCTION penstock_begin_batch OWNER TO penstock_owner;
ALTER FUNCTION penstock_day_table OWNER TO penstock_owner;
ALTER FUNCTION penstock_hold_day OWNER TO penstock_owner

-- take_writer --
-- Only in a database that has been set up for it: roles are the cluster's, rights are not.
SELECT set_config('role', rolname, false)
FROM pg_roles
WHERE rolname = 'penstock_writer' AND rolname <> session_user
  AND pg_has_role(session_user, oid, $1)
  AND has_table_privilege(oid, to_regclass('logs'), 'INSERT')
  AND has_function_privilege(
      oid, to_regprocedure('penstock_make_day(date)'), 'EXECUTE'
  )

-- has_unreadable --
-- In a cluster of our own: whether there is a table that penstock_reader cannot read.
SELECT NOT EXISTS (
    SELECT FROM pg_roles WHERE rolname = 'penstock_reader' AND rolcanlogin
) OR EXISTS (
    SELECT FROM pg_class JOIN pg_roles ON rolname = 'penstock_reader'
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
      AND relnamespace::regnamespace::text !~ '^pg_|^information_schema$'
      AND NOT has_table_privilege(pg_roles.oid, pg_class.oid, 'SELECT')
)

-- grant_all_to_reader --
DO $$
DECLARE
    home regnamespace;
BEGIN
    FOR home IN
        SELECT oid FROM pg_namespace
        WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %s TO penstock_reader', home);
        EXECUTE format(
            'GRANT SELECT ON ALL TABLES IN SCHEMA %s TO penstock_reader', home
        );
    END LOOP;
    GRANT pg_read_all_stats TO penstock_reader;
END
$$
