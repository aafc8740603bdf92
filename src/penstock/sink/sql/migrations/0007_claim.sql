-- What begins a batch, in one round trip where there were three, and one more at its end:
-- the batch's name, the claims of its parts, and the hold on the day it is copied into. A
-- batch of a few rows spends its time on round trips. They are functions since each of
-- their statements must see what was committed while the one before it waited. They run
-- with the rights of whoever calls them.

-- Returns those identities, no two alike, that nobody has claimed before; null where the batch is stored
-- already: the answer to its COMMIT was lost.
CREATE FUNCTION penstock_begin_batch(
    of_receiver integer, of_writer integer, name bytea,
    identities bytea[], senders text[], tags text[], chunks bytea[], counts integer[],
    earlier bytea[]  -- what the part was tried in by an earlier process, or ''
) RETURNS bytea[]
    LANGUAGE plpgsql VOLATILE
    -- Planned once: planning takes three times as long as doing it. One plan has to serve
    -- periods that are empty now and hold millions later, so it is to go by the index.
    SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
AS $$
DECLARE
    claimed bytea[];
BEGIN
    -- Waits for a transaction of a lost connection that has not ended yet.
    PERFORM pg_advisory_xact_lock(hashtextextended(encode(name, 'hex'), 0));
    INSERT INTO penstock_writer AS mine (receiver, writer, batch)
    VALUES (of_receiver, of_writer, name)
    ON CONFLICT (receiver, writer) DO UPDATE SET batch = excluded.batch
    WHERE mine.batch <> excluded.batch;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF cardinality(identities) = 0 THEN
        RETURN '{}';
    END IF;
    -- Of an earlier process, its COMMIT may be under way still. What it has committed is to
    -- be seen by the next statement.
    IF '' <> ANY (earlier) THEN
        PERFORM pg_advisory_xact_lock_shared(hashtextextended(encode(batch, 'hex'), 0))
        FROM (
            SELECT DISTINCT batch FROM unnest(earlier) AS each (batch)
            WHERE batch <> '' ORDER BY batch
        ) AS sorted;
    END IF;
    -- Another who claims the same now is waited for. For ten minutes a new period's claims
    -- are written to the one before it as well: so two who claim one chunk around its
    -- beginning meet in one of them.
    WITH given AS (
        SELECT * FROM unnest(
            identities, senders, tags, chunks, counts, earlier
        ) AS each (identity, sender, tag, chunk, events, tried_in)
    ), periods AS (
        SELECT DISTINCT date_bin('6 hours', at, '2020-01-01T00:00:00Z') AS period
        FROM unnest(ARRAY[now(), now() - interval '10 minutes']) AS at
    ), written AS (
        INSERT INTO ingest_chunk (identity, period, sender, tag, chunk, events)
        SELECT identity, period, sender, tag, chunk, events
        FROM given CROSS JOIN periods
        WHERE NOT EXISTS (
            SELECT FROM ingest_chunk AS older
            WHERE older.identity = given.identity
        ) AND (
            given.tried_in = '' OR NOT EXISTS (
                SELECT FROM penstock_writer AS other WHERE other.batch = given.tried_in
            )
        )
        ORDER BY identity, period
        ON CONFLICT DO NOTHING
        RETURNING identity
    ), fresh AS (
        SELECT identity FROM written
        GROUP BY identity
        HAVING count(*) = (SELECT count(*) FROM periods)
    )
    SELECT coalesce(array_agg(identity), '{}') INTO claimed FROM fresh;
    RETURN claimed;
END
$$;

COMMENT ON FUNCTION penstock_begin_batch IS
    'Leaves the name of a batch and claims its parts, for ingest.';

-- The table of a day, where to write to it by its name is to write to logs, else null: it
-- is attached with these bounds, we may, and nothing that stands on logs alone is passed
-- by, a trigger for each statement or a policy. Citus routes rows by the name of logs.
CREATE FUNCTION penstock_day_table(made text, bounds text) RETURNS regclass
    LANGUAGE plpgsql STABLE STRICT
AS $$
BEGIN
    RETURN (
        SELECT child.oid
        FROM pg_inherits
        JOIN pg_class AS parent ON parent.oid = inhparent
        JOIN pg_class AS child ON child.oid = inhrelid
        WHERE inhparent = 'logs'::regclass AND NOT inhdetachpending
          AND child.relname = made AND child.relkind = 'r'
          AND pg_get_expr(child.relpartbound, child.oid) = bounds
          AND has_table_privilege(parent.oid, 'INSERT')
          AND has_table_privilege(child.oid, 'INSERT')
          AND NOT parent.relrowsecurity
          AND NOT EXISTS (
              SELECT FROM pg_trigger
              WHERE tgrelid = parent.oid AND NOT tgisinternal AND tgtype & 1 = 0
          )
          AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')
    );
END
$$;

COMMENT ON FUNCTION penstock_day_table IS
    'The table of a day (UTC) that may be written to in place of logs, for ingest.';

-- Whether that table is still what it was taken for; if so, then to the end of the
-- transaction: nobody detaches, drops or renames what is locked as COPY does.
CREATE FUNCTION penstock_hold_day(home text, made text, bounds text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT
AS $$
BEGIN
    EXECUTE format('LOCK TABLE %I.%I IN ROW EXCLUSIVE MODE', home, made);
    -- What was committed while it waited is seen by this.
    RETURN EXISTS (
        SELECT FROM pg_class
        WHERE oid = penstock_day_table(made, bounds) AND relname = made
          AND relnamespace = to_regnamespace(quote_ident(home))
    );
END
$$;

COMMENT ON FUNCTION penstock_hold_day IS
    'Keeps the table of a day as it is until the transaction ends, for ingest.';

-- Theirs is the owner of the tables, whoever migrates.
DO $$
DECLARE
    owner CONSTANT name := (
        SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'logs'::regclass
    );
    made regprocedure;
BEGIN
    IF owner <> current_user THEN
        FOR made IN
            SELECT oid FROM pg_proc
            WHERE pronamespace = (
                SELECT relnamespace FROM pg_class WHERE oid = 'logs'::regclass
            ) AND proname IN (
                'penstock_begin_batch', 'penstock_day_table', 'penstock_hold_day'
            )
        LOOP
            EXECUTE format('ALTER FUNCTION %s OWNER TO %I', made, owner);
        END LOOP;
    END IF;
END
$$;
