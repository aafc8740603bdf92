-- Named blocks: each begins with its name between double dashes.

-- compress_quickly --
-- Where the server can, and nobody has said otherwise: of rows over 2 kB pglz takes more
-- than all else that COPY does.
SELECT set_config(name, 'lz4', false) FROM pg_settings
WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals) AND source = 'default'

-- reject --
INSERT INTO rejected_event (sender, tag, chunk, reason, sqlstate, raw)
VALUES ($1, $2, $3, $4, $5, $6)

-- next_receiver --
SELECT nextval('penstock_receiver')

-- probe --
-- Taken back at once: it tells whether the table takes any row.
INSERT INTO logs (id, ts, tag, level, service, host, message, attributes)
VALUES (0, now(), 'penstock.probe', 'INFO', '', '', '', '{}')

-- is_receiver_taken --
-- Of a server that is connected, by the lock it holds (versions.sql).
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 2
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND classid = hashtext('penstock.servers')::oid
      AND objid::bigint & 4095 = $1::integer
)
