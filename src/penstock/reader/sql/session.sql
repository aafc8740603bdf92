-- Named blocks: each begins with its name between double dashes.

-- place --
-- Whether there is something to read, and whether this login may read it.
SELECT session_user::text AS login,
       to_regnamespace('penstock_read') IS NOT NULL AS is_migrated,
       EXISTS (
           SELECT FROM pg_roles
           WHERE rolname = 'penstock_query' AND pg_has_role(session_user, oid, $1)
             AND has_schema_privilege(oid, to_regnamespace('penstock_read'), 'USAGE')
       ) AS may_read,
       has_parameter_privilege(session_user, 'temp_file_limit', 'SET') AS may_limit_files

-- limit_files --
-- While the login may: the role that is taken then may not.
SELECT set_config('temp_file_limit', $1, false)

-- take_role --
SELECT set_config('role', 'penstock_query', false)

-- end_statement --
-- Of this login's other session.
SELECT pg_cancel_backend($1)
