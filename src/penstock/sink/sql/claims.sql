-- Named blocks: each begins with its name between double dashes.

-- begin_batch --
-- What nobody has claimed before, null where the batch is stored already; and whether the
-- day's table is still what it was taken for, where one is named (migrations/0007_claim.sql).
SELECT penstock_begin_batch($1, $2, $3, $4, $5, $6, $7, $8, $9) AS fresh,
       penstock_hold_day($10, $11, $12) AS is_held

-- this_session --
SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()

-- be_the_login --
-- A session is its login's, whatever role it has taken: the login alone may end it, or
-- know when it began. To the end of the transaction.
SET LOCAL ROLE NONE

-- end_predecessor --
-- A session whose connection is lost may not know it yet, and holds its claims.
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid = $1 AND backend_start = $2

-- end_stalled --
-- Sessions whose Penstock stands still, its machine frozen, in the middle of a batch. It
-- stores the batch again when it goes on, if nobody has meanwhile.
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user
  AND application_name = 'penstock' AND pid <> pg_backend_pid()
  AND xact_start IS NOT NULL AND wait_event = 'ClientRead'
  AND state_change < now() - make_interval(secs => $1)
