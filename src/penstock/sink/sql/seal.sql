-- Named blocks: each begins with its name between double dashes.

-- vacuum --
-- Nothing writes there but late rows: frozen once, never to be rewritten for it. Without
-- TRUNCATE it takes no lock that a late row would wait for.
VACUUM (FREEZE, ANALYZE, TRUNCATE false) {partition}

-- long_transaction --
-- An index that is made CONCURRENTLY waits for older transactions, more than once.
SELECT EXISTS (
    SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
      AND backend_type = 'client backend'
      AND xact_start < now() - interval '10 seconds'
)

-- wait_for_others --
-- Holds up no sender: whoever writes does not conflict with a build that waits. But the
-- rest of maintenance waits with it.
SET lock_timeout = '1min'

-- limit_waiting --
SET lock_timeout = '2s'

-- create_trgm --
CREATE EXTENSION IF NOT EXISTS pg_trgm

-- trgm_schema --
SELECT quote_ident(nspname)
FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
WHERE extname = 'pg_trgm'

-- drop_index --
-- What a build that was interrupted has left: it costs writes and helps no query.
DROP INDEX CONCURRENTLY IF EXISTS {index}

-- create_message_trgm --
CREATE INDEX CONCURRENTLY {index}
    ON {partition} USING gin (message {trgm_schema}.gin_trgm_ops)

-- create_attributes_gin --
CREATE INDEX CONCURRENTLY {index} ON {partition} USING gin (attributes jsonb_path_ops)

-- record --
INSERT INTO penstock_day (day, partition) VALUES ($1, $2)
ON CONFLICT (day) DO UPDATE
SET partition = excluded.partition, sealed_at = now()

-- forget_dropped --
DELETE FROM penstock_day
WHERE NOT EXISTS (SELECT FROM pg_class WHERE pg_class.oid = penstock_day.partition)
