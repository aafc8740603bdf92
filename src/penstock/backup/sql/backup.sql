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
