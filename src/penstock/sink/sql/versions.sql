-- Named blocks: each begins with its name between double dashes.

-- wait_for_migration --
-- Nobody migrates between our look at the schema and our lock on it.
SELECT pg_advisory_xact_lock_shared(hashtext('penstock.migrations'))

-- join --
-- Held to the end of the session. 4096 receivers to a version: they are told apart.
SELECT pg_advisory_lock_shared(hashtext('penstock.servers'), $1::integer << 12 | $2::integer)

-- breaking_version --
SELECT max(version) FROM penstock_schema WHERE breaks_older AND version > $1

-- newest_version --
SELECT max(version) FROM penstock_schema

-- older_servers --
-- The address of another role's session is hidden from most.
SELECT count(DISTINCT held.objid) AS servers,
    string_agg(
        DISTINCT CASE session.client_port
            WHEN -1 THEN 'a Unix socket'
            ELSE coalesce(host(session.client_addr), 'an address hidden from this role')
        END,
        ', '
    ) AS addresses
FROM pg_locks AS held LEFT JOIN pg_stat_activity AS session USING (pid)
WHERE held.locktype = 'advisory' AND held.objsubid = 2
    AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND held.classid = hashtext('penstock.servers')::oid
    AND held.objid::bigint >> 12 < $1::integer

-- record_breaking --
UPDATE penstock_schema SET breaks_older = true WHERE version = $1
