-- The tables of Penstock: logs by day, and what could not become a log row.

-- Ordered, so that level >= 'WARN' means what it says.
CREATE TYPE log_level AS ENUM ('TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL');

CREATE TABLE logs (
    id         bigint      NOT NULL,  -- in the order of arrival; made by the receiver
    ts         timestamptz NOT NULL,  -- the event's own time
    tag        text        NOT NULL,
    level      log_level,
    service    text,
    host       text,
    message    text,
    attributes jsonb       NOT NULL   -- all of the record that is not in a column
) PARTITION BY RANGE (ts);

COMMENT ON TABLE logs IS 'Log events, a partition for each day (UTC).';
COMMENT ON COLUMN logs.id IS 'Unique, in the order of arrival: microseconds since 2020 << 12 | receiver.';
COMMENT ON COLUMN logs.ts IS 'The time the event carries; of arrival where it carries none.';
COMMENT ON COLUMN logs.tag IS 'The sender''s tag.';
COMMENT ON COLUMN logs.attributes IS 'The rest of the record.';

-- Every partition gets this one; it costs a page for some ten thousand rows.
CREATE INDEX logs_ts_brin ON logs USING brin (ts);

-- Times too old or too far ahead for a day of their own.
CREATE TABLE logs_default PARTITION OF logs DEFAULT;

-- What was received and cannot be a row of logs, with the bytes as they came.
CREATE TABLE rejected_event (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT now(),
    sender      text        NOT NULL,
    tag         text        NOT NULL,
    chunk       bytea,                -- the chunk's name as msgpack, if it had one
    reason      text        NOT NULL,
    sqlstate    text,                 -- where PostgreSQL refused it
    raw         bytea       NOT NULL  -- msgpack: an entry, or what stood in its place
);

COMMENT ON TABLE rejected_event IS 'Events that could not be stored as rows of logs.';

-- Tells receivers apart in logs.id.
CREATE SEQUENCE penstock_receiver AS integer MINVALUE 0 MAXVALUE 4095 CYCLE;
