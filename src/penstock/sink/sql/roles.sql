-- Named blocks: each begins with its name between double dashes. What stands in braces is a
-- name, quoted as PostgreSQL does.
--
-- What contains what. `penstock_reader` is for people, dashboards and pg_dump: it reads the
-- tables of Penstock, also the bytes of rejected events. A statement that a stranger or a
-- model has written (`penstock sql`, `ask`, the API) runs as `penstock_query`, which has
-- SELECT on the two views of the schema penstock_read and no other right of its own: not on
-- a table of ours, nor of anybody else's, nor on a function. Its session logs in as
-- penstock_reader or a member of it and takes that role (reader/session.py). What could
-- take it back, SET and RESET and set_config, the guard refuses (ask/guard.py); were it to
-- fail there, the session would be back at its login: in a cluster of our own, and where
-- the DBA follows docs/production.md, at penstock_reader, which reads logs and writes
-- nothing. What everybody may, PUBLIC, it may too: system catalogs, built-in functions,
-- functions of extensions. Those are the guard's to refuse; the transaction is READ ONLY
-- and search_path has no schema but penstock_read and pg_catalog. Time, memory and size are
-- bounded by the session's settings, which only the same guard keeps.

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
  -- to_regclass would ask for the right to look into that schema.
  AND EXISTS (
      SELECT FROM pg_class AS view
      WHERE view.relname = 'rejected_event'
        AND view.relnamespace = to_regnamespace('penstock_read')
  )
  AND to_regclass('penstock_model_call') IS NOT NULL

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

-- create_query --
-- NOINHERIT: a role that it is made a member of by mistake gives it nothing.
DO $$
BEGIN
    CREATE ROLE penstock_query NOLOGIN NOINHERIT;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$

-- let_log_in --
-- In a cluster of our own: no server's session can take back rights it never had.
ALTER ROLE {role} LOGIN

-- limit_reader --
-- Of a cluster of our own, with 50 connections: people cannot leave the writers none.
-- And what queries spill to disk they bound themselves, which is for superusers to allow.
ALTER ROLE penstock_reader CONNECTION LIMIT 30;
GRANT SET ON PARAMETER temp_file_limit TO penstock_reader

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

-- grant_to_query --
REVOKE ALL ON logs, rejected_event, ingest_chunk, penstock_writer, penstock_schema,
    penstock_day FROM penstock_query;
GRANT USAGE ON SCHEMA penstock_read TO penstock_query, penstock_reader;
GRANT SELECT ON penstock_read.logs, penstock_read.rejected_event
    TO penstock_query, penstock_reader

-- grant_to_asker --
-- Questions and what they cost: added to, and what came of a question; neither who asked
-- what, nor a cost, is changed. No table of logs.
REVOKE ALL ON penstock_question, penstock_model_call FROM penstock_asker;
GRANT USAGE ON SCHEMA {schema} TO penstock_asker;
GRANT SELECT ON penstock_question, penstock_model_call TO penstock_asker;
GRANT INSERT (asked_by, question),
    UPDATE (sql, reading, outcome, problem, row_count, seconds, is_saved)
    ON penstock_question TO penstock_asker;
GRANT INSERT (question, model, input_tokens, cache_write_tokens, cache_read_tokens,
    output_tokens, cost_usd) ON penstock_model_call TO penstock_asker

-- may_take_query --
-- Whether whoever is a member of penstock_reader may run as penstock_query.
SELECT pg_has_role('penstock_reader', 'penstock_query', $1)

-- let_take_query --
GRANT penstock_query TO penstock_reader

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

-- limit_temp_files --
-- What the queries of one session may write to disk; only a superuser may say so.
ALTER ROLE {login} IN DATABASE {database} SET temp_file_limit = '4GB'

-- excess --
-- What the writer can do all the same, through PUBLIC or a role it is a member of.
SELECT right_name || ' on ' || table_name AS excess
FROM unnest(ARRAY['SELECT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS right_name,
     unnest(ARRAY['logs', 'logs_default', 'rejected_event']) AS table_name
WHERE has_table_privilege('penstock_writer', table_name, right_name)

-- excess_of_query --
-- What a guarded statement could do all the same, through PUBLIC or a role: read tables and
-- views beside its two, and call what runs with its owner's rights.
SELECT 'SELECT on ' || oid::regclass AS excess
FROM pg_class
WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
  AND relnamespace::regnamespace::text !~ '^pg_|^information_schema$|^penstock_read$'
  AND has_schema_privilege('penstock_query', relnamespace, 'USAGE')
  AND has_any_column_privilege('penstock_query', oid, 'SELECT')
UNION ALL
SELECT 'EXECUTE on ' || oid::regprocedure
FROM pg_proc
WHERE prosecdef
  AND pronamespace::regnamespace::text !~ '^pg_|^information_schema$'
  AND has_schema_privilege('penstock_query', pronamespace, 'USAGE')
  AND has_function_privilege('penstock_query', oid, 'EXECUTE')
ORDER BY excess

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
          'penstock_schema', 'penstock_day', 'penstock_question',
          'penstock_model_call'
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
ALTER FUNCTION penstock_hold_day OWNER TO penstock_owner;
ALTER SCHEMA penstock_read OWNER TO penstock_owner;
ALTER VIEW penstock_read.logs OWNER TO penstock_owner;
ALTER VIEW penstock_read.rejected_event OWNER TO penstock_owner

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

-- is_readable --
-- In a cluster of our own: whether `penstock sql` and `ask` can log in, and have
-- something to read.
SELECT EXISTS (
    SELECT FROM pg_roles
    WHERE rolname = 'penstock_reader' AND rolcanlogin AND rolconnlimit >= 0
) AND EXISTS (
    SELECT FROM pg_roles JOIN pg_namespace ON nspname = 'penstock_read'
    WHERE rolname = 'penstock_query'
      AND has_schema_privilege(pg_roles.oid, pg_namespace.oid, 'USAGE')
      AND pg_has_role('penstock_reader', pg_roles.oid, 'SET')
) AND EXISTS (
    SELECT FROM pg_roles
    WHERE rolname = 'penstock_asker' AND rolcanlogin
      AND has_column_privilege(
          oid, to_regclass('penstock_question'), 'question', 'INSERT'
      )
)
