-- Named blocks: each begins with its name between double dashes.

-- lock --
-- Two of us never migrate at once; it is held to the end of the transaction.
SELECT pg_advisory_xact_lock(hashtext('penstock.migrations'))

-- create_schema_table --
CREATE TABLE IF NOT EXISTS penstock_schema (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)

-- has_schema_table --
SELECT to_regclass('penstock_schema') IS NOT NULL

-- is_half_restored --
-- The table is there as long as a restore of a backup into an empty database lasts.
SELECT to_regclass('penstock_restore') IS NOT NULL

-- applied --
SELECT version, name, applied_at FROM penstock_schema ORDER BY version

-- record --
INSERT INTO penstock_schema (version, name) VALUES ($1, $2)
