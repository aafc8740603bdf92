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
-- The table of a day, where to write to it by its name is to write to logs: it is
-- attached with these bounds, we may, and nothing that stands on logs alone is passed by,
-- a trigger for each statement or a policy. Citus routes rows by the name of logs.
SELECT home.nspname::text AS schema, child.relname::text AS name
FROM pg_inherits
JOIN pg_class AS parent ON parent.oid = inhparent
JOIN pg_class AS child ON child.oid = inhrelid
JOIN pg_namespace AS home ON home.oid = child.relnamespace
WHERE inhparent = 'logs'::regclass AND NOT inhdetachpending
  AND child.relname = $1 AND child.relkind = 'r'
  AND pg_get_expr(child.relpartbound, child.oid) = $2
  AND has_table_privilege(parent.oid, 'INSERT')
  AND has_table_privilege(child.oid, 'INSERT')
  AND NOT parent.relrowsecurity
  AND NOT EXISTS (
      SELECT FROM pg_trigger
      WHERE tgrelid = parent.oid AND NOT tgisinternal AND tgtype & 1 = 0
  )
  AND NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')
