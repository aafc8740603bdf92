-- Named blocks: each begins with its name between double dashes.

-- limit_waiting --
-- Everybody who comes to the table waits behind us for so long.
SET LOCAL lock_timeout = '{milliseconds}ms'

-- drop --
-- Locks the partitioned table for an instant; the files go after the lock has.
DROP TABLE IF EXISTS {partition}

-- holds_expired --
SELECT EXISTS (SELECT FROM logs_default WHERE ts < to_timestamp($1))

-- default_pages --
SELECT pg_relation_size('logs_default') / current_setting('block_size')::int

-- delete_expired --
-- The default partition cannot be dropped. So many pages at a time: each is read once
-- and no transaction is long.
DELETE FROM logs_default
WHERE ts < to_timestamp($1) AND ctid >= '({first_page},0)' AND ctid < '({end_page},0)'

-- count_expired --
SELECT count(*) FROM logs_default WHERE ts < to_timestamp($1)
