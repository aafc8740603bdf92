-- What maintenance remembers.

-- Closed days whose partition has been vacuumed and frozen. Of which table is said too:
-- a partition that was restored, or dropped and made again, is to be sealed again.
CREATE TABLE penstock_day (
    day       date        PRIMARY KEY,
    partition oid         NOT NULL,
    sealed_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE penstock_day IS 'Days that are closed and sealed.';
