-- What ingest needs to be done and is not its own to do: the partition of a day, and that
-- of a period of claims. These functions make them with the rights of the tables' owner
-- (PostgreSQL documentation, CREATE FUNCTION, "Writing SECURITY DEFINER Functions
-- Safely"). They take a date or a time, no SQL, and make nothing but what their names say.
-- Who may call them is for `penstock db roles` to say.

-- Returns false where the day has its partition already.
CREATE FUNCTION penstock_make_day(day date) RETURNS boolean
    LANGUAGE plpgsql STRICT SECURITY DEFINER
    -- Rows can go to the default partition; senders cannot wait for somebody's long query.
    SET lock_timeout = '2s'
    SET timezone = 'UTC'
    SET datestyle = 'ISO'
AS $$
DECLARE
    made CONSTANT text := 'logs_' || to_char(day, 'YYYYMMDD');
    starts CONSTANT timestamptz := day;
    ends CONSTANT timestamptz := day + 1;
BEGIN
    -- No setting allows more (partition_past_days, partition_ahead_days); a day more on
    -- either side, for clocks that differ.
    IF day NOT BETWEEN current_date - 36501 AND current_date + 367 THEN
        RAISE EXCEPTION '% is too far away for a partition of its own', day
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Of several receivers one makes the partition, the others find it made.
    PERFORM pg_advisory_xact_lock(hashtext('penstock.partitions'));
    IF EXISTS (
        SELECT FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
        WHERE inhparent = 'logs'::regclass AND child.relname = made
    ) THEN
        RETURN false;
    END IF;
    -- Made beside the table and attached: CREATE TABLE ... PARTITION OF would lock out
    -- all reading and writing of logs, ATTACH locks only the default partition.
    EXECUTE format(
        'CREATE TABLE %I (LIKE logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', made
    );
    -- Another receiver may be about to commit rows of this day there: ATTACH would find
    -- them behind our back and refuse. Waits for who writes to it, not for who reads.
    LOCK TABLE logs_default IN SHARE ROW EXCLUSIVE MODE;
    -- Rows of this day that came before its partition did.
    EXECUTE format(
        'WITH moved AS ('
        '    DELETE FROM logs_default WHERE ts >= %L AND ts < %L RETURNING *'
        ') INSERT INTO %I SELECT * FROM moved',
        starts, ends, made
    );
    EXECUTE format(
        'ALTER TABLE logs ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        made, starts, ends
    );
    -- Who reads all days may read one by its name, as pg_dump does.
    IF (
        SELECT has_table_privilege(oid, 'logs', 'SELECT') FROM pg_roles
        WHERE rolname = 'penstock_reader'
    ) THEN
        EXECUTE format('GRANT SELECT ON %I TO penstock_reader', made);
    END IF;
    RETURN true;
END
$$;

COMMENT ON FUNCTION penstock_make_day IS 'Makes the partition of a day (UTC), for ingest.';

-- Returns false where the period has its partition already.
CREATE FUNCTION penstock_make_claim_period(starts timestamptz) RETURNS boolean
    LANGUAGE plpgsql STRICT SECURITY DEFINER
    -- No sender waits longer for who changes the table.
    SET lock_timeout = '2s'
    SET timezone = 'UTC'
    SET datestyle = 'ISO'
AS $$
DECLARE
    made CONSTANT text := 'ingest_chunk_' || to_char(starts, 'YYYYMMDDHH24');
BEGIN
    -- The last, this and the next one are asked for; the one before them when a period
    -- begins meanwhile.
    IF starts NOT BETWEEN now() - interval '18 hours' AND now() + interval '6 hours'
        OR starts <> date_bin('6 hours', starts, '2020-01-01 00:00+00')
    THEN
        RAISE EXCEPTION 'no period of claims of these days begins at %', starts
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('penstock.claim_periods'));
    IF EXISTS (
        SELECT FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
        WHERE inhparent = 'ingest_chunk'::regclass AND child.relname = made
    ) THEN
        RETURN false;
    END IF;
    -- Made beside the table and attached: CREATE TABLE ... PARTITION OF would lock out
    -- all claims, ATTACH locks none. With its primary key, which ATTACH takes over. One
    -- that somebody has detached is taken back, with the claims it holds.
    EXECUTE format(
        'CREATE TABLE IF NOT EXISTS %I (LIKE ingest_chunk INCLUDING ALL)', made
    );
    EXECUTE format(
        'ALTER TABLE ingest_chunk ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        made, starts, starts + interval '6 hours'
    );
    RETURN true;
END
$$;

COMMENT ON FUNCTION penstock_make_claim_period IS
    'Makes the partition of six hours of claims, for ingest.';

-- Theirs is the owner of the tables, whoever migrates, and no schema but that of the
-- tables is looked into; temporary tables last, which anybody can make.
DO $$
DECLARE
    home CONSTANT text := (
        SELECT relnamespace::regnamespace FROM pg_class WHERE oid = 'logs'::regclass
    );
    owner CONSTANT name := (
        SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'logs'::regclass
    );
    made regprocedure;
BEGIN
    IF NOT has_schema_privilege(owner, home::regnamespace, 'CREATE') THEN
        EXECUTE format('GRANT CREATE ON SCHEMA %s TO %I', home, owner);
    END IF;
    FOREACH made IN ARRAY ARRAY[
        'penstock_make_day(date)', 'penstock_make_claim_period(timestamptz)'
    ]::regprocedure[] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %s, pg_temp', made, home);
        IF owner <> current_user THEN
            EXECUTE format('ALTER FUNCTION %s OWNER TO %I', made, owner);
        END IF;
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', made);
    END LOOP;
END
$$;
