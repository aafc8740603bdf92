-- Named blocks: each begins with its name between double dashes.

-- existing_days --
-- The days that have a partition.
SELECT substr(child.relname, 6) AS day
FROM pg_inherits
JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
WHERE pg_inherits.inhparent = 'logs'::regclass
  AND child.relname ~ '^logs_[0-9]{8}$'

-- limit_waiting --
-- Rows can go to the default partition; senders cannot wait for somebody's long query.
SET LOCAL lock_timeout = '2s'

-- one_at_a_time --
-- Of several receivers one makes the partition, the others find it made.
SELECT pg_advisory_xact_lock(hashtext('penstock.partitions'))

-- create_day --
-- Made beside the table and attached: CREATE TABLE ... PARTITION OF would lock out
-- all reading and writing of logs, ATTACH locks only the default partition.
CREATE TABLE {partition} (LIKE logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS)

-- hold_default --
-- Another receiver may be about to commit rows of this day there: ATTACH would find them
-- behind our back and refuse. Waits for who writes to it, not for who reads.
LOCK TABLE logs_default IN SHARE ROW EXCLUSIVE MODE

-- move_from_default --
-- Rows of this day that came before its partition did.
WITH moved AS (
    DELETE FROM logs_default WHERE ts >= '{start}' AND ts < '{end}' RETURNING *
)
INSERT INTO {partition} SELECT * FROM moved

-- attach_day --
ALTER TABLE logs ATTACH PARTITION {partition} FOR VALUES FROM ('{start}') TO ('{end}')
