-- Named blocks: each begins with its name between double dashes.

-- begin_batch --
-- No row where the batch is stored already: the answer to its COMMIT was lost. Waits for
-- a transaction of the lost connection that has not ended yet.
WITH held AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(hashtextextended(encode($3::bytea, 'hex'), 0))
)
INSERT INTO penstock_writer AS mine (receiver, writer, batch) SELECT $1, $2, $3 FROM held
ON CONFLICT (receiver, writer) DO UPDATE SET batch = excluded.batch
WHERE mine.batch <> excluded.batch
RETURNING writer

-- wait_for_batches --
-- Of an earlier process, its COMMIT may be under way still. A statement of its own: what
-- it has committed is to be seen by the next one.
SELECT pg_advisory_xact_lock_shared(hashtextextended(encode(batch, 'hex'), 0))
FROM unnest($1::bytea[]) AS each (batch)

-- claim --
-- Returns what nobody has claimed before. Another who claims the same now is waited for.
-- For ten minutes a new period's claims are written to the one before it as well: so two
-- who claim one chunk around its beginning meet in one of them.
WITH given AS (
    SELECT DISTINCT ON (identity) *
    FROM unnest(
        $1::bytea[], $2::text[], $3::text[], $4::bytea[], $5::integer[], $6::bytea[]
    ) AS each (identity, sender, tag, chunk, events, tried_in)
), periods AS (
    SELECT DISTINCT date_bin('6 hours', at, '2020-01-01T00:00:00Z') AS period
    FROM unnest(ARRAY[now(), now() - interval '10 minutes']) AS at
), written AS (
    INSERT INTO ingest_chunk (identity, period, sender, tag, chunk, events)
    SELECT identity, period, sender, tag, chunk, events
    FROM given CROSS JOIN periods
    WHERE NOT EXISTS (
        SELECT FROM ingest_chunk AS older WHERE older.identity = given.identity
    ) AND NOT EXISTS (
        SELECT FROM penstock_writer AS other
        WHERE other.batch = given.tried_in AND given.tried_in <> ''
    )
    ORDER BY identity, period
    ON CONFLICT DO NOTHING
    RETURNING identity
)
SELECT identity FROM written
GROUP BY identity
HAVING count(*) = (SELECT count(*) FROM periods)

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
