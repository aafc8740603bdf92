-- Named blocks: each begins with its name between double dashes.

-- try_lock --
-- Of many processes one maintains the database; held until its connection ends.
SELECT pg_try_advisory_lock(hashtext('penstock.maintenance'))

-- limit_waiting --
-- Who waits for a lock holds up those who come after; no sender waits longer than this.
SET lock_timeout = '2s'

-- has_schema --
SELECT to_regclass('penstock_day') IS NOT NULL

-- owner --
SELECT pg_get_userbyid(relowner)::text AS owner,
       pg_has_role(relowner, 'USAGE') AS is_ours
FROM pg_class WHERE oid = to_regclass('logs')

-- now_seconds --
SELECT extract(epoch FROM now())::float8

-- days --
-- The days that have a partition, oldest first, by their bounds: its name alone is no
-- reason to drop a table.
SELECT child.relname AS partition,
       child.oid AS oid,
       extract(epoch FROM bound[1]::timestamptz)::float8 AS start_seconds,
       extract(epoch FROM bound[2]::timestamptz)::float8 AS end_seconds,
       coalesce(pg_total_relation_size(child.oid), 0) AS size_bytes,
       EXISTS (
           SELECT FROM penstock_day WHERE penstock_day.partition = child.oid
       ) AS is_sealed,
       ARRAY(
           SELECT index.relname::text
           FROM pg_index JOIN pg_class AS index ON index.oid = pg_index.indexrelid
           WHERE pg_index.indrelid = child.oid AND pg_index.indisvalid
       ) AS indexes
FROM pg_inherits
JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
CROSS JOIN LATERAL regexp_match(
    pg_get_expr(child.relpartbound, child.oid),
    'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)'
) AS bound
WHERE pg_inherits.inhparent = 'logs'::regclass
  AND child.relname ~ '^logs_[0-9]{8}$'
  AND bound IS NOT NULL
ORDER BY start_seconds

-- days_in_default --
-- Days that might have a partition and of which the default one holds rows.
SELECT DISTINCT floor(extract(epoch FROM ts) / 86400)::int AS day
FROM logs_default
WHERE ts >= to_timestamp($1) AND ts < to_timestamp($2)

-- default_bytes --
SELECT pg_relation_size('logs_default')

-- count_default --
SELECT count(*) FROM logs_default

-- estimate_default --
-- What the planner makes of the table's size and its last ANALYZE: reads no row.
EXPLAIN (FORMAT JSON) SELECT FROM logs_default
