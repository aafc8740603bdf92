-- What makes a resent chunk be stored once, and a batch of which no answer came.

-- A row for each part of a chunk that is stored, or of the spool: claimed in the
-- transaction that stores its rows. Kept by the period of the claim, dropped with it.
CREATE TABLE ingest_chunk (
    identity   bytea       NOT NULL,  -- digest of sender, tag, chunk, entries and part
    period     timestamptz NOT NULL,  -- when its six hours began, by this server's clock
    claimed_at timestamptz NOT NULL DEFAULT now(),
    sender     text        NOT NULL,
    tag        text        NOT NULL,
    chunk      bytea,                 -- the chunk's name as msgpack, if it has one
    events     integer     NOT NULL,
    PRIMARY KEY (identity, period)
) PARTITION BY RANGE (period);

COMMENT ON TABLE ingest_chunk IS 'Chunks that are stored, so that a resent one is not stored again.';

-- The last batch that each writer of each receiver has stored.
CREATE TABLE penstock_writer (
    receiver integer NOT NULL,
    writer   integer NOT NULL,
    batch    bytea   NOT NULL,
    PRIMARY KEY (receiver, writer)
) WITH (fillfactor = 50);

COMMENT ON TABLE penstock_writer IS 'Tells a receiver whether a batch is stored of which no answer came.';
