-- What people and models ask: views in a schema of its own, which is all that a guarded
-- session can reach (roles.sql, "what contains what"). Plain views, which hide columns and
-- no rows: the planner sees through them to the days, their BRIN and other indexes.

DO $$
BEGIN
    IF to_regnamespace('penstock_read') IS NULL THEN
        IF NOT has_database_privilege(current_database(), 'CREATE') THEN
            RAISE EXCEPTION 'the schema penstock_read is missing; have the owner of the database run: CREATE SCHEMA penstock_read AUTHORIZATION %', quote_ident(current_user)
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        CREATE SCHEMA penstock_read;
    END IF;
END
$$;

COMMENT ON SCHEMA penstock_read IS 'What `penstock sql`, `search` and `ask` can read.';

CREATE VIEW penstock_read.logs AS
SELECT id, ts, tag, level, service, host, message, attributes FROM logs;

COMMENT ON VIEW penstock_read.logs IS 'Log events. Ask for a range of ts: each day is a partition.';
COMMENT ON COLUMN penstock_read.logs.id IS 'Unique, in the order of arrival.';
COMMENT ON COLUMN penstock_read.logs.ts IS 'The time the event carries; of arrival where it carries none.';
COMMENT ON COLUMN penstock_read.logs.tag IS 'The sender''s tag.';
COMMENT ON COLUMN penstock_read.logs.level IS 'TRACE < DEBUG < INFO < WARN < ERROR < FATAL; null where the record has none.';
COMMENT ON COLUMN penstock_read.logs.service IS 'What has logged; null where the record does not say.';
COMMENT ON COLUMN penstock_read.logs.host IS 'Where it ran; null where the record does not say.';
COMMENT ON COLUMN penstock_read.logs.message IS 'The text of the log line.';
COMMENT ON COLUMN penstock_read.logs.attributes IS 'The rest of the record.';

-- Without `raw`, whose bytes nobody has looked at, and `chunk`.
CREATE VIEW penstock_read.rejected_event AS
SELECT id, received_at, sender, tag, reason, sqlstate FROM rejected_event;

COMMENT ON VIEW penstock_read.rejected_event IS 'Events that could not be stored as rows of logs.';

-- Theirs is the owner of the tables, whoever migrates: a view reads with its owner's
-- rights. And what is ours is nobody's to call but whose work it is.
DO $$
DECLARE
    home CONSTANT oid := (
        SELECT relnamespace FROM pg_class WHERE oid = 'logs'::regclass
    );
    owner CONSTANT name := (
        SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'logs'::regclass
    );
    ours regprocedure;
BEGIN
    IF owner <> current_user THEN
        EXECUTE format('ALTER SCHEMA penstock_read OWNER TO %I', owner);
        EXECUTE format('ALTER VIEW penstock_read.logs OWNER TO %I', owner);
        EXECUTE format('ALTER VIEW penstock_read.rejected_event OWNER TO %I', owner);
    END IF;
    FOR ours IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = home AND starts_with(proname, 'penstock_')
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', ours);
    END LOOP;
END
$$;
