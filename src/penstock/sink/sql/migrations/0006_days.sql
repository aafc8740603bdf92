-- A day's partition as ingest likes it: to be written to by its name, and without the
-- compression that costs more than all the rest of a row.

-- Returns false where the day has its partition already.
CREATE OR REPLACE FUNCTION penstock_make_day(day date) RETURNS boolean
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
    -- Rows of more than 2 kB are compressed, which by pglz takes 30 us and more for a row
    -- that takes 8 otherwise; lz4 takes less than it saves. Where a server was built
    -- without lz4, two rows to a page are let alone (PostgreSQL documentation, CREATE
    -- TABLE, "toast_tuple_target"; figures in docs/decisions/large-rows.md).
    IF NOT EXISTS (
        SELECT FROM pg_settings
        WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)
    ) THEN
        EXECUTE format('ALTER TABLE %I SET (toast_tuple_target = 4080)', made);
    END IF;
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
    -- And who writes all days may write to one by its name, as ingest does.
    IF (
        SELECT has_table_privilege(oid, 'logs', 'INSERT') FROM pg_roles
        WHERE rolname = 'penstock_writer'
    ) THEN
        EXECUTE format('GRANT INSERT ON %I TO penstock_writer', made);
    END IF;
    RETURN true;
END
$$;

-- Replaced, it has lost its settings' search_path: the same as before, no schema but that
-- of the tables (migrations/0005_roles.sql). Its owner and its rights it has kept.
DO $$
DECLARE
    home CONSTANT text := (
        SELECT relnamespace::regnamespace FROM pg_class WHERE oid = 'logs'::regclass
    );
    child regclass;
BEGIN
    EXECUTE format(
        'ALTER FUNCTION penstock_make_day(date) SET search_path = %s, pg_temp', home
    );
    -- Days that are written to still; logs_default comes behind them by its name.
    FOR child IN
        SELECT inhrelid FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'logs'::regclass AND relkind = 'r'
          AND relname >= 'logs_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')
          AND NOT EXISTS (
              SELECT FROM pg_settings
              WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)
          )
    LOOP
        EXECUTE format('ALTER TABLE %s SET (toast_tuple_target = 4080)', child);
    END LOOP;
END
$$;
