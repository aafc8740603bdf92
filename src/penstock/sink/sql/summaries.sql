-- Named blocks: each begins with its name between double dashes.

-- limit_waiting --
-- Shorter than an autovacuum that is in the way is let be (deadlock_timeout): it makes the
-- summaries itself.
SET lock_timeout = '200ms'

-- indexes --
-- Those of the days that rows of now go to: today, and yesterday for what is under way.
SELECT index.oid AS oid
FROM pg_inherits
JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
JOIN pg_index ON pg_index.indrelid = child.oid AND pg_index.indisvalid
JOIN pg_class AS index ON index.oid = pg_index.indexrelid
JOIN pg_am ON pg_am.oid = index.relam AND pg_am.amname = 'brin'
WHERE pg_inherits.inhparent = to_regclass('logs')
  AND child.relname IN (
      'logs_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD'),
      'logs_' || to_char((now() - interval '10 minutes') AT TIME ZONE 'UTC', 'YYYYMMDD')
  )

-- summarize --
SELECT brin_summarize_new_values($1::oid::regclass)
