-- Named blocks: each begins with its name between double dashes.

-- same_text --
-- Of a session that sums up rows: what is in a row is then the same text on any server.
-- One core and no index: the rest of the machine is the writers'.
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, MDY';
SET IntervalStyle = 'postgres';
SET bytea_output = 'hex';
SET extra_float_digits = 1;
SET max_parallel_workers_per_gather = 0

-- sum_rows --
-- Rows in whatever order, those of a table as those that were restored from it: a sum of
-- 64-bit hashes is no other for it. The columns are named, so that a later migration may
-- add some.
SELECT count(*) AS rows,
       coalesce(sum(hashtextextended(
           ROW(id, ts, tag, level, service, host, message, attributes)::text, 0
       )), 0)::text AS checksum,
       min(ts) FILTER (WHERE ts > '0001-01-02' AND ts < '9999-12-31') AS first_ts,
       max(ts) FILTER (WHERE ts > '0001-01-02' AND ts < '9999-12-31') AS last_ts
FROM {table}


-- unlimited --
-- Of PostgreSQL 17 and newer: a backup takes as long as it takes.
SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'

-- limit_waiting --
-- Longer than any lock of ours that keeps readers out; somebody else's is told of.
SET lock_timeout = '60s'

-- export_snapshot --
SELECT pg_export_snapshot() AS id, now() AS created_at, pg_backend_pid() AS holder_pid

-- take_snapshot --
SET TRANSACTION SNAPSHOT '{snapshot}'

-- place --
-- Of names only what the catalog has: to look at logs itself would be a lock on each of
-- its days, which retention would wait for.
SELECT current_database()::text AS database,
       (SELECT oid FROM pg_database WHERE datname = current_database()) AS database_oid,
       current_user::text AS login,
       to_regclass('logs')::oid AS logs,
       (SELECT format('%I.%I', home.nspname, one.relname)
        FROM pg_class AS one JOIN pg_namespace AS home ON home.oid = one.relnamespace
        WHERE one.oid = to_regclass('logs')) AS logs_in_sql,
       to_regclass('penstock_schema')::oid AS schema_table,
       to_regclass('penstock_day')::oid AS day_table,
       has_function_privilege('pg_control_system()', 'EXECUTE') AS may_identify,
       current_setting('track_counts')::boolean AS counts_changes,
       current_setting('block_size')::integer AS block_bytes

-- schema_version --
SELECT coalesce(max(version), 0) FROM penstock_schema

-- system_identifier --
SELECT system_identifier::text FROM pg_control_system()

-- days --
-- The tables that hold the rows of logs, in whatever depth below it. Their sizes are those
-- of now, not of the snapshot.
WITH RECURSIVE tree AS (
    SELECT inhrelid AS oid FROM pg_inherits WHERE inhparent = to_regclass('logs')
    UNION ALL
    SELECT inhrelid FROM pg_inherits JOIN tree ON inhparent = tree.oid
)
SELECT child.oid AS oid,
       child.relname::text AS name,
       format('%I.%I', home.nspname, child.relname) AS in_sql,
       child.relkind::text AS kind,
       coalesce(pg_table_size(child.oid), 0) AS size_bytes,
       child.relnamespace = logs.relnamespace AS is_beside_logs,
       extract(epoch FROM bound[1]::timestamptz)::float8 AS start_seconds,
       extract(epoch FROM bound[2]::timestamptz)::float8 AS end_seconds
FROM tree
JOIN pg_class AS child USING (oid)
JOIN pg_namespace AS home ON home.oid = child.relnamespace
JOIN pg_class AS logs ON logs.oid = to_regclass('logs')
LEFT JOIN LATERAL regexp_match(
    pg_get_expr(child.relpartbound, child.oid),
    '^FOR VALUES FROM \(''([^'']+)''\) TO \(''([^'']+)''\)$'
) AS bound ON true
WHERE child.relkind <> 'p'
ORDER BY home.nspname, child.relname

-- sealed --
-- The tables, by oid, that maintenance has closed.
SELECT partition FROM penstock_day

-- other_tables --
-- Those that pg_dump takes the rows of, beside logs: none of a temporary or of another
-- server's, none of an extension's.
WITH RECURSIVE tree AS (
    SELECT to_regclass('logs')::oid AS oid
    UNION ALL
    SELECT inhrelid FROM pg_inherits JOIN tree ON inhparent = tree.oid
)
SELECT one.oid AS oid, format('%I.%I', home.nspname, one.relname) AS in_sql
FROM pg_class AS one JOIN pg_namespace AS home ON home.oid = one.relnamespace
WHERE one.relkind = 'r' AND one.relpersistence <> 't'
  AND home.nspname !~ '^pg_' AND home.nspname <> 'information_schema'
  AND one.oid NOT IN (SELECT oid FROM tree)
  AND NOT EXISTS (
      SELECT FROM pg_depend
      WHERE classid = 'pg_class'::regclass AND objid = one.oid AND deptype = 'e'
  )
ORDER BY in_sql

-- count_rows --
SELECT count(*) FROM {table}

-- hidden --
-- What pg_dump would have to read and this login may not.
SELECT CASE WHEN has_schema_privilege(home.oid, 'USAGE')
           THEN format('%I.%I', home.nspname, one.relname)
           ELSE format('the schema %I', home.nspname)
       END AS name
FROM pg_class AS one JOIN pg_namespace AS home ON home.oid = one.relnamespace
WHERE one.relkind IN ('r', 'p', 'S') AND one.relpersistence <> 't'
  AND home.nspname !~ '^pg_' AND home.nspname <> 'information_schema'
  AND NOT (
      has_schema_privilege(home.oid, 'USAGE')
      AND CASE one.relkind
          WHEN 'S' THEN has_sequence_privilege(one.oid, 'SELECT')
          ELSE has_table_privilege(one.oid, 'SELECT')
      END
  )
  AND NOT EXISTS (
      SELECT FROM pg_depend
      WHERE classid = 'pg_class'::regclass AND objid = one.oid AND deptype = 'e'
  )
ORDER BY home.nspname = 'public' DESC, one.relkind DESC, one.relname

-- roles --
-- Whom something in this database belongs to or is granted to. Of the cluster's first
-- superuser PostgreSQL keeps no account.
SELECT rolname::text AS name
FROM pg_roles
WHERE rolname !~ '^pg_'
  AND (oid IN (
      SELECT refobjid FROM pg_shdepend
      WHERE refclassid = 'pg_authid'::regclass
        AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  ) OR oid = 10 AND EXISTS (
      SELECT FROM pg_class WHERE relowner = 10 AND oid >= 16384
  ))
ORDER BY name

-- extensions --
SELECT extname::text AS name FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY name

-- gone --
-- Whether any of the tables has been dropped since the snapshot.
SELECT EXISTS (
    SELECT FROM unnest($1::oid[]) AS was (oid)
    WHERE NOT EXISTS (SELECT FROM pg_class WHERE pg_class.oid = was.oid)
)

-- replaced --
-- Whether another table has taken the name.
SELECT EXISTS (
    SELECT FROM pg_class AS one JOIN pg_namespace AS home ON home.oid = one.relnamespace
    WHERE format('%I.%I', home.nspname, one.relname) = $1 AND one.oid <> $2
)

-- locked --
-- Those of the tables that somebody keeps readers out of, and who.
SELECT format('%I.%I', home.nspname, one.relname) AS name, held.pid AS pid
FROM pg_locks AS held
JOIN pg_class AS one ON one.oid = held.relation
JOIN pg_namespace AS home ON home.oid = one.relnamespace
WHERE held.locktype = 'relation' AND held.granted AND held.mode = 'AccessExclusiveLock'
  AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND held.relation = ANY ($1::oid[])
ORDER BY name

-- visibility_schema --
-- Where pg_visibility is, if it is there and we may ask it.
SELECT quote_ident(nspname)
FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
WHERE extname = 'pg_visibility' AND has_schema_privilege(nspname, 'USAGE')
  -- Of a schema that has none of the name: null.
  AND has_function_privilege(
      to_regprocedure(format('%I.pg_visibility_map_summary(regclass)', nspname)), 'EXECUTE'
  )

-- fingerprints --
-- Of the tables as they are now, outside of a snapshot. Statistics that a crash has lost
-- begin anew, which changes the time since when.
SELECT one.oid AS oid,
       one.relfilenode AS relfilenode,
       coalesce(pg_relation_size(one.oid), 0) AS size_bytes,
       coalesce(pg_stat_get_tuples_inserted(one.oid), 0) AS inserted_rows,
       coalesce(pg_stat_get_tuples_updated(one.oid), 0) AS updated_rows,
       coalesce(pg_stat_get_tuples_deleted(one.oid), 0) AS deleted_rows,
       concat_ws(' ',
           (SELECT stats_reset FROM pg_stat_bgwriter),
           (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database())
       ) AS counted_since
FROM pg_class AS one
WHERE one.oid = ANY ($1::oid[])

-- frozen_pages --
SELECT all_frozen FROM {schema}.pg_visibility_map_summary($1::oid::regclass)

-- may_hold_counts --
-- Sessions that may have changed rows and not told the statistics yet: they do so within a
-- second when they are busy, and ten seconds when they are not (pgstat_report_stat), or at
-- their end. Of somebody else's one may not be let see more than that it is there.
SELECT pid, backend_start
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND pid <> $2
  AND backend_type IS DISTINCT FROM 'autovacuum worker'
  AND backend_type IS DISTINCT FROM 'walsender'
  AND (state IS DISTINCT FROM 'idle'
       OR state_change > now() - make_interval(secs => $1))
