-- Named blocks: each begins with its name between double dashes.

-- server --
SELECT pg_is_in_recovery() AS in_recovery,
       system_identifier::text AS system_identifier,
       current_setting('data_directory', true) AS data_directory
FROM pg_control_system()

-- settings --
SELECT name, setting, pending_restart, source
FROM pg_settings
WHERE name IN ('wal_level', 'archive_mode', 'archive_command', 'archive_library',
               'archive_timeout')

-- alter --
-- A statement of its own: ALTER SYSTEM takes no parameters.
SELECT format('ALTER SYSTEM SET %I = %L', $1::text, $2::text)

-- reset --
SELECT format('ALTER SYSTEM RESET %I', $1::text)

-- reload --
SELECT pg_reload_conf()

-- mark --
-- Of a server where nothing was written a switch makes no segment; this writes a line.
SELECT pg_create_restore_point('penstock backup wal-enable')

-- switch --
SELECT pg_walfile_name(pg_switch_wal())

-- current_wal --
SELECT pg_walfile_name(pg_current_wal_insert_lsn())

-- history --
-- Of a timeline that a recovery began: by which way it came about.
SELECT 'pg_wal/' || name FROM pg_ls_waldir()
WHERE name = substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) || '.history'

-- said --
CREATE TEMPORARY TABLE IF NOT EXISTS penstock_said (line text)

-- say --
-- As the server, with its environment: what its archive_command would be able to do.
SELECT format(
    'COPY penstock_said FROM PROGRAM %L (FORMAT csv, DELIMITER %L, QUOTE %L)',
    $1::text, E'\x01', E'\x02'
)

-- heard --
WITH taken AS (DELETE FROM penstock_said RETURNING ctid, line)
SELECT line FROM taken ORDER BY ctid

-- log --
-- Only where the server writes a file of its own (logging_collector).
SELECT pg_read_file(pg_current_logfile(), greatest(size - 8192, 0), 8192)
FROM pg_stat_file(pg_current_logfile())

-- first_log --
SELECT ts FROM logs LIMIT 1

-- size --
SELECT pg_database_size(current_database())
