-- Named blocks: each begins with its name between double dashes.

-- existing_days --
-- The days that have a partition.
SELECT substr(child.relname, 6) AS day
FROM pg_inherits
JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
WHERE pg_inherits.inhparent = 'logs'::regclass
  AND child.relname ~ '^logs_[0-9]{8}$'

-- make_day --
-- With the rights of the tables' owner: migrations/0005_roles.sql.
SELECT penstock_make_day($1)

-- day_table --
-- Where to write to a day's table by its name is to write to logs (migrations/0007_claim.sql).
SELECT home.nspname::text AS schema, child.relname::text AS name
FROM pg_class AS child JOIN pg_namespace AS home ON home.oid = child.relnamespace
WHERE child.oid = penstock_day_table($1, $2)
