-- Named blocks: each begins with its name between double dashes.

-- missing_periods --
-- Of the last, this and the next period, by this server's clock, those without a
-- partition.
SELECT period.partition, period.starts,
       period.starts <= now() AND period.ends > now() AS is_current
FROM (
    SELECT starts, starts + interval '6 hours' AS ends,
           'ingest_chunk_' || to_char(starts AT TIME ZONE 'UTC', 'YYYYMMDDHH24')
               AS partition
    FROM generate_series(-1, 1) AS away,
         LATERAL (
             SELECT date_bin('6 hours', now(), '2020-01-01 00:00+00')
                    + away * interval '6 hours' AS starts
         ) AS moved
) AS period
WHERE NOT EXISTS (
    SELECT FROM pg_inherits
    JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
    WHERE pg_inherits.inhparent = 'ingest_chunk'::regclass
      AND child.relname = period.partition
)
ORDER BY period.starts

-- make_period --
-- With the rights of the tables' owner: migrations/0005_roles.sql.
SELECT penstock_make_claim_period($1)

-- ended_periods --
-- Periods that ended longer ago than so many seconds, by this server's clock.
SELECT child.relname AS partition,
       coalesce(pg_total_relation_size(child.oid), 0) AS size_bytes
FROM pg_inherits
JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
CROSS JOIN LATERAL regexp_match(
    pg_get_expr(child.relpartbound, child.oid), 'TO \(''([^'']+)''\)'
) AS bound
WHERE pg_inherits.inhparent = 'ingest_chunk'::regclass
  AND child.relname ~ '^ingest_chunk_[0-9]{10}$'
  AND bound[1]::timestamptz < now() - make_interval(secs => $1)
ORDER BY child.relname
